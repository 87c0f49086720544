"""The transport that asks Anthropic's Messages API at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import anthropic
from anthropic.types import Message

from bench.llm.answers import Answer
from bench.llm.caching import PromptCache
from bench.llm.money.budget import Budget
from bench.llm.options import LLMOptions
from bench.llm.requests import Request
from bench.llm.transports.calls import Calls, timeout
from bench.llm.transports.claude import find_service, open_client, read_message
from bench.llm.transports.protocol import Deliver


class Messages:
    """Many calls at a time; see `bench.llm.transports.calls`.

    Args:
        options: model and limits.
        budget: what may be spent.

    Raises:
        UserError: there is no key.
    """

    name = "messages"

    def __init__(self, options: LLMOptions, budget: Budget) -> None:
        self._options, self._budget = options, budget
        self._service = find_service(budget)

    async def send(self, requests: Iterator[Request], deliver: Deliver) -> None:
        """Ask all; see `Transport.send`."""
        async with open_client(self._options, self._budget, self._service) as client:
            cache = PromptCache()

            async def create(request: Request) -> Message:
                limit = timeout(self._options, request)

                async def send(body: Mapping[str, Any]) -> Message:
                    message: Message = await client.messages.create(**body, timeout=limit)
                    return message

                return await cache.ask(request, self._budget.cached(request), send)

            calls = Calls(
                self.name,
                self._options,
                self._budget,
                self._service,
                anthropic.AnthropicError,
                create,
                _read,
            )
            await calls.run(requests, deliver)


def _read(message: Message, request: Request) -> Answer:
    return read_message(message, request.key)
