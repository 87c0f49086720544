"""What questions have taken so far, to foresee what the next ones will."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from bench.llm.answers import Answer, Usage
from bench.llm.requests import Request

ENOUGH = 10
"""Answers of a kind from which on they say what the next one takes."""


@dataclass
class _Spread:
    """Mean and standard deviation of a stream of numbers (Welford's recurrence)."""

    n: int = 0
    mean: float = 0.0
    _squares: float = 0.0

    def add(self, value: float) -> None:
        self.n += 1
        off = value - self.mean
        self.mean += off / self.n
        self._squares += off * (value - self.mean)

    def above(self, deviations: float) -> float:
        """So many standard deviations above the mean."""
        return self.mean + deviations * math.sqrt(self._squares / max(1, self.n - 1))


@dataclass
class _Kind:
    """Of questions that differ in their messages alone."""

    input_per_byte: _Spread = field(default_factory=_Spread)
    output: _Spread = field(default_factory=_Spread)


class Observed:
    """Tokens of the prompt for each byte of it, and of the answer, by kind of question.

    Answers differ by model, effort, schema and room: what one kind takes says nothing of another.
    """

    def __init__(self) -> None:
        self._kinds: dict[str, _Kind] = {}

    def learn(self, answer: Answer) -> None:
        """Take an answer in; one that was not paid, or whose tokens nobody counted, is none."""
        usage = answer.usage
        prompt = usage.input_tokens + usage.cache_read_tokens + usage.cache_write_tokens
        if not (answer.paid and answer.asked_bytes and prompt + usage.output_tokens):
            return
        kind = self._kinds.setdefault(answer.kind, _Kind())
        kind.input_per_byte.add(prompt / answer.asked_bytes)
        kind.output.add(usage.output_tokens)

    def usage(self, request: Request, deviations: float) -> Usage | None:
        """What a request will take; None where fewer than `ENOUGH` answers of its kind are known.

        Args:
            request: the question.
            deviations: how many standard deviations above the mean both parts are taken.
        """
        kind = self._kinds.get(request.kind)
        if kind is None or kind.output.n < ENOUGH:
            return None
        return Usage(
            input_tokens=math.ceil(request.size * kind.input_per_byte.above(deviations)),
            output_tokens=math.ceil(kind.output.above(deviations)),
        )
