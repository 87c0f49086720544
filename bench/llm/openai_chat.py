"""The transport for any OpenAI-compatible endpoint: a second judge beside Claude."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import openai
from openai.types.chat import ChatCompletion

from bench.errors import UserError
from bench.llm.answers import Answer, Outcome, Usage
from bench.llm.budget import Budget
from bench.llm.calls import Calls, timeout, watched_client
from bench.llm.options import LLMOptions
from bench.llm.outcomes import Service, check_key
from bench.llm.requests import Request
from bench.llm.transport import Deliver

_OUTCOMES: dict[str, Outcome] = {"length": "truncated", "content_filter": "refusal"}


class OpenAIChat:
    """Many calls at a time; see `bench.llm.calls`.

    Args:
        options: model, endpoint and limits.
        budget: what may be spent.

    Raises:
        UserError: there is no key.
    """

    name = "openai"

    def __init__(self, options: LLMOptions, budget: Budget) -> None:
        self._options, self._budget = options, budget
        variable = options.api_key_env
        self._key = os.environ.get(variable, "")
        if not self._key:
            raise UserError(
                f"no key for the OpenAI-compatible endpoint: set {variable} (to any word if it "
                "needs none), or name another variable in the option api_key_env"
            )
        check_key(variable, self._key)

    async def send(self, requests: Iterator[Request], deliver: Deliver) -> None:
        """Ask all; see `Transport.send`."""
        secrets: set[str] = set()
        async with self._open_client(secrets) as client:
            service = Service(
                name=f"the API at {client.base_url.host}",
                key=self._options.api_key_env,
                limits="where the endpoint's account is managed",
                secrets=secrets,
            )

            async def create(request: Request) -> ChatCompletion:
                limit = timeout(self._options, request)
                return await client.chat.completions.create(**to_chat(request.body), timeout=limit)

            calls = Calls(
                self.name,
                self._options,
                self._budget,
                service,
                openai.OpenAIError,
                create,
                read_completion,
            )
            await calls.run(requests, deliver)

    def _open_client(self, secrets: set[str]) -> openai.AsyncOpenAI:
        options = self._options
        http_client = watched_client(
            openai.DefaultAsyncHttpxClient,
            self._budget,
            secrets,
            options.concurrency,
            openai.OpenAIError,
        )
        return openai.AsyncOpenAI(
            api_key=self._key,
            base_url=options.base_url,
            max_retries=options.max_retries,
            timeout=options.timeout_s,
            http_client=http_client,
        )


def to_chat(body: Any) -> dict[str, Any]:
    """The body of a chat completion that asks what a body of the Messages API asks."""
    chat: dict[str, Any] = {
        "model": body["model"],
        "messages": list(body["messages"]),
        "max_completion_tokens": body["max_tokens"],
    }
    if "system" in body:
        chat["messages"].insert(0, {"role": "system", "content": body["system"]})
    output = body.get("output_config", {})
    if "format" in output:
        schema = {"name": "answer", "strict": True, "schema": output["format"]["schema"]}
        chat["response_format"] = {"type": "json_schema", "json_schema": schema}
    if "effort" in output:
        chat["reasoning_effort"] = output["effort"]
    return chat


def read_completion(completion: ChatCompletion, request: Request) -> Answer:
    """Take a chat completion apart.

    Raises:
        AttributeError, LookupError, TypeError, ValueError: it is not of the form that the API
            promises.
    """
    choice = completion.choices[0]
    refused = choice.message.refusal
    return Answer(
        key=request.key,
        outcome="refusal" if refused else _OUTCOMES.get(choice.finish_reason, "answered"),
        text=choice.message.content or "",
        model=completion.model,
        stop_reason=choice.finish_reason,
        category="content_filter" if choice.finish_reason == "content_filter" else None,
        usage=_usage(completion.usage),
        request_id=getattr(completion, "_request_id", None),
    )


def _usage(usage: Any) -> Usage:
    """OpenAI's prompt tokens include the cached ones; not every endpoint counts tokens."""
    if usage is None:
        return Usage()
    cached = (usage.prompt_tokens_details and usage.prompt_tokens_details.cached_tokens) or 0
    return Usage(
        input_tokens=usage.prompt_tokens - cached,
        output_tokens=usage.completion_tokens,
        cache_read_tokens=cached,
    )
