"""The ways to a model: what they have in common, and how one is opened.

`messages` asks at once, `batches` at half the price, `replay` reads a recorded file, `openai`
speaks to any OpenAI-compatible endpoint. All take requests and deliver exactly one answer to each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Protocol

from bench.errors import UserError
from bench.llm.answers import Answer, AnswerStore
from bench.llm.budget import Budget
from bench.llm.options import LLMOptions
from bench.llm.requests import Request

Deliver = Callable[[Request, Answer], None]
Say = Callable[[str], None]


class Transport(Protocol):
    """A way to a model."""

    name: str

    async def send(self, requests: Iterator[Request], deliver: Deliver) -> None:
        """Ask all; each gets one answer, in any order, delivered the moment it is there.

        Requests are drawn as there is room for them. An answer of "api_error", "expired" or
        "skipped_budget" says that there is none.

        Raises:
            UserError: nothing can be answered (key, model, spending limit), after the calls in
                flight have been delivered.
        """
        ...


class Stopped(UserError):
    """The API will not answer this or any other request: why, and how to mend it."""

    def __init__(self, message: str) -> None:
        super().__init__(
            f"{message}. What was answered is kept; run the same command again to go on",
            exit_code=1,
        )


def open_transport(
    options: LLMOptions, budget: Budget, answers: AnswerStore, say: Say
) -> Transport:
    """Open the way that the options name.

    Args:
        options: model and transport.
        budget: what may be spent.
        answers: the store; batches are noted beside it, and what an earlier process ordered goes
            straight into it.
        say: receives a line for people.

    Raises:
        UserError: a key or a file is missing; the message names the variable or option.
    """
    if options.transport == "replay":
        from bench.llm.replay import Replay

        return Replay(options)
    if options.transport == "openai":
        from bench.llm.openai_chat import OpenAIChat

        return OpenAIChat(options, budget, say)
    if options.transport == "batches":
        from bench.llm.batches import Batches

        return Batches(options, budget, answers, say)
    from bench.llm.messages import Messages

    return Messages(options, budget)


def now() -> str:
    """The time for a record: ISO 8601, UTC, seconds."""
    return datetime.now(UTC).isoformat(timespec="seconds")
