"""What all ways to a model have in common: they take requests and deliver one answer to each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Protocol

from bench.errors import UserError
from bench.llm.answers import Answer
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


def now() -> str:
    """The time for a record: ISO 8601, UTC, seconds."""
    return datetime.now(UTC).isoformat(timespec="seconds")
