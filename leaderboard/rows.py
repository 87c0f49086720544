"""What a leaderboard consists of, and how its numbers are written. No heavy import."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.console import Group as RichGroup
from rich.table import Table as RichTable
from rich.text import Text

Interval = tuple[float, float]

PERCENT = ("win_rate", "rm_accuracy.", "probe.")
FRACTIONS = ("_accuracy", "_share")  # what a suite's own metric ends in, if it is one
DASH = "–"
GAP = 2  # columns of the terminal between two of a table


@dataclass(frozen=True)
class Cell:
    """A mean over seeds, with what is known of its error."""

    mean: float
    standard_error: float | None = None
    ci95: Interval | None = None


@dataclass(frozen=True)
class Row:
    """One label: its runs over seeds.

    Attributes:
        label: method plus non-default options (plus the preset, where several meet).
        status: "ok", or how many runs ended how.
        group: rank group, None where it cannot be ranked, or was not compared with some other.
        seeds: the seeds that ended ok; they alone enter the numbers.
        instructions: judged in every one of them.
        missing: instructions left out since one seed has no verdict.
        basis: what the interval of the ranked metric speaks of.
        metrics: name -> mean over seeds.
        stage_seconds: stage -> mean seconds, counted also where it was cached.
        steps_to_90: mean over seeds, None where no seed has it.
        peak_memory_gib: largest of any stage and seed.
        cost_usd: judge's, summed over the runs; None where one of them is not known.
        editor_usd: editor's, likewise; None too where a suite edits itself.
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
    devices: tuple[str, ...] = ()
    failures: tuple[str, ...] = ()

    @property
    def seconds(self) -> float | None:
        """All stages together."""
        return sum(self.stage_seconds.values()) if self.stage_seconds else None


@dataclass(frozen=True)
class Table:
    """Rows that may be compared: one suite, one reference, one judge.

    Attributes:
        reason: why these rows stand apart from those of the first table; "" in that one.
        warnings: what a reader must know before trusting a row, such as seeds of different code.
    """

    suite: str
    reference: str
    reference_sha: str
    judge: str
    judge_model: str | None
    template_sha: str | None
    metric: str
    rows: list[Row]
    reason: str = ""
    warnings: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """Suite, judge and reference, in words."""
        model = f" ({self.judge_model})" if self.judge_model else ""
        template = f", prompt {self.template_sha[:8]}" if self.template_sha else ""
        if not self.reference_sha:
            return f"{self.suite}: {self.judge}{model}{template} has judged no run"
        reference = f"{self.reference} [{self.reference_sha[:8]}]"
        return f"{self.suite}: judged by {self.judge}{model}{template} against {reference}"


@dataclass(frozen=True)
class Grid:
    """A table as strings: the one form that terminal, Markdown and HTML are drawn from.

    Attributes:
        warnings: what must be read before the table.
        notes: what explains it, below.
        level: of its heading.
    """

    title: str
    headers: list[str]
    rows: list[list[str]]
    notes: list[str] = field(default_factory=list)
    level: int = 3
    warnings: list[str] = field(default_factory=list)


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


@dataclass(frozen=True)
class _Columns:
    """A table that cuts no number: what is too wide for the console goes on in a table below."""

    headers: list[str]
    rows: list[list[str]]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        full = self._widths(options.max_width)
        parts: list[list[int]] = [[]]
        for i in range(1, len(full)):
            taken = full[0] + sum(full[j] + GAP for j in parts[-1])
            if parts[-1] and taken + full[i] + GAP > options.max_width:
                parts.append([])
            parts[-1].append(i)
        for part in parts:
            yield self._table([0, *part], full)
            yield Text()

    def _widths(self, room: int) -> list[int]:
        """Of each column: whole if there is room, else headers, then the first column, folded."""
        columns = [list(column) for column in zip(self.headers, *self.rows, strict=True)]
        full = [max(map(cell_len, column)) for column in columns]
        left = room - GAP * (len(full) - 1)
        if sum(full) > left:
            full = [max(_longest_word(c[0]), *map(cell_len, c[1:]), 1) for c in columns]
        if sum(full) > left:
            word = max(map(_longest_word, columns[0]))
            full[0] = min(full[0], max(12, left - sum(full[1:]), min(word, room // 3)))
        return full

    def _table(self, columns: list[int], widths: list[int]) -> RichTable:
        table = RichTable(
            box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, collapse_padding=True
        )
        for i in columns:
            justify: Literal["left", "right"] = "right" if i else "left"
            table.add_column(
                Text(self.headers[i]), justify=justify, width=widths[i], overflow="fold"
            )
        for row in self.rows:
            table.add_row(*(Text(row[i]) for i in columns))
        return table


def _longest_word(text: str) -> int:
    return max(map(cell_len, text.split()), default=0)


def to_rich(grid: Grid) -> RichGroup:
    """The grid for the terminal: title, table, notes; the first column is text, others numbers."""
    title = Text(grid.title, style="bold")
    warnings = [Text(f"Warning: {line}", style="bold yellow") for line in grid.warnings]
    table = [_Columns(grid.headers, grid.rows)] if grid.headers else []
    notes = [Text(note, style="dim") for note in grid.notes]
    return RichGroup(title, *warnings, *table, *notes, *([Text()] if notes else []))


def to_markdown(grid: Grid) -> str:
    """The grid as a Markdown table below a heading."""

    def line(cells: Iterable[str]) -> str:
        return "| " + " | ".join(c.replace("|", "\\|").replace("\n", " ") for c in cells) + " |"

    rule = ["---"] + ["---:"] * (len(grid.headers) - 1)
    lines = [f"{'#' * grid.level} {grid.title}"]
    for warning in grid.warnings:
        lines += ["", f"**Warning:** {warning}"]
    if grid.headers:
        lines += ["", line(grid.headers), line(rule), *map(line, grid.rows)]
    for note in grid.notes:
        lines += ["", note]
    return "\n".join(lines)


def drop_empty(headers: Sequence[str], rows: list[list[str]]) -> tuple[list[str], list[list[str]]]:
    """Leave out the columns, the first apart, that say nothing in any row."""
    keep = [0] + [i for i in range(1, len(headers)) if any(row[i] != DASH for row in rows)]
    return [headers[i] for i in keep], [[row[i] for i in keep] for row in rows]
