"""Verdicts from a file of annotations in AlpacaEval's format; nobody is asked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

from pydantic import Field

from bench.config.section import Section
from bench.errors import UserError
from bench.files import content_sha
from bench.judging.alpaca_eval import Annotation, read
from bench.judging.marks import account
from bench.judging.pairs import Pair, pairs_of
from bench.judging.references import require_same
from bench.llm.answers import Outcome
from bench.plugins.protocols import Verdict
from bench.preference import TIE

_MISSING = {"parse_error", *get_args(Outcome)} - {"answered"}


class ReplayOptions(Section):
    """Where the verdicts are."""

    annotations: str | None = Field(
        None, description="file of annotations; null: the file that is judged holds them itself"
    )

    def result_fields(self) -> dict[str, Any]:
        """What the file says, and not what it is called.

        Raises:
            UserError: it cannot be read.
        """
        return {"annotations": self.annotations and content_sha(Path(self.annotations))}


class Replay:
    """Looks verdicts up, by instruction and output.

    Args:
        suite: not needed; every judge is given it.
        options: where the verdicts are.
        answers: not needed.
        say: receives a line about outputs that the file does not have.
    """

    name = "replay"
    Options = ReplayOptions
    template_sha: str | None = None

    def __init__(
        self,
        suite: Any,
        options: ReplayOptions,
        *,
        answers: Path | None = None,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.path = Path(options.annotations) if options.annotations else None
        self.model: str | None = None
        self._say = say
        self._rows: dict[tuple[str, str], Annotation] | None = None
        self._judged: list[tuple[Pair, Verdict]] = []
        self._annotators: Counter[str] = Counter()

    def use(self, path: Path) -> None:
        """Take the verdicts from `path`, unless the options name a file."""
        self.path = self.path or path

    def ready(self) -> None:
        """Raise UserError if there is no file of annotations, or it cannot be read."""
        self._annotations()

    def compare(
        self, prompts: list[str], outputs: list[str], references: list[str]
    ) -> list[Verdict]:
        """One verdict an instruction, in order; "api_error" where the file has none.

        Raises:
            UserError: the file cannot be read, or was judged against other references.
        """
        rows = self._annotations()
        require_same(
            dict(zip(prompts, references, strict=True)),
            "what is judged",
            {row.prompt: row.output_1 for row in rows.values()},
            str(self.path),
        )
        pairs = pairs_of(prompts, outputs, references)
        verdicts = [self._verdict(pair, rows.get((pair.prompt, pair.output))) for pair in pairs]
        absent = sum(verdict.status == "api_error" for verdict in verdicts)
        if absent:
            self._say(f"{absent} of {len(pairs)} outputs are not in {self.path}: counted api_error")
        self._judged += zip(pairs, verdicts, strict=True)
        return verdicts

    def about(self) -> dict[str, Any]:
        """Nothing was paid; who annotated, counts, marks and diagnostics of `compare`."""
        models = dict(sorted(self._annotators.items()))
        return {"cost_usd": 0.0, "models": models, **account(self._judged)}

    def _annotations(self) -> dict[tuple[str, str], Annotation]:
        if self._rows is None:
            if self.path is None:
                raise UserError("replay needs a file of annotations: judge.annotations=FILE")
            found = read(self.path, Annotation, samples=True)
            self._rows = {(row.prompt, row.output_2): row for row in found}
            annotators = {row.annotator for row in self._rows.values() if row.annotator}
            self.model = ", ".join(sorted(annotators)) or None
        return self._rows

    def _verdict(self, pair: Pair, row: Annotation | None) -> Verdict:
        if row is None:
            return Verdict(None, "api_error")
        self._annotators[row.annotator or "unknown"] += 1
        if row.preference is None:
            known = row.status if row.status in _MISSING else None
            return Verdict(None, known or "parse_error")
        if row.preference != TIE:
            return Verdict(row.preference, "ok")
        return Verdict(TIE, "identical" if pair.output == pair.reference else "tie")
