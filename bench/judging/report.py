"""What a judgement came to: the win rate, what is missing from it, and what it may depend on."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from bench.judging.diagnostics import Judged, counts, diagnose, refusals
from bench.judging.marks import marks
from bench.judging.references import ReferenceSet
from bench.llm.families import family, same_family
from bench.plugins.protocols import Judge
from bench.records.schema import Mark, Metric
from bench.stats import LengthAdjusted, WinRate, length_adjusted, win_rate

MAX_MISSING = 0.02
"""Share of the instructions without a verdict from which on a win rate is not valid."""
_TOLERANCE = 1e-9
_OWN = {"counts", "refusals", "diagnostics", "marks"}  # of what a judge says, said here already


@dataclass(frozen=True)
class Report:
    """One judge's comparison of one model with one set of references. Rates are fractions.

    Attributes:
        judge, model, template_sha: who judged, and by which prompt.
        generator: whose outputs were judged.
        n: instructions.
        win_rate: over those with a verdict; None where there is none.
        bounds: of the win rate over all n, the missing ones taken as lost, and as won.
        counts: instructions by status.
        refusals: refused answers by category.
        diagnostics: see `bench.judging.diagnostics`.
        marks: what must be said before the win rate is quoted; see `bench.judging.marks`.
        length_adjusted: win rate at equal length, an estimate of our own; None: `length_problem`.
        shared_family: of models, if judge and data editor are of one.
        details: what the judge says of its work: cost, models, dates, canaries.
    """

    judge: str
    model: str | None
    template_sha: str | None
    reference: ReferenceSet
    generator: str
    n: int
    win_rate: WinRate | None
    bounds: tuple[float, float]
    counts: dict[str, int]
    refusals: dict[str, int]
    diagnostics: dict[str, Any]
    marks: tuple[Mark, ...]
    length_adjusted: LengthAdjusted | None
    length_problem: str
    shared_family: str | None
    details: dict[str, Any]

    @property
    def scored(self) -> int:
        """Instructions with a verdict."""
        return self.win_rate.n if self.win_rate else 0

    @property
    def missing(self) -> int:
        """Instructions without one."""
        return self.n - self.scored

    @property
    def invalid(self) -> bool:
        """Whether the win rate is not to be quoted, for one of the marks."""
        return any(mark.level == "invalid" for mark in self.marks)

    def as_dict(self) -> dict[str, Any]:
        """For a JSON file."""
        adjusted = self.length_adjusted and asdict(self.length_adjusted)
        return {
            **vars(self),
            "reference": asdict(self.reference),
            "win_rate": self.win_rate and Metric.of(self.win_rate).model_dump(),
            "scored": self.scored,
            "missing": self.missing,
            "invalid": self.invalid,
            "marks": [mark.model_dump() for mark in self.marks],
            "length_adjusted": adjusted and {"method": "ours, not AlpacaEval's", **adjusted},
        }


def make_report(
    judged: Judged,
    judge: Judge,
    reference: ReferenceSet,
    generator: str,
    editor: str | None,
    known: Sequence[Mark] = (),
) -> Report:
    """Sum up a judgement.

    Args:
        judged: every pair with its verdict, one an instruction.
        judge: who judged them.
        reference: the set they were compared with.
        generator: whose outputs they are.
        editor: who edited the data that this model learned from, if that is known.
        known: what people's labels said against the judge (`bench.judging.people`).
    """
    verdicts = [verdict for _, verdict in judged]
    rate = _win_rate([verdict.preference for verdict in verdicts])
    won = rate.mean * rate.n if rate else 0.0
    missing = len(judged) - (rate.n if rate else 0)
    adjusted, problem = _length_adjusted(judged)
    diagnostics = diagnose(judged)
    who = judge.model or judge.name
    return Report(
        judge=judge.name,
        model=judge.model,
        template_sha=judge.template_sha,
        reference=reference,
        generator=generator,
        n=len(judged),
        win_rate=rate,
        bounds=(won / len(judged), (won + missing) / len(judged)),
        counts=counts(verdicts),
        refusals=refusals(verdicts),
        diagnostics=diagnostics,
        marks=(*_too_many(missing, len(judged)), *marks(judged, diagnostics), *known),
        length_adjusted=adjusted,
        length_problem=problem,
        shared_family=family(editor) if same_family(who, editor) else None,
        details={name: x for name, x in judge.about().items() if name not in _OWN},
    )


def _too_many(missing: int, n: int) -> list[Mark]:
    if missing <= MAX_MISSING * n:
        return []
    text = f"{missing} of {n} instructions have no verdict, more than {MAX_MISSING:.0%}"
    return [Mark(what="missing", level="invalid", text=text)]


def _win_rate(preferences: Sequence[float | None]) -> WinRate | None:
    known = any(preference is not None for preference in preferences)
    return win_rate(preferences) if known else None


def _length_adjusted(judged: Judged) -> tuple[LengthAdjusted | None, str]:
    """The estimate, or why there is none. Lengths are in characters."""
    preferences = [verdict.preference for _, verdict in judged]
    outputs = [float(len(pair.output)) for pair, _ in judged]
    references = [float(len(pair.reference)) for pair, _ in judged]
    try:
        return length_adjusted(preferences, outputs, references), ""
    except ValueError as error:
        return None, str(error)


def cross_check(rows: Sequence[Mapping[str, Any]], rate: WinRate | None) -> None:
    """Compute the win rate with alpaca_eval as well.

    Args:
        rows: of the annotation file.
        rate: what we say it is.

    Raises:
        RuntimeError: the two differ by more than 1e-9.
    """
    if rate is None:
        return
    theirs = _alpaca_eval_metrics().get_winrate([dict(row) for row in rows])
    pairs = {
        "win_rate": 100 * rate.mean,
        "standard_error": None if rate.standard_error is None else 100 * rate.standard_error,
        "n_wins": rate.wins,
        "n_wins_base": rate.losses,
        "n_draws": rate.ties,
        "n_total": rate.n,
    }
    for name, ours in pairs.items():
        if ours is not None and not abs(theirs[name] - ours) <= _TOLERANCE:
            raise RuntimeError(f"{name} is {ours} by us, but {theirs[name]} by alpaca_eval")


def _alpaca_eval_metrics() -> Any:
    """The module, imported without what it does to the root logger."""
    level = logging.getLogger().level
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from alpaca_eval import metrics
    finally:
        logging.getLogger().setLevel(level)
    return metrics
