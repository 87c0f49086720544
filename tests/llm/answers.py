"""What the two APIs answer, which requests they refuse, and how tokens are counted here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from tests.llm.faults import Body, Fault, Kind, chat_error, message_error, require

VERDICT = {"rationale": "The first output answers what was asked.", "verdict": "A"}
THINKING_TOKENS = 50
BAD_JSON = "The first output is the better one, because it answers."
REFUSAL_TEXT = "I can't help with that."
SAMPLING = ("temperature", "top_p", "top_k")
UNSUPPORTED = {"minLength", "maxLength", "minimum", "maximum", "multipleOf", "maxItems"}
STOP = {"end": "end_turn", "length": "max_tokens", "refusal": "refusal"}
FINISH = {"end": "stop", "length": "length", "refusal": "stop", "filter": "content_filter"}


@dataclass(frozen=True)
class Outcome:
    """What the model did, before either API words it."""

    text: str | None
    stop: str  # a key of STOP and FINISH
    thinking_tokens: int
    output_tokens: int


def tokens(text: str) -> int:
    """Four characters a token, at least one."""
    return max(1, len(text) // 4)


def input_tokens(body: Body) -> int:
    parts = [body.get("system") or "", *(turn["content"] for turn in body["messages"])]
    return tokens("".join(text for part in parts for text in _texts(part)))


def _texts(content: str | list[Body]) -> Iterator[str]:
    if isinstance(content, str):
        yield content
    else:
        yield from (block.get("text", "") for block in content)


def outcome(text: str, room: int, fault: Fault | None) -> Outcome:
    """The end of a generation of `text` in at most `room` tokens, thinking included."""
    kind = fault.kind if fault else None
    if kind is Kind.REFUSAL:
        return Outcome(None, "refusal", 0, 1)
    if kind is Kind.CONTENT_FILTER:
        return Outcome(None, "filter", 0, 1)
    if kind is Kind.TRUNCATED_THINKING:
        return Outcome(None, "length", room, room)
    if kind is Kind.TRUNCATED:
        return Outcome(text[: len(text) // 2], "length", 0, room)
    if kind is Kind.BAD_JSON:
        text = BAD_JSON
    thinking = min(THINKING_TOKENS, room) if kind is Kind.THINKING else 0
    if thinking + tokens(text) > room:
        return Outcome(text[: 4 * (room - thinking)] or None, "length", thinking, room)
    return Outcome(text, "end", thinking, thinking + tokens(text))


def message(body: Body, text: str, fault: Fault | None, name: str) -> Body:
    """A Message; `name` is unique to the answer and becomes its id."""
    made = outcome(text, body["max_tokens"], fault)
    content: list[Body] = []
    if made.thinking_tokens:
        content.append({"type": "thinking", "thinking": "", "signature": f"signature-of-{name}"})
    if made.text is not None:
        content.append({"type": "text", "text": made.text, "citations": None})
    return {
        "id": f"msg_{name}",
        "type": "message",
        "role": "assistant",
        "model": body["model"],
        "content": content,
        "stop_reason": STOP[made.stop],
        "stop_sequence": None,
        "stop_details": _refusal(fault) if fault and made.stop == "refusal" else None,
        "usage": {
            "input_tokens": input_tokens(body),
            "output_tokens": made.output_tokens,
            "output_tokens_details": {"thinking_tokens": made.thinking_tokens},
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "service_tier": "standard",
        },
    }


def _refusal(fault: Fault) -> Body:
    explanation = "This request was declined under the usage policy."
    return {"type": "refusal", "category": fault.category, "explanation": explanation}


def chat_completion(body: Body, text: str, fault: Fault | None, name: str) -> Body:
    """OpenAI's answer; thinking shows in its usage alone."""
    room = body.get("max_completion_tokens") or body.get("max_tokens") or 1_000_000
    made = outcome(text, room, fault)
    refused = made.stop == "refusal"
    content = made.text or "" if made.stop in ("end", "length") else None
    prompt = input_tokens(body)
    return {
        "id": f"chatcmpl-{name}",
        "object": "chat.completion",
        "created": 0,
        "model": body["model"],
        "choices": [
            {
                "index": 0,
                "message": {
                    "role": "assistant",
                    "content": None if body.get("tools") else content,
                    "refusal": REFUSAL_TEXT if refused else None,
                    **(_called(body, content or "") if body.get("tools") else {}),
                },
                "finish_reason": FINISH[made.stop],
                "logprobs": None,
            }
        ],
        "usage": {
            "prompt_tokens": prompt,
            "completion_tokens": made.output_tokens,
            "total_tokens": prompt + made.output_tokens,
            "completion_tokens_details": {"reasoning_tokens": made.thinking_tokens},
        },
    }


