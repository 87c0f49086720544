"""What a judgement came to: the win rate, what is missing from it, and what it may depend on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any, NamedTuple

from bench.judging.diagnostics import Judged, counts, diagnose, refusals
from bench.judging.length_controlled import LengthControl, LengthControlled
from bench.judging.marks import marks
from bench.judging.pairs import Pair
from bench.judging.quiet import quiet_import
from bench.judging.references import ReferenceSet
from bench.llm.families import family, same_family
from bench.plugins.protocols import Judge, Verdict
from bench.records.schema import Mark, Metric
from bench.stats import LengthAdjusted, WinRate, length_adjusted, win_rate

MAX_MISSING = 0.02
"""Share of the instructions without a verdict from which on a win rate is not valid."""
_TOLERANCE = 1e-9
_EDGE = 0.1  # share of the outputs on the rarer side of equal length below which it is said
_OWN = {"counts", "refusals", "diagnostics", "marks"}  # of what a judge says, said here already


@dataclass(frozen=True)
class Report:
    """One judge's comparison of one model with one set of references. Rates are fractions.

    Attributes:
        judge, model, template_sha: who judged, and by which prompt.
        generator: whose outputs were judged.
        n: instructions.
        samples: outputs of each, of which the mean verdict is taken before all else.
        win_rate: over those with a verdict; None where there is none.
        bounds: of the win rate over all n, the missing ones taken as lost, and as won.
        counts: comparisons by status: instructions, where each has one sample.
        refusals: refused answers by category.
        diagnostics: see `bench.judging.diagnostics`.
        marks: what must be said before the win rate is quoted; see `bench.judging.marks`.
        length_adjusted: win rate at equal length, an estimate of our own; None: `length_problem`.
        length_warning: what `length_adjusted` must not be quoted without; "" if there is nothing.
        length_controlled: AlpacaEval's; None where it was not asked for, or
            `length_controlled_problem`.
        shared_family: of models, if judge and data editor are of one.
        details: what the judge says of its work: cost, models, dates, canaries.
    """

    judge: str
    model: str | None
    template_sha: str | None
    reference: ReferenceSet
    generator: str
    n: int
    samples: int
    win_rate: WinRate | None
    bounds: tuple[float, float]
    counts: dict[str, int]
    refusals: dict[str, int]
    diagnostics: dict[str, Any]
    marks: tuple[Mark, ...]
    length_adjusted: LengthAdjusted | None
    length_problem: str
    length_warning: str
    length_controlled: LengthControlled | None
    length_controlled_problem: str
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
        controlled = self.length_controlled and asdict(self.length_controlled)
        return {
            **vars(self),
            "reference": asdict(self.reference),
            "win_rate": self.win_rate and Metric.of(self.win_rate).model_dump(),
            "scored": self.scored,
            "missing": self.missing,
            "invalid": self.invalid,
            "marks": [mark.model_dump() for mark in self.marks],
            "length_adjusted": adjusted and {"method": "ours, not AlpacaEval's", **adjusted},
            "length_controlled": controlled,
        }


class Averaged(NamedTuple):
    """An instruction, over its samples: preference, None if one has none; lengths in characters."""

    prompt: str
    preference: float | None
    length: float
    reference_length: float


def by_instruction(judged: Judged) -> list[Averaged]:
    """The instructions in their order, each with the mean over its samples."""
    samples: dict[str, list[tuple[Pair, Verdict]]] = {}
    for pair, verdict in judged:
        samples.setdefault(pair.prompt, []).append((pair, verdict))
    return [_averaged(prompt, own) for prompt, own in samples.items()]


def _averaged(prompt: str, samples: Judged) -> Averaged:
    known = [v.preference for _, v in samples if v.preference is not None]
    return Averaged(
        prompt,
        fmean(known) if len(known) == len(samples) else None,
        fmean(len(pair.output) for pair, _ in samples),
        fmean(len(pair.reference) for pair, _ in samples),
    )


def make_report(
    judged: Judged,
    judge: Judge,
    reference: ReferenceSet,
    generator: str,
    editor: str | None,
    details: Mapping[str, Any] | None = None,
    control: LengthControl | None = None,
    known: Sequence[Mark] = (),
) -> Report:
    """Sum up a judgement.

    Args:
        judged: every pair with its verdict, as many an instruction as it has samples.
        judge: who judged them.
        reference: the set they were compared with.
        generator: whose outputs they are.
        editor: who edited the data that this model learned from, if that is known.
        details: what the judge says of its work; None: it is asked.
        control: data of AlpacaEval's length-controlled win rate; None: it is left out.
        known: what people's labels said against the judge (`bench.judging.people`).
    """
    verdicts = [verdict for _, verdict in judged]
    instructions = by_instruction(judged)
    n = len(instructions)
    rate = _win_rate([one.preference for one in instructions])
    won = rate.mean * rate.n if rate else 0.0
    missing = n - (rate.n if rate else 0)
    adjusted, problem = _length_adjusted(instructions)
    controlled, uncontrolled = _length_controlled(instructions, control)
    diagnostics = diagnose(judged)
    who = judge.model or judge.name
    return Report(
        judge=judge.name,
        model=judge.model,
        template_sha=judge.template_sha,
        reference=reference,
        generator=generator,
        n=n,
        samples=len(judged) // n,
        win_rate=rate,
        bounds=(won / n, (won + missing) / n),
        counts=counts(verdicts),
        refusals=refusals(verdicts),
        diagnostics=diagnostics,
        marks=(*_too_many(missing, n), *marks(judged, diagnostics), *known),
        length_adjusted=adjusted,
        length_problem=problem,
        length_warning=_length_warning(instructions) if adjusted else "",
        length_controlled=controlled,
        length_controlled_problem=uncontrolled,
        shared_family=family(editor) if same_family(who, editor) else None,
        details=own_details(judge.about() if details is None else details),
    )


def own_details(about: Mapping[str, Any]) -> dict[str, Any]:
    """What a judge says of its work and a report does not say itself."""
    return {name: x for name, x in about.items() if name not in _OWN}


def _too_many(missing: int, n: int) -> list[Mark]:
    if missing <= MAX_MISSING * n:
        return []
    text = f"{missing} of {n} instructions have no verdict, more than {MAX_MISSING:.0%}"
    return [Mark(what="missing", level="invalid", text=text)]


def _win_rate(preferences: Sequence[float | None]) -> WinRate | None:
    known = any(preference is not None for preference in preferences)
    return win_rate(preferences) if known else None


def _length_adjusted(instructions: Sequence[Averaged]) -> tuple[LengthAdjusted | None, str]:
    """The estimate, or why there is none."""
    _, *columns = zip(*instructions, strict=True)
    try:
        return length_adjusted(*columns), ""
    except ValueError as error:
        return None, str(error)


def _length_warning(instructions: Sequence[Averaged]) -> str:
    """What to say where equal length lies at the edge of what was seen."""
    longer = [one.length - one.reference_length for one in instructions]
    sides = {
        "no longer": sum(difference <= 0 for difference in longer) / len(longer),
        "no shorter": sum(difference >= 0 for difference in longer) / len(longer),
    }
    side, share = min(sides.items(), key=lambda item: item[1])
    if share >= _EDGE:
        return ""
    return f"few pairs lie near equal length: {share:.1%} of the outputs are {side}; extrapolated"


def _length_controlled(
    instructions: Sequence[Averaged], control: LengthControl | None
) -> tuple[LengthControlled | None, str]:
    """AlpacaEval's estimate, or why there is none; "" where nobody asked for it."""
    if control is None:
        return None, ""
    columns = zip(*instructions, strict=True)
    try:
        return control.win_rate(*columns), ""
    except (ImportError, ValueError) as error:
        return None, " ".join(str(error).split())


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
    theirs = quiet_import("alpaca_eval.metrics").get_winrate([dict(row) for row in rows])
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
