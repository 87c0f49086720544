"""Prompt caching: what several questions begin with is paid in full once, where the API has that.

A question says how much of its prompt others share (`Request.shared`). Where the model's minimum is
reached, the transport `messages` marks it with `cache_control`: to write it costs a quarter more,
and to read it a tenth or less, so it pays from the second question on. It is a way of asking, not
another question, so it is in no key, and what is stored or recorded stays as it is.

References:
    https://platform.claude.com/docs/en/build-with-claude/prompt-caching
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any, TypeVar

from bench.llm.requests import Request

Reply = TypeVar("Reply")

BYTES_PER_TOKEN = 3.5
"""Of English text, where the API does not count: an assumption."""
LONG_BYTES = round(1024 * BYTES_PER_TOKEN)
"""A shared beginning from which on caching is thought of: the minimum of most models."""
_FIRST_S = 30.0  # most that others wait for the first question, which writes the beginning


def beginning(request: Request, min_tokens: int | None) -> str:
    """The part of a prompt that is cached, whole lines; "" where there is none to be.

    Args:
        request: the question.
        min_tokens: fewest that the model caches; None: it caches nothing.
    """
    prompt = request.body["messages"][0]["content"]
    shared = str(prompt[: request.shared])
    shared = shared[: shared.rfind("\n") + 1]
    enough = min_tokens is not None and len(shared.encode()) >= min_tokens * BYTES_PER_TOKEN
    return shared if enough and prompt[len(shared) :].strip() else ""


def apart(requests: Iterable[Request], distance: int) -> Iterator[Request]:
    """The same requests; a pair's second order comes so many later that its first is answered."""
    held: deque[Request] = deque()
    for request in requests:
        if not (request.order and request.shared >= LONG_BYTES):
            yield request
            continue
        held.append(request)
        if len(held) > distance:
            yield held.popleft()
    yield from held


class PromptCache:
    """Sends questions with their beginnings marked, of each beginning one before the others.

    What is cached can be read as soon as the first answer is there; sent at once, all would write.
    """

    def __init__(self) -> None:
        self._first: dict[tuple[str, str], asyncio.Event] = {}

    async def ask(
        self, request: Request, cached: str, send: Callable[[Mapping[str, Any]], Awaitable[Reply]]
    ) -> Reply:
        """Send a question.

        Args:
            request: the question.
            cached: its `beginning`.
            send: takes the body.
        """
        if not cached:
            return await send(request.body)
        body = marked(request.body, cached)
        key = request.model, cached
        if key in self._first:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._first[key].wait(), _FIRST_S)
            return await send(body)
        answered = self._first[key] = asyncio.Event()
        try:
            return await send(body)
        finally:
            answered.set()


def marked(body: Mapping[str, Any], cached: str) -> dict[str, Any]:
    """The body with the beginning of its first turn as a block of its own, to be cached."""
    first, *others = body["messages"]
    blocks = [
        {"type": "text", "text": cached, "cache_control": {"type": "ephemeral"}},
        {"type": "text", "text": first["content"][len(cached) :]},
    ]
    return {**body, "messages": [{**first, "content": blocks}, *others]}
