"""Anthropic's API through its SDK: what the transports `messages` and `batches` share."""

from __future__ import annotations

import os

import anthropic
from anthropic.types import Message

from bench.errors import UserError
from bench.llm.answers import Answer, Outcome, Usage
from bench.llm.money.budget import Budget
from bench.llm.options import LLMOptions
from bench.llm.transports.calls import watched_client
from bench.llm.transports.outcomes import Service, check_key

_KEYS = ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN")
_OUTCOMES: dict[str | None, Outcome] = {
    "refusal": "refusal",
    "max_tokens": "truncated",
    "model_context_window_exceeded": "truncated",
}


def open_client(options: LLMOptions, budget: Budget, service: Service) -> anthropic.AsyncAnthropic:
    """A client, for one event loop, that keeps a connection for each call in flight."""
    http_client = watched_client(
        anthropic.DefaultAsyncHttpxClient,
        budget,
        service.secrets,
        options.concurrency,
        anthropic.AnthropicError,
    )
    return anthropic.AsyncAnthropic(
        max_retries=options.max_retries, timeout=options.timeout_s, http_client=http_client
    )


def find_service(budget: Budget) -> Service:
    """Look for a credential where the SDK does.

    Raises:
        UserError: there is none, or it cannot be used.
    """
    for variable in _KEYS:
        check_key(variable, os.environ.get(variable, ""))
    try:
        client = anthropic.AsyncAnthropic()
    except (anthropic.AnthropicError, ValueError) as error:
        raise UserError(f"the credentials for Anthropic's API cannot be used: {error}") from error
    headers = {name.lower() for name in client.default_headers}
    if client.credentials is None and not headers & {"authorization", "x-api-key"}:
        raise UserError(
            "no key for Anthropic's API: set ANTHROPIC_API_KEY (from "
            "https://platform.claude.com), or use --dry-run, which needs none"
        )
    return Service(
        name=f"the API at {client.base_url.host}",
        key=_KEYS[0] if client.api_key else _KEYS[1] if client.auth_token else "your profile",
        limits="in the console (https://platform.claude.com, Settings, Limits)",
        models=tuple(budget.prices.models),
    )


def read_message(message: Message, key: str) -> Answer:
    """Take an answer of the Messages API apart, also one from a batch.

    Raises:
        AttributeError, LookupError, TypeError, ValueError: it is not of the form that the API
            promises.
    """
    usage, details = message.usage, message.stop_details
    return Answer(
        key=key,
        outcome=_OUTCOMES.get(message.stop_reason, "answered"),
        text="".join(block.text for block in message.content if block.type == "text"),
        model=message.model,
        stop_reason=message.stop_reason,
        category=details.category if details else None,
        usage=Usage(
            input_tokens=usage.input_tokens,
            output_tokens=usage.output_tokens,
            cache_read_tokens=usage.cache_read_input_tokens or 0,
            cache_write_tokens=usage.cache_creation_input_tokens or 0,
        ),
        request_id=getattr(message, "_request_id", None),
    )
