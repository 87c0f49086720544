"""What an API says when it gives no answer: a failure of one call, or the end of all calls."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from bench.errors import UserError, unknown
from bench.llm.transports.protocol import Stopped

_LONGEST = 500  # characters of an error that are kept
_SHORTEST = 8  # characters of a key; less is a word, such as "none" where no key is needed
_STATUS = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
}


@dataclass(frozen=True)
class Service:
    """Who is asked, in the words of an error message.

    Attributes:
        name: of the API.
        key: the variable that holds its key.
        limits: where spending limits are raised.
        models: names that are known, if any are.
        secrets: what must never be shown or stored; grows with what the requests carry.
    """

    name: str
    key: str
    limits: str
    models: Collection[str] = ()
    secrets: set[str] = field(default_factory=set)

    def scrub(self, text: str) -> str:
        """One line without the key, for people and for the store."""
        for secret in self.secrets:
            if len(secret) >= _SHORTEST:
                text = text.replace(secret, "[key]")
        return " ".join(text.split())[:_LONGEST]


class Told(NamedTuple):
    """What the body of an error says."""

    status: int
    type: str = ""
    message: str = ""
    code: str = ""

    @classmethod
    def of(cls, status: int, body: Any) -> Told:
        """Read Anthropic's form {"error": {...}}, OpenAI's, or any text."""
        if not isinstance(body, dict):
            return cls(status, message=str(body or ""))
        error = body.get("error", body)
        if not isinstance(error, dict):
            return cls(status, message=str(error))
        details = error.get("details")
        code = details.get("error_code") if isinstance(details, dict) else error.get("code")
        message = error.get("message") or error
        return cls(status, str(error.get("type") or ""), str(message), str(code or ""))

    @classmethod
    def by(cls, error: Any) -> Told:
        """Read an exception of an SDK; its status is 0 where no response came."""
        status = getattr(error, "status_code", 0)
        return cls.of(status, error.body) if status else cls(0, message=_with_cause(error))

    @classmethod
    def in_batch(cls, error: Any) -> Told:
        """Read the error of one request of a batch, which has a type and no status."""
        return cls.of(_STATUS.get(str(error.type), 500), error.to_dict())

    @property
    def spending(self) -> bool:
        """Whether a limit on money is reached: waiting does not help."""
        return (
            self.status == 402
            or self.code.endswith("spend_limit_reached")
            or self.code == "insufficient_quota"
            or self.message.startswith("You have reached your specified")
        )

    @property
    def invalid(self) -> bool:
        """Whether this one request is at fault, so that asking again does not help."""
        return 400 <= self.status < 500 and self.status not in (408, 409, 429)

    def __str__(self) -> str:
        said = ": ".join(part for part in (self.type, self.message) if part)
        return f"{self.status} {said}".strip() if self.status else said

    def stopped(self, service: Service, model: str) -> Stopped | None:
        """Why nothing else will be answered either, and how to mend it; None if that is not so."""
        told = service.scrub(str(self))
        if self.spending:
            return Stopped(f"a spending limit is reached ({told}): raise it {service.limits}")
        if self.status == 401:
            return Stopped(f"{service.name} refuses the key in {service.key} ({told})")
        if self.status == 403:
            return Stopped(f"the key in {service.key} may not use {model} ({told})")
        if self.status == 404:
            asked = f"model {model}"
            if service.models and model not in service.models:
                asked = unknown("model", model, service.models)
            return Stopped(f"{service.name} does not have what is asked for ({told}): {asked}")
        return None


def _with_cause(error: BaseException) -> str:
    """The SDK's own words are often just "Connection error."."""
    cause = error.__cause__
    return f"{error} ({type(cause).__name__}: {cause})" if cause else str(error)


def check_key(variable: str, key: str) -> None:
    """Refuse a key that no HTTP header can carry; the SDK's own error would show it.

    Raises:
        UserError: naming the variable.
    """
    if not (key.isascii() and key.isprintable() and " " not in key):
        raise UserError(
            f"the key in {variable} has a space, a line break or a foreign letter in it"
        )
