"""The transport that answers from a recorded file: offline, free, the same on every day."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from bench.errors import UserError
from bench.llm.answers import Answer, AnswerStore
from bench.llm.options import LLMOptions
from bench.llm.requests import Request
from bench.llm.transports.protocol import Deliver


class Replay:
    """Answers as they stand in another run's store.

    Args:
        options: `replay` names the file.

    Raises:
        UserError: no file is named, or there is none.
    """

    name = "replay"

    def __init__(self, options: LLMOptions) -> None:
        if options.replay is None:
            raise UserError("transport replay needs a file of recorded answers: the option replay")
        self._path = Path(options.replay)
        if not self._path.is_file():
            raise UserError(f"there is no file of recorded answers {self._path} (option replay)")
        self._recorded = AnswerStore(self._path)

    def has(self, request: Request) -> bool:
        """Whether the request was recorded."""
        return request.key in self._recorded

    async def send(self, requests: Iterator[Request], deliver: Deliver) -> None:
        """Look all of them up; see `Transport.send`."""
        for request in requests:
            deliver(request, self._find(request.key))

    def _find(self, key: str) -> Answer:
        answer = self._recorded.get(key)
        if answer is not None:
            return answer.model_copy(update={"transport": self.name})
        return Answer(
            key=key,
            outcome="api_error",
            transport=self.name,
            error=f"not recorded in {self._path}: another model, prompt, order or text",
        )
