"""The sortable tables of the page: what stands in each cell, and by what it is sorted."""

from collections.abc import Callable
from dataclasses import dataclass, field

from bench.grid import DASH
from leaderboard.analysis.rows import Cell, Row, Table, interval, number, seconds, with_error
from leaderboard.views.render import SECTIONS


@dataclass(frozen=True)
class Forest:
    """An interval on the scale that its column shares, each in per cent of the width."""

    low: float
    mean: float
    high: float
    parity: float | None


@dataclass(frozen=True)
class Field:
    """A cell: its text, a smaller line below, and the number it is sorted by (None: the text)."""

    text: str
    note: str = ""
    key: float | None = None
    forest: Forest | None = None
    href: str = ""
    id: str = ""


@dataclass(frozen=True)
class Column:
    """A column; columns of one `group` that stand together share a heading."""

    header: str
    group: str = ""
    numeric: bool = True


@dataclass(frozen=True)
class Sheet:
    """A table; the first column holds the rows' headers."""

    title: str
    columns: list[Column]
    rows: list[list[Field]]
    notes: list[str] = field(default_factory=list)

    @property
    def groups(self) -> list[tuple[str, int]]:
        """(heading, columns below it), the first column apart; empty where there is none."""
        spans: list[tuple[str, int]] = []
        for column in self.columns[1:]:
            if spans and spans[-1][0] == column.group:
                spans[-1] = (column.group, spans[-1][1] + 1)
            else:
                spans.append((column.group, 1))
        return spans if any(name for name, _ in spans) else []


_METRICS = {
    "rm_accuracy.original": ("Reward model", "Original pairs %"),
    "rm_accuracy.edited": ("Reward model", "Edits %"),
    "rm_localisation": ("Reward model", "Localisation"),
    "gold_score": ("Policy", "Gold score"),
    "kl": ("Policy", "KL"),
    "length": ("Policy", "Length"),
}

EMPTY = Field(DASH)
_Fill = Callable[[Row], Field]


def result_sheet(table: Table, links: dict[str, str]) -> Sheet:
    """One row a label: result, reward model, policy and cost.

    Args:
        table: what may be compared.
        links: label -> where its runs are listed.
    """
    fills: list[tuple[Column, _Fill]] = [
        *_result_columns(table),
        *(_metric_column(name, header, group) for name, (group, header) in _METRICS.items()),
        *_cost_columns(table),
    ]
    return _sheet("Leaderboard", table.rows, fills, links)


def detail_sheets(table: Table) -> list[Sheet]:
    """Every metric of reward models and policies, and the time of each stage."""
    sheets = []
    for title, names in SECTIONS.items():
        rows = [row for row in table.rows if any(name in row.metrics for name in names)]
        columns = [_metric_column(name, header) for name, header in names.items()]
        sheets.append(_sheet(title, rows, columns))
    timed = [row for row in table.rows if row.stage_seconds]
    longest_first = sorted(timed, key=lambda row: -len(row.stage_seconds))
    stages = list(dict.fromkeys(name for row in longest_first for name in row.stage_seconds))
    times = _sheet("Time by stage, mean over seeds", timed, [_stage(name) for name in stages])
    times.notes.append(
        "A shared stage counts at its full cost in each row, also where it was cached."
    )
    return [sheet for sheet in (*sheets, times) if len(sheet.columns) > 1]


def _sheet(
    title: str,
    rows: list[Row],
    fills: list[tuple[Column, _Fill]],
    links: dict[str, str] | None = None,
) -> Sheet:
    """The table without the columns that say nothing in any row."""
    filled = [(column, [fill(row) for row in rows]) for column, fill in fills]
    kept = [(column, cells) for column, cells in filled if any(c.text != DASH for c in cells)]
    heads = [_head(row, links or {}) for row in rows]
    lines = [[head, *(cells[i] for _, cells in kept)] for i, head in enumerate(heads)]
    return Sheet(title, [Column("Method", numeric=False), *(column for column, _ in kept)], lines)


def _head(row: Row, links: dict[str, str]) -> Field:
    status = "" if row.status == "ok" else row.status
    return Field(row.label, status, href=links.get(row.label, ""))


