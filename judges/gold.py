"""The testbed's own judge: the response with the higher gold score wins, equal scores tie."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.config.section import NoOptions
from bench.errors import UserError
from bench.plugins.protocols import GoldSuite, Verdict


class Gold:
    """Compares gold scores.

    Args:
        suite: one that knows the truth.

    Raises:
        UserError: if the suite has no gold score.
    """

    name = "gold"
    model: str | None = None
    template_sha: str | None = None
    Options = NoOptions

    def __init__(
        self,
        suite: GoldSuite,
        options: NoOptions | None = None,
        *,
        answers: Path | None = None,
        say: Callable[[str], None] | None = None,
    ) -> None:
        if not isinstance(suite, GoldSuite):
            raise UserError("the gold judge needs a suite with a gold score, such as testbed")
        self.suite = suite

    def ready(self) -> None:
        """Nothing is needed."""

    def about(self) -> dict[str, Any]:
        """A program costs nothing."""
        return {"cost_usd": 0.0}

    def compare(
        self, prompts: list[str], outputs: list[str], references: list[str]
    ) -> list[Verdict]:
        """One verdict an instruction; never missing."""
        triples = zip(prompts, outputs, references, strict=True)
        return [self._verdict(*triple) for triple in triples]

    def _verdict(self, prompt: str, output: str, reference: str) -> Verdict:
        score = self.suite.score(prompt, output)
        reference_score = self.suite.score(prompt, reference)
        if score == reference_score:
            return Verdict(1.5, "tie", score, reference_score)
        preference = 2.0 if score > reference_score else 1.0
        return Verdict(preference, "ok", score, reference_score)
