"""The transport for any OpenAI-compatible endpoint: a second judge beside Claude."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import openai
from openai.types.chat import (
    ChatCompletion,
    ChatCompletionMessage,
    ChatCompletionTokenLogprob,
)
from openai.types.chat.chat_completion import Choice, ChoiceLogprobs

from bench.errors import UserError
from bench.llm.answers import Answer, Outcome, Usage
from bench.llm.json_answers import in_words
from bench.llm.money.budget import Budget
from bench.llm.options import LLMOptions
from bench.llm.requests import Request
from bench.llm.transports.calls import Calls, timeout, watched_client
from bench.llm.transports.outcomes import Service, check_key
from bench.llm.transports.protocol import Deliver, Say

_REFUSED = (openai.BadRequestError, openai.UnprocessableEntityError)
_SCHEMA, _LIMIT = "response_format", "max_completion_tokens"  # what not every endpoint takes
_NONE = ChoiceLogprobs(content=None)
_OUTCOMES: dict[str, Outcome] = {"length": "truncated", "content_filter": "refusal"}


@dataclass(frozen=True)
class Dialect:
    """How an endpoint is spoken to, where endpoints differ.

    Attributes:
        schema: whether it holds the answer to a schema; the prompt asks for that form besides, for
            some endpoints pass over what they do not know.
        limit: its name for the most tokens of an answer.
    """

    schema: bool = True
    limit: str = _LIMIT

    def without(self, error: Exception) -> Dialect | None:
        """Do without the parameter that an error names; None where it names none of the two."""
        if self.schema and re.search(rf"\b({_SCHEMA}|json_schema)\b", str(error)):
            return replace(self, schema=False)
        if self.limit == _LIMIT and re.search(rf"\b{_LIMIT}\b", str(error)):
            return replace(self, limit="max_tokens")
        return None


class OpenAIChat:
    """Many calls at a time; see `bench.llm.transports.calls`.

    An endpoint that refuses a parameter by name is asked once more without it, and if it answers
    then, so are all later questions. The question stays the same, and so does its key: model,
    prompt, schema and limit are, and it is this endpoint's way of being told them that differs.

    Args:
        options: model, endpoint and limits.
        budget: what may be spent.
        say: receives a line on a parameter that was refused.

    Raises:
        UserError: there is no key.
    """

    name = "openai"

    def __init__(self, options: LLMOptions, budget: Budget, say: Say) -> None:
        self._options, self._budget, self._say = options, budget, say
        self._dialect = Dialect(limit=options.token_limit)
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
                return await self._create(client, request)

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

    async def _create(self, client: openai.AsyncOpenAI, request: Request) -> ChatCompletion:
        """Ask, without what the endpoint turns out to refuse."""
        dialect, limit = self._dialect, timeout(self._options, request)
        while True:
            body = to_chat(request.body, dialect)
            try:
                completion = await client.chat.completions.create(**body, timeout=limit)
            except _REFUSED as error:
                simpler = dialect.without(error)
                if simpler is None:
                    raise
                dialect = simpler
            else:
                self._learn(dialect, client.base_url.host)
                return completion

    def _learn(self, spoken: Dialect, host: str) -> None:
        """Keep to what was answered; what was refused beside it is said once."""
        known, refused = self._dialect, []
        if known.schema and not spoken.schema:
            refused.append(f"{_SCHEMA}: the prompt alone asks for JSON (answer_format=text)")
        if known.limit == _LIMIT != spoken.limit:
            refused.append(f"{_LIMIT}: max_tokens takes its place (token_limit=max_tokens)")
        if refused:
            self._dialect = Dialect(
                known.schema and spoken.schema,
                spoken.limit if known.limit == _LIMIT else known.limit,
            )
            self._say(f"the API at {host} refuses {'; and '.join(refused)}")

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


def to_chat(body: Any, dialect: Dialect = Dialect()) -> dict[str, Any]:
    """The body of a chat completion that asks what a body of the Messages API asks.

    Its field "chat", which that API has not, holds fields of a chat completion, sent as they are.
    """
    output = body.get("output_config", {})
    turns = in_words(body)["messages"] if "format" in output else body["messages"]
    chat: dict[str, Any] = {
        "model": body["model"],
        "messages": list(turns),
        dialect.limit: body["max_tokens"],
    }
    if "system" in body:
        chat["messages"].insert(0, {"role": "system", "content": body["system"]})
    if "format" in output and dialect.schema:
        schema = {"name": "answer", "strict": True, "schema": output["format"]["schema"]}
        chat[_SCHEMA] = {"type": "json_schema", "json_schema": schema}
    if "effort" in output:
        chat["reasoning_effort"] = output["effort"]
    return chat | body.get("chat", {})


def read_completion(completion: ChatCompletion, request: Request) -> Answer:
    """Take a chat completion apart.

    Raises:
        AttributeError, LookupError, TypeError, ValueError: it is not of the form that the API
            promises.
    """
    choice = completion.choices[0]
    return Answer(
        key=request.key,
        outcome=_outcome(choice, request),
        text=_text(choice.message),
        model=completion.model,
        stop_reason=choice.finish_reason,
        category="content_filter" if choice.finish_reason == "content_filter" else None,
        usage=_usage(completion.usage),
        top_logprobs=[_likeliest(token) for token in (choice.logprobs or _NONE).content or ()],
        request_id=getattr(completion, "_request_id", None),
    )


def _outcome(choice: Choice, request: Request) -> Outcome:
    """Whoever sends fields of a chat completion, such as one token's room, reads what comes."""
    if choice.message.refusal:
        return "refusal"
    outcome = _OUTCOMES.get(choice.finish_reason, "answered")
    return "answered" if outcome == "truncated" and "chat" in request.body else outcome


def _text(message: ChatCompletionMessage) -> str:
    """What it says, or the arguments of the function that it was made to call."""
    for call in message.tool_calls or ():
        if call.type == "function":
            return call.function.arguments
    return message.content or ""


def _likeliest(token: ChatCompletionTokenLogprob) -> dict[str, float]:
    """Of one token; an endpoint says minus infinity, or a large number, where it knows of none."""
    found = {top.token: top.logprob for top in token.top_logprobs or ()}
    return {text: value for text, value in found.items() if math.isfinite(value)}


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
