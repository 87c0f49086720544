"""The line between the parent and a worker: one command a line in, one JSON line back."""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Callable
from functools import wraps
from typing import Any, TextIO


class Gate:
    """Lets a contender's loop do one step a command and reports what the step took.

    A loop asks `go` before every step; what lies between two calls is the step, whoever owns the
    loop. A trainer that cannot be stepped from outside is driven that way too.

    Args:
        commands: lines "step", "measure" or "stop"; their end is a stop.
        answers: takes one JSON line for each "step" and "measure".
        measure: what to answer to "measure".
        begin: called before the first step.

    Attributes:
        phases: seconds of the step's parts, filled by `timed`.
        counts: what a contender counts in the step, as tokens.
    """

    def __init__(
        self,
        commands: TextIO,
        answers: TextIO,
        measure: Callable[[], dict[str, float]],
        begin: Callable[[], None] = lambda: None,
    ) -> None:
        self.commands, self.answers, self.measure, self.begin = commands, answers, measure, begin
        self._begun = False
        self.phases: dict[str, float] = defaultdict(float)
        self.counts: dict[str, float] = defaultdict(float)
        self._started: float | None = None

    def go(self) -> bool:
        """Report the step that ends here and wait; False: no more steps are wanted."""
        if self._started is not None:
            seconds = time.perf_counter() - self._started
            self._started = None
            self._answer({"seconds": seconds, "phases": self.phases, "counts": self.counts})
        for line in self.commands:
            if line.strip() == "measure":
                self._answer(self.measure())
            elif line.strip() == "step":
                self.phases.clear()
                self.counts.clear()
                if not self._begun:
                    self.begin()
                    self._begun = True
                self._started = time.perf_counter()
                return True
            else:
                break
        return False

    def timed(self, phase: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """`function`, its time added to `phase`."""

        @wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            started = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                self.phases[phase] += time.perf_counter() - started

        return wrapper

    def _answer(self, content: dict[str, Any]) -> None:
        self.answers.write(json.dumps(content) + "\n")
        self.answers.flush()
