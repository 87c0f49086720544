"""What a leaderboard consists of, and how its numbers are written. No heavy import."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from bench.grid import DASH

Interval = tuple[float, float]

STAGES_APART = 12  # columns that a table of times has room for
BRIEF = 3.0  # seconds
PERCENT = ("win_rate", "rm_accuracy.", "longer_wins.", "probe.")
FRACTIONS = ("_accuracy", "_share")  # what a suite's own metric ends in, if it is one


@dataclass(frozen=True)
class Cell:
    """A mean over seeds, with what is known of its error."""

    mean: float
    standard_error: float | None = None
    ci95: Interval | None = None


@dataclass(frozen=True)
class Arrival:
    """A row on its way to a score that is common to its table.

    Attributes:
        steps: of training, mean over seeds; None: not every seed arrives.
        seconds: likewise.
        arrived: seeds that have the score at some validation.
        seeds: that have validations.
    """

    steps: float | None
    seconds: float | None
    arrived: int
    seeds: int


@dataclass(frozen=True)
class Common:
    """A validation score by which rows are timed.

    Attributes:
        score: what it is, in words.
        level: its value.
        rows: label -> arrival, of the rows with validations.
    """

    score: str
    level: float
    rows: dict[str, Arrival]

    @property
    def title(self) -> str:
        """Of its table."""
        return f"To a validation {self.score} of {self.level:g}"


@dataclass(frozen=True)
class Row:
    """One label: its runs over seeds.

    Attributes:
        label: method plus non-default options (plus the preset, where several meet).
        status: "ok", or how many runs ended how.
        group: rank group, None where it cannot be ranked, or was not compared with some other.
        seeds: the seeds that ended ok; they alone enter the win rate.
        instructions: judged in every one of them.
        missing: instructions left out since one seed has no verdict.
        basis: what the interval of the ranked metric speaks of.
        metrics: name -> mean over seeds.
        stage_seconds: stage -> mean seconds, counted also where it was cached.
        steps_to_90: mean over seeds, None where no seed has it.
        peak_memory_gib: largest of any stage and seed.
        cost_usd: judge's, summed over the runs; None where one of them is not known.
        editor_usd: editor's, likewise; None too where a suite edits itself.
        pairs: fewest and most that a seed's reward model learned from; none where there is none.
        devices: where it ran.
        failures: seed and reason of each run that did not end ok.
    """

    label: str
    method: str
    paper: str
    preset: str
    status: str
    group: int | None = None
    seeds: tuple[int, ...] = ()
    instructions: int | None = None
    missing: int | None = None
    basis: str | None = None
    metrics: dict[str, Cell] = field(default_factory=dict)
    stage_seconds: dict[str, float] = field(default_factory=dict)
    steps_to_90: float | None = None
    seconds_to_90: float | None = None
    peak_memory_gib: float | None = None
    cost_usd: float | None = None
    editor_usd: float | None = None
    pairs: tuple[int, ...] = ()
    devices: tuple[str, ...] = ()
    failures: tuple[str, ...] = ()

    @property
    def seconds(self) -> float | None:
        """All stages together."""
        return sum(self.stage_seconds.values()) if self.stage_seconds else None


def timed_stages(rows: "Iterable[Row]") -> tuple[list[str], list[str]]:
    """The stages that have a column of their own in a table of times, and those that share one.

    Of up to `STAGES_APART` stages each has its own; of more, those share that one row alone has, or
    that take less than `BRIEF` seconds in every row. The rows with the most stages come first, so
    that the stages stand in the order of a run.
    """
    found: dict[str, list[float]] = {}
    for row in sorted(rows, key=lambda row: -len(row.stage_seconds)):
        for name, took in row.stage_seconds.items():
            found.setdefault(name, []).append(took)
    if len(found) <= STAGES_APART:
        return list(found), []
    own: list[str] = []
    shared: list[str] = []
    for name, times in found.items():
        (own if len(times) > 1 and max(times) >= BRIEF else shared).append(name)
    return own, shared


def together(row: "Row", stages: Iterable[str]) -> float | None:
    """Seconds of some stages; None where the row has none of them."""
    known = [row.stage_seconds[name] for name in stages if name in row.stage_seconds]
    return sum(known) if known else None


@dataclass(frozen=True)
class Table:
    """Rows that may be compared: one suite, one reference, one judge, one base model.

    Attributes:
        base: the base or SFT model, without its folder; None: the suite's own.
        reason: why these rows stand apart from those of the first table; "" in that one.
        warnings: what a reader must know before trusting a row, such as seeds of different code.
        common: when each row reaches one validation score; None where the curves were not read, or
            rows have none in common.
    """

    suite: str
    reference: str
    reference_sha: str
    judge: str
    judge_model: str | None
    template_sha: str | None
    base: str | None
    metric: str
    rows: list[Row]
    reason: str = ""
    warnings: tuple[str, ...] = ()
    common: Common | None = None

    @property
    def world(self) -> str:
        """The suite, and the base model if it is another than the suite's."""
        return self.suite if self.base is None else f"{self.suite} on {self.base}"

    @property
    def heading(self) -> str:
        """World, judge and reference, in words."""
        return self._titled("", "")

    @property
    def title(self) -> str:
        """The heading with the hashes of the judge's prompt and of the reference."""
        prompt = f", prompt {self.template_sha[:8]}" if self.template_sha else ""
        return self._titled(prompt, f" [{self.reference_sha[:8]}]")

    def _titled(self, prompt: str, sha: str) -> str:
        judge = self.judge + (f" ({self.judge_model})" if self.judge_model else "") + prompt
        if not self.reference_sha:
            return f"{self.world}: {judge} has judged no run"
        return f"{self.world}: judged by {judge} against {self.reference}{sha}"


def is_percent(metric: str) -> bool:
    """Whether people read this metric in per cent; everything else keeps its unit."""
    return metric.startswith(PERCENT) or metric.removesuffix("_greedy").endswith(FRACTIONS)


def number(metric: str, value: float | None, *, signed: bool = False) -> str:
    """A value of `metric` as text, a dash where there is none."""
    if value is None:
        return DASH
    sign = "+" if signed else ""
    if is_percent(metric):
        return f"{100 * value:{sign}z.1f}"  # z: no "-0.0"
    if metric.startswith(("length", "kl")):
        return f"{value:{sign}z.1f}"
    return f"{value:{sign}z.3f}"


def interval(metric: str, ci95: Interval | None, *, signed: bool = False) -> str:
    """The interval as "[low, high]" in the metric's unit."""
    if ci95 is None:
        return DASH
    return "[" + ", ".join(number(metric, x, signed=signed) for x in ci95) + "]"


def with_error(metric: str, cell: Cell | None) -> str:
    """A cell as "mean ± standard error"."""
    if cell is None:
        return DASH
    mean = number(metric, cell.mean)
    if cell.standard_error is None:
        return mean
    return f"{mean} ± {number(metric, cell.standard_error)}"


def probability(p: float) -> str:
    """A p-value, never "0.000"."""
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def seconds(value: float | None) -> str:
    """Seconds below two minutes, minutes below two hours, else hours."""
    if value is None:
        return DASH
    if value < 120:
        return f"{value:.0f} s"
    return f"{value / 60:.1f} min" if value < 7200 else f"{value / 3600:.1f} h"