def _called(body: Body, arguments: str) -> Body:
    """The call of the function that the request chose."""
    function = {"name": body["tool_choice"]["function"]["name"], "arguments": arguments}
    return {"tool_calls": [{"id": "call_1", "type": "function", "function": function}]}


def with_logprobs(made: Body, positions: list[dict[str, float]]) -> None:
    """Put the likeliest tokens of each position, with their log-probabilities, into an answer."""
    content = [
        {
            "token": max(tokens, key=tokens.__getitem__),
            "logprob": max(tokens.values()),
            "bytes": None,
            "top_logprobs": [
                {"token": token, "logprob": value, "bytes": None} for token, value in tokens.items()
            ],
        }
        for tokens in positions
    ]
    made["choices"][0]["logprobs"] = {"content": content, "refusal": None}


def check(body: Body) -> None:
    """Refuse what API version 2026-10-21 refuses, as far as a judge might send it.

    Required fields, sampling parameters, a prefilled answer, and in a schema an object that is
    open or a keyword that structured outputs do not have. Streaming exists but is not served here.
    """
    for name in ("model", "max_tokens", "messages"):
        require(body.get(name), f"{name}: Field required")
    for name in SAMPLING:
        require(name not in body, f"`{name}` is deprecated for this model.")
    require(body["messages"][-1]["role"] == "user", "The conversation must end with a user message")
    require(not body.get("stream"), "stream: not served by this server")
    format_ = (body.get("output_config") or {}).get("format")
    if format_:
        check_schema(format_["schema"])


def check_chat(body: Body) -> None:
    for name in ("model", "messages"):
        require(body.get(name), f"Missing required parameter: '{name}'.")
    require(not body.get("stream"), "stream: not served by this server")
    top = body.get("top_logprobs")
    require(top is None or body.get("logprobs"), "top_logprobs: logprobs must be set to true")
    require((top or 0) <= 20, "top_logprobs: must be at most 20")
    schema = (body.get("response_format") or {}).get("json_schema")
    if schema and schema.get("strict"):
        check_schema(schema["schema"])


def check_schema(schema: Any) -> None:
    if isinstance(schema, list):
        for part in schema:
            check_schema(part)
    if not isinstance(schema, dict):
        return
    kind = schema.get("type")
    if kind == "object":
        closed = schema.get("additionalProperties") is False
        require(closed, "schema: For 'object' type, 'additionalProperties' must be set to false")
    extra = UNSUPPORTED & set(schema) if isinstance(kind, str) else set()
    require(not extra, f"schema: For '{kind}' type, properties {sorted(extra)} are not supported")
    for part in schema.values():
        check_schema(part)


class Dialect(NamedTuple):
    """How one of the two APIs words what happened."""

    check: Callable[[Body], None]
    answer: Callable[[Body, str, Fault | None, str], Body]
    error: Callable[[Kind, str | None, str], Body]
    request_id: str  # the name of its header


MESSAGES = Dialect(check, message, message_error, "request-id")
CHAT = Dialect(check_chat, chat_completion, chat_error, "x-request-id")
