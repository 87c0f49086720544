"""The sortable tables of the page: what stands in each cell, and by what it is sorted."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from bench.grid import DASH
from leaderboard.analysis.rows import (
    Cell,
    Common,
    Row,
    Table,
    interval,
    number,
    seconds,
    timed_stages,
    together,
    with_error,
)
from leaderboard.views.columns import PROBE, sections
from leaderboard.views.glossary import COLUMNS, COMMON, STAGES, method_term, metric_term
from leaderboard.views.render import time_notes


@dataclass(frozen=True)
class Forest:
    """An interval on the scale that its column shares, each in per cent of the width."""

    low: float
    mean: float
    high: float
    parity: float | None


@dataclass(frozen=True)
class Field:
    """A cell.

    Attributes:
        note: a smaller line below.
        key: the number that it is sorted by; None: the text.
        meaning: of a method, in a line.
        paper: of a method.
        is_lowest: whether no other of its row is lower.
    """

    text: str
    note: str = ""
    key: float | None = None
    forest: Forest | None = None
    href: str = ""
    id: str = ""
    meaning: str = ""
    paper: str = ""
    is_lowest: bool = False


@dataclass(frozen=True)
class Column:
    """A column; columns of one `group` that stand together share a heading.

    Attributes:
        meaning: of its numbers; "" where the header says it.
        is_minor: whether it folds away in a narrow window; a table below has it too.
    """

    header: str
    group: str = ""
    numeric: bool = True
    meaning: str = ""
    is_minor: bool = False


@dataclass(frozen=True)
class Sheet:
    """A table; the first column holds the rows' headers."""

    title: str
    columns: list[Column]
    rows: list[list[Field]]
    notes: list[str] = field(default_factory=list)

    @property
    def groups(self) -> list[tuple[str, list[Column]]]:
        """(heading, columns below it), the first column apart; empty where there is none."""
        spans: list[tuple[str, list[Column]]] = []
        for column in self.columns[1:]:
            if spans and spans[-1][0] == column.group:
                spans[-1][1].append(column)
            else:
                spans.append((column.group, [column]))
        return spans if any(name for name, _ in spans) else []


_METRICS = {
    "rm_accuracy.original": ("Reward model", "Original pairs %", True),
    "rm_accuracy.edited": ("Reward model", "Edits %", False),
    "gold_score": ("Policy", "Gold score", True),
    "kl": ("Policy", "KL", False),
    "length": ("Policy", "Length", True),
}

EMPTY = Field(DASH)
_Fill = Callable[[Row], Field]


def result_sheet(table: Table, links: dict[str, str]) -> Sheet:
    """One row a label: result, reward model, policy and time.

    Args:
        table: what may be compared.
        links: label -> where its runs are listed.
    """
    fills: list[tuple[Column, _Fill]] = [
        *_result_columns(table),
        *(
            _metric_column(name, header, group, is_minor)
            for name, (group, header, is_minor) in _METRICS.items()
        ),
        (Column("Total time", "Cost"), lambda row: _time(row.seconds)),
    ]
    sheet = _sheet("All numbers", table.rows, fills, links)
    heads = [_introduced(line[0], row) for line, row in zip(sheet.rows, table.rows, strict=True)]
    rows = [[head, *line[1:]] for head, line in zip(heads, sheet.rows, strict=True)]
    return replace(sheet, rows=rows)


def _introduced(head: Field, row: Row) -> Field:
    """A row's header with what its method is."""
    return replace(head, meaning=method_term(row).meaning, paper=row.paper)


def detail_sheets(table: Table) -> list[Sheet]:
    """Every metric of reward models and policies; of planted errors each row's lowest is marked."""
    sheets = []
    for title, names in sections(table).items():
        rows = [row for row in table.rows if any(name in row.metrics for name in names)]
        columns = [_metric_column(name, header) for name, header in names.items()]
        sheet = _sheet(title, rows, columns)
        planted = all(name.startswith(PROBE) for name in names)
        sheets.append(_with_lowest(sheet) if planted else sheet)
    return [sheet for sheet in sheets if len(sheet.columns) > 1]


def _with_lowest(sheet: Sheet) -> Sheet:
    rows = []
    for head, *cells in sheet.rows:
        keys = {cell.key for cell in cells if cell.key is not None}
        least = min(keys) if len(keys) > 1 else None
        marked = (replace(c, is_lowest=least is not None and c.key == least) for c in cells)
        rows.append([head, *marked])
    return replace(sheet, rows=rows, notes=["▾: the lowest of its row."])