def _result_columns(table: Table) -> list[tuple[Column, _Fill]]:
    metric = table.metric
    scale = forest_scale([c for row in table.rows if (c := row.metrics.get(metric))])

    def mean(row: Row) -> Field:
        cell = row.metrics.get(metric)
        return Field(number(metric, cell.mean), key=cell.mean) if cell else EMPTY

    def error(row: Row) -> Field:
        cell = row.metrics.get(metric)
        value = cell.standard_error if cell else None
        return Field(number(metric, value), key=value)

    def range_(row: Row) -> Field:
        cell = row.metrics.get(metric)
        if cell is None or cell.ci95 is None:
            return EMPTY
        text = interval(metric, cell.ci95)
        return Field(text, key=cell.ci95[0], forest=forest(cell, scale))

    def instructions(row: Row) -> Field:
        missing = f"{row.missing} missing" if row.missing else ""
        return _count(row.instructions, missing)

    columns = ("Group", "Win %", "SE", "95 % interval", "Seeds", "Instructions")
    fills: list[_Fill] = [
        lambda row: _count(row.group), mean, error, range_,
        lambda row: _count(len(row.seeds) or None), instructions,
    ]  # fmt: skip
    return [(Column(c, "Result"), fill) for c, fill in zip(columns, fills, strict=True)]


def _count(value: int | None, note: str = "") -> Field:
    return EMPTY if value is None else Field(str(value), note, key=float(value))


def forest_scale(cells: list[Cell]) -> tuple[float, float]:
    """(low, high) of all intervals, with a margin of 4 % on each side."""
    ends = [end for cell in cells for end in (cell.mean, *(cell.ci95 or ()))]
    low, high = min(ends, default=0.0), max(ends, default=1.0)
    margin = 0.04 * (high - low or 1.0)
    return low - margin, high + margin


def forest(cell: Cell, scale: tuple[float, float]) -> Forest | None:
    """The interval of `cell` on `scale`, with the place of parity (.5) where it is on it."""
    if cell.ci95 is None:
        return None
    start, width = scale[0], scale[1] - scale[0]
    place: Callable[[float], float] = lambda value: round(100 * (value - start) / width, 2)
    parity = place(0.5) if scale[0] <= 0.5 <= scale[1] else None
    return Forest(place(cell.ci95[0]), place(cell.mean), place(cell.ci95[1]), parity)


def _metric_column(name: str, header: str, group: str = "") -> tuple[Column, _Fill]:
    """Mean and standard error, the interval below."""

    def fill(row: Row) -> Field:
        cell = row.metrics.get(name)
        if cell is None:
            return EMPTY
        note = interval(name, cell.ci95) if cell.ci95 else ""
        return Field(with_error(name, cell), note, key=cell.mean)

    return Column(header, group), fill


def _cost_columns(table: Table) -> list[tuple[Column, _Fill]]:
    numbers: dict[str, _Fill] = {
        "Total time": lambda row: _time(row.seconds),
        "90 % steps": lambda row: _rounded(row.steps_to_90, 0),
        "90 % time": lambda row: _time(row.seconds_to_90),
        "Peak GiB": lambda row: _rounded(row.peak_memory_gib, 2),
        "Judge USD": lambda row: _rounded(row.cost_usd, 2),
        "Editor USD": lambda row: _rounded(row.editor_usd, 2),
    }
    texts: dict[str, _Fill] = {
        "Device": lambda row: Field(", ".join(row.devices) or DASH),
        "Judge": lambda _: Field(table.judge, table.judge_model or ""),
    }
    return [
        *((Column(header, "Cost"), fill) for header, fill in numbers.items()),
        *((Column(header, "Cost", numeric=False), fill) for header, fill in texts.items()),
    ]


def _stage(name: str) -> tuple[Column, _Fill]:
    return Column(name), lambda row: _time(row.stage_seconds.get(name))


def _time(value: float | None) -> Field:
    return Field(seconds(value), key=value)


def _rounded(value: float | None, digits: int) -> Field:
    return EMPTY if value is None else Field(f"{value:.{digits}f}", key=value)
