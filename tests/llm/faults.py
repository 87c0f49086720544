"""Scripted faults: a small closed set, each with the shape it has on the wire."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

Body = dict[str, Any]


class Kind(StrEnum):
    # Answers: status 200, produced and paid for.
    THINKING = "thinking"  # a thinking block stands before the text; a success
    REFUSAL = "refusal"  # stop_reason refusal with stop_details, no text
    TRUNCATED = "truncated"  # stop_reason max_tokens, half of the text
    TRUNCATED_THINKING = "truncated_thinking"  # stop_reason max_tokens, thinking and no text
    BAD_JSON = "bad_json"  # a text that is not JSON
    CONTENT_FILTER = "content_filter"  # chat only: finish_reason content_filter
    # Errors: nothing produced, nothing paid. In a batch: an errored request.
    INVALID_REQUEST = "invalid_request"  # 400
    USAGE_LIMIT = "usage_limit"  # 400: the spend limit that the user has set
    AUTHENTICATION = "authentication"  # 401
    BILLING = "billing"  # 402
    PERMISSION = "permission"  # 403
    NOT_FOUND = "not_found"  # 404: the model
    TOO_LARGE = "too_large"  # 413
    RATE_LIMIT = "rate_limit"  # 429 with retry-after
    SPEND_LIMIT = "spend_limit"  # 429, error_code enforced_spend_limit_reached, no retry-after
    SERVER_ERROR = "server_error"  # 500
    OVERLOADED = "overloaded"  # 529
    # The connection.
    STALL = "stall"  # never answered; nothing produced
    CUT_BEFORE = "cut_before"  # closed at once; nothing produced
    LOST_REPLY = "lost_reply"  # all is done and paid, then closed before the first byte
    CUT_MIDDLE = "cut_middle"  # all is done and paid, half of the body is sent, then closed
    HALF_JSON = "half_json"  # all is done and paid, half of the body is sent as if it were whole
    LOGIN_PAGE = "login_page"  # status 200 and HTML, as of a proxy; nothing produced
    ERROR_200 = "error_200"  # status 200 and the body of an error, as of a gateway; likewise
    # One request of a batch.
    EXPIRED = "expired"
    CANCELED = "canceled"


ANSWERS = {
    Kind.THINKING,
    Kind.REFUSAL,
    Kind.TRUNCATED,
    Kind.TRUNCATED_THINKING,
    Kind.BAD_JSON,
    Kind.CONTENT_FILTER,
}
GARBLED = {Kind.HALF_JSON, Kind.LOGIN_PAGE, Kind.ERROR_200}
CONNECTION = {Kind.STALL, Kind.CUT_BEFORE, Kind.LOST_REPLY, Kind.CUT_MIDDLE} | GARBLED
ENDINGS = {Kind.EXPIRED, Kind.CANCELED}
RETRY_AFTER_S = 0.01


@dataclass(frozen=True)
class Fault:
    kind: Kind
    retry_after_s: float | None = None  # an error's header; RATE_LIMIT has one of RETRY_AFTER_S
    category: str | None = "cyber"  # REFUSAL: of stop_details


Script = Callable[[Body, int], Fault | Kind | None]


class Refused(Exception):
    """A request that the API answers with an error, for a reason of its own."""

    def __init__(
        self, kind: Kind, message: str | None = None, retry_after_s: float | None = None
    ) -> None:
        super().__init__(message)
        self.kind, self.message, self.retry_after_s = kind, message, retry_after_s


def require(fine: object, message: str) -> None:
    """Refuse an invalid request."""
    if not fine:
        raise Refused(Kind.INVALID_REQUEST, message)


@dataclass(frozen=True)
class Error:
    status: int
    type: str
    message: str
    chat_code: str | None = None


ERRORS = {
    Kind.INVALID_REQUEST: Error(400, "invalid_request_error", "messages: scripted to be invalid"),
    Kind.USAGE_LIMIT: Error(
        400,
        "invalid_request_error",
        "You have reached your specified API usage limits. "
        "You will regain access on 2099-01-01 at 00:00 UTC.",
    ),
    Kind.AUTHENTICATION: Error(
        401, "authentication_error", "API key is invalid.", "invalid_api_key"
    ),
    Kind.BILLING: Error(402, "billing_error", "Your payment information has a problem."),
    Kind.PERMISSION: Error(403, "permission_error", "Your key may not use this resource."),
    Kind.NOT_FOUND: Error(404, "not_found_error", "model: not found", "model_not_found"),
    Kind.TOO_LARGE: Error(413, "request_too_large", "Request exceeds the maximum size"),
    Kind.RATE_LIMIT: Error(
        429, "rate_limit_error", "Too many requests for this key.", "rate_limit_exceeded"
    ),
    Kind.SPEND_LIMIT: Error(
        429,
        "rate_limit_error",
        "Your organization has reached its monthly API usage threshold.",
        "insufficient_quota",
    ),
    Kind.SERVER_ERROR: Error(500, "api_error", "Internal server error"),
    Kind.OVERLOADED: Error(529, "overloaded_error", "Overloaded"),
}


def message_error(kind: Kind, message: str | None, request_id: str) -> Body:
    """The body of an error of the Messages API, also of an errored request in a batch."""
    shape = ERRORS[kind]
    error: Body = {"type": shape.type, "message": message or shape.message}
    if kind is Kind.SPEND_LIMIT:
        error["details"] = {"error_code": "enforced_spend_limit_reached"}
    return {"type": "error", "error": error, "request_id": request_id}


def chat_error(kind: Kind, message: str | None, request_id: str) -> Body:
    """The body of an error of OpenAI's API, whose request id stands in the headers alone."""
    shape = ERRORS[kind]
    text = message or shape.message
    return {"error": {"message": text, "type": shape.type, "param": None, "code": shape.chat_code}}


def body_key(body: Body) -> str:
    """The same for equal bodies, whatever the order of their fields."""
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def in_turn(*faults: Fault | Kind | None) -> Script:
    """The first attempts of every body meet `faults` in their order, later ones none."""
    return lambda body, attempt: faults[attempt - 1] if attempt <= len(faults) else None


def random_faults(rate: float, kinds: Sequence[Fault | Kind], seed: int) -> Script:
    """A share `rate` of the calls meets one of `kinds`, fixed by body, attempt and seed."""

    def script(body: Body, attempt: int) -> Fault | Kind | None:
        rng = random.Random(f"{seed} {attempt} {body_key(body)}")
        return rng.choice(kinds) if rng.random() < rate else None

    return script