def cost_sheets(table: Table) -> list[Sheet]:
    """Time of each stage; convergence, memory and money."""
    timed = [row for row in table.rows if row.stage_seconds]
    stages, others = timed_stages(timed)
    columns = [_stage(name) for name in stages]
    if others:
        columns.append((Column("Others"), lambda row: _time(together(row, others))))
    columns.append((Column("All stages"), lambda row: _time(row.seconds)))
    times = _sheet("Time by stage, mean over seeds", timed, columns)
    times.notes.extend(time_notes(others))
    cost = _sheet("Convergence, memory and money", timed, _cost_columns(table))
    sheets = [times, cost]
    if table.common is not None:
        arrived = [row for row in table.rows if row.label in table.common.rows]
        sheets.append(_sheet(table.common.title, arrived, _common_columns(table.common)))
        sheets[-1].notes.append(COMMON)
    return [sheet for sheet in sheets if sheet.rows]


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
    columns = [_explained(column) for column, _ in kept]
    return Sheet(title, [Column("Method", numeric=False), *columns], lines)


def _explained(column: Column) -> Column:
    return replace(column, meaning=column.meaning or COLUMNS.get(column.header, ""))


def _head(row: Row, links: dict[str, str]) -> Field:
    status = "" if row.status == "ok" else row.status
    return Field(row.label, status, href=links.get(row.label, ""))


def _result_columns(table: Table) -> list[tuple[Column, _Fill]]:
    metric = table.metric
    scale = forest_scale([c for row in table.rows if (c := row.metrics.get(metric))])

    def mean(row: Row) -> Field:
        cell = row.metrics.get(metric)
        if cell is None:
            return EMPTY
        error = cell.standard_error
        return Field(
            number(metric, cell.mean),
            "" if error is None else f"± {number(metric, error)}",
            key=cell.mean,
        )

    def range_(row: Row) -> Field:
        cell = row.metrics.get(metric)
        if cell is None or cell.ci95 is None:
            return EMPTY
        text = interval(metric, cell.ci95)
        return Field(text, key=cell.ci95[0], forest=forest(cell, scale))

    def seeds(row: Row) -> Field:
        missing = f", {row.missing} missing" if row.missing else ""
        judged = "" if row.instructions is None else f"× {row.instructions}{missing}"
        return _count(len(row.seeds) or None, judged)

    fills: Mapping[str, tuple[_Fill, bool]] = {
        "Group": (lambda row: _count(row.group), False),
        "Win %": (mean, False),
        "95 % interval": (range_, False),
        "Seeds": (seeds, True),
    }
    return [
        (Column(header, "Result", is_minor=is_minor), fill)
        for header, (fill, is_minor) in fills.items()
    ]


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


def _metric_column(
    name: str, header: str, group: str = "", is_minor: bool = False
) -> tuple[Column, _Fill]:
    """Mean and standard error, the interval below."""

    def fill(row: Row) -> Field:
        cell = row.metrics.get(name)
        if cell is None:
            return EMPTY
        note = interval(name, cell.ci95) if cell.ci95 else ""
        return Field(with_error(name, cell), note, key=cell.mean)

    return Column(header, group, meaning=metric_term(name).meaning, is_minor=is_minor), fill


def _cost_columns(table: Table) -> list[tuple[Column, _Fill]]:
    numbers: dict[str, _Fill] = {
        "90 % steps": lambda row: _rounded(row.steps_to_90, 0),
        "90 % time": lambda row: _time(row.seconds_to_90),
        "Peak GiB": lambda row: _rounded(row.peak_memory_gib, 2),
        "Judge USD": lambda row: _rounded(row.cost_usd, 2),
        "Editor USD": lambda row: _rounded(row.editor_usd, 2),
    }
    texts: dict[str, _Fill] = {
        "Training pairs": lambda row: Field(
            " to ".join(f"{n:,}" for n in dict.fromkeys(row.pairs)) or DASH
        ),
        "Device": lambda row: Field(", ".join(row.devices) or DASH),
        "Judge": lambda _: Field(table.judge, table.judge_model or ""),
    }
    return [
        *((Column(header), fill) for header, fill in numbers.items()),
        *((Column(header, numeric=False), fill) for header, fill in texts.items()),
    ]


def _common_columns(common: Common) -> list[tuple[Column, _Fill]]:
    return [
        (Column("Steps"), lambda row: _rounded(common.rows[row.label].steps, 0)),
        (Column("Time"), lambda row: _time(common.rows[row.label].seconds)),
        (
            Column("Seeds that arrive", numeric=False),
            lambda row: Field(
                f"{common.rows[row.label].arrived} of {common.rows[row.label].seeds}"
            ),
        ),
    ]


def _stage(name: str) -> tuple[Column, _Fill]:
    column = Column(name.replace("_", " "), meaning=STAGES.get(name, ""))
    return column, lambda row: _time(row.stage_seconds.get(name))


def _time(value: float | None) -> Field:
    return Field(seconds(value), key=value)


def _rounded(value: float | None, digits: int) -> Field:
    return EMPTY if value is None else Field(f"{value:.{digits}f}", key=value)
