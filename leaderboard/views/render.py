"""The leaderboard as a terminal table, Markdown, CSV, JSON or HTML."""

import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from bench.grid import DASH, Grid, drop_empty, markdown_page, to_rich
from leaderboard.analysis.reported import load_reported
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
from leaderboard.views.columns import REWARD_MODELS, sections
from leaderboard.views.glossary import COMMON
from leaderboard.views.reported import reported_grids

if TYPE_CHECKING:
    from rich.console import RenderableType

Format = Literal["table", "md", "csv", "json", "html"]
MORE = (
    "With --all: what reward models and policies measured, time and cost, and what papers report."
)


def leaderboard(
    results: Path, suite: str | None = None, fmt: Format = "table", *, whole: bool = True
) -> "tuple[RenderableType | str, list[str]]":
    """The leaderboard of all runs below `results`, and a line for each thing that is wrong.

    Args:
        results: folder with ``<suite>/<run_id>/record.json`` in it.
        suite: this suite only.
        fmt: "table" (a rich renderable), "md", "html" (a page that needs nothing else), "json"
            (docs/json.md) or "csv". The paper's reported rows stand apart, and are not in the CSV,
            whose rows are all measured here.
        whole: all sections; else the rankings alone (`main_grids`) and a line about the others. CSV
            and JSON are always whole.

    Raises:
        UserError: if there is no such folder, or no run of this suite.
    """
    from leaderboard.analysis.aggregate import tables

    read_curves = whole or fmt in ("csv", "json")
    found, problems = tables(results, suite, curves=read_curves)
    if not found and not problems:
        problems.append(f"{results}: no run yet; `python -m bench run --method sft` makes one")
    if fmt == "csv":
        return to_csv(found), problems
    if fmt == "json":
        from leaderboard.views.json import document  # its models take a while to make

        papers = load_reported(results, problems)
        return document("leaderboard", {"tables": found, "reported": papers}), problems
    sections_of = table_grids if whole else main_grids
    grids = [grid for table in found for grid in sections_of(table)]
    if whole:
        papers = load_reported(results, problems)
        grids += [grid for paper in papers for grid in reported_grids(paper)]
    elif grids:
        grids.append(Grid("", [], [], [MORE]))
    if fmt == "md":
        return markdown_page(grids), problems
    if fmt == "html":
        from leaderboard.views.html import to_html  # jinja takes a while to import

        return to_html("GrainBench leaderboard", grids), problems
    from rich.console import Group

    return Group(*(to_rich(grid) for grid in grids)), problems


def table_grids(table: Table) -> list[Grid]:
    """The sections of one table: result, reward model, policy, cost."""
    metrics = [_metric_grid(title, table, names) for title, names in sections(table).items()]
    grids = [result_grid(table), *metrics, _time_grid(table), _cost_grid(table)]
    grids += [] if table.common is None else [_common_grid(table, table.common)]
    return [grid for grid in grids if len(grid.headers) > 1]


def main_grids(table: Table) -> list[Grid]:
    """The ranking; where nobody was judged, what was measured of the reward models."""
    grids = [result_grid(table)]
    if not any(table.metric in row.metrics for row in table.rows):
        grids.append(_metric_grid(REWARD_MODELS, table, sections(table)[REWARD_MODELS]))
    return [grid for grid in grids if len(grid.headers) > 1]


def result_grid(table: Table) -> Grid:
    """Win rate with standard error and interval in columns of their own, and rank groups."""
    metric = table.metric
    rows = []
    for row in table.rows:
        cell = row.metrics.get(metric)
        rows.append(
            [
                row.label,
                str(row.group or DASH),
                number(metric, cell.mean if cell else None),
                number(metric, cell.standard_error if cell else None),
                interval(metric, cell.ci95 if cell else None),
                str(len(row.seeds)) if row.seeds else DASH,
                _instructions(row),
                row.status,
            ]
        )
    headers = ["Method", "Group", "Win %", "SE", "95 % interval", "Seeds", "Instructions", "Status"]
    if all(row.status == "ok" for row in table.rows):
        headers, rows = headers[:-1], [row[:-1] for row in rows]
    headers, rows = drop_empty(headers, rows)
    return Grid(table.title, headers, rows, _notes(table), warnings=_warnings(table), spare=_SPARE)


_SPARE = ("Instructions", "Seeds", "SE")


def _instructions(row: Row) -> str:
    if row.instructions is None:
        return DASH
    return f"{row.instructions} ({row.missing} missing)" if row.missing else str(row.instructions)


def _warnings(table: Table) -> list[str]:
    apart = [f"Not ranked with the first table: {table.reason}."] if table.reason else []
    return [*apart, *table.warnings]


def _notes(table: Table) -> list[str]:
    from bench.stats import CROSSED, ONE_RUN

    groups = (
        "Group: two methods that differ significantly (paired by seed and instruction, Holm over "
        "all pairs, 5 %) are never in one group, and within a group the order means nothing. "
        "Methods of different groups need not differ: `bench compare` tells which do."
    )
    notes = [groups] if any(row.group for row in table.rows) else []
    if any(row.group is None and table.metric in row.metrics for row in table.rows):
        notes.append(f"Group {DASH}: not ranked, or not compared with some other method.")
    crossed = [row.label for row in table.rows if row.basis == CROSSED]
    single = [row.label for row in table.rows if row.basis == ONE_RUN]
    if crossed:
        notes.append(f"SE and interval: {CROSSED} (two-way random effects, t on the logit scale).")
    if single:
        names = "" if not crossed else " of " + ", ".join(single)
        notes.append(f"SE and interval{names}: {ONE_RUN} (one seed; BCa over instructions).")
    mixed = [row.label for row in table.rows if "," in row.status]
    if mixed:
        notes.append(f"Only the runs that ended ok enter the win rate of {', '.join(mixed)}.")
    if any("partial" in row.status for row in table.rows):
        notes.append(
            "Partial: runs that were to end before the judge (--until). They are in no win rate; "
            "what they measured, of reward models above all, is in the tables below."
        )
    return notes + [f"{row.label}, {line}." for row in table.rows for line in row.failures]


def _metric_grid(title: str, table: Table, columns: dict[str, str]) -> Grid:
    rows = [
        [row.label, *(with_error(name, row.metrics.get(name)) for name in columns)]
        for row in table.rows
        if row.metrics
    ]
    headers, rows = drop_empty(["Method", *columns.values()], rows)
    return Grid(f"{title}; mean ± one standard error", headers, rows, level=4)


def _time_grid(table: Table) -> Grid:
    """Mean time of each stage: what it cost when it was computed."""
    stages, others = timed_stages(table.rows)
    rows = [
        [
            row.label,
            *(seconds(row.stage_seconds.get(name)) for name in stages),
            seconds(together(row, others)),
            seconds(row.seconds),
        ]
        for row in table.rows
        if row.stage_seconds
    ]
    headers, rows = drop_empty(["Method", *stages, "others", "all stages"], rows)
    notes = time_notes(others)
    return Grid("Time by stage, mean over seeds", headers, rows, notes, level=4)


def time_notes(others: list[str]) -> list[str]:
    """What is said below a table of times, in which some stages share a column."""
    notes = ["A shared stage counts at its full cost in each row, also where it was cached."]
    if others:
        notes.append(f"Others: stages of one row alone, or of a moment: {', '.join(others)}.")
    return notes


def _cost_grid(table: Table) -> Grid:
    rows = [
        [
            row.label,
            DASH if row.steps_to_90 is None else f"{row.steps_to_90:.0f}",
            seconds(row.seconds_to_90),
            DASH if row.peak_memory_gib is None else f"{row.peak_memory_gib:.2f}",
            DASH if row.cost_usd is None else f"{row.cost_usd:.2f}",
            DASH if row.editor_usd is None else f"{row.editor_usd:.2f}",
            DASH if not row.pairs else " to ".join(f"{n:,}" for n in dict.fromkeys(row.pairs)),
            ", ".join(row.devices) or DASH,
        ]
        for row in table.rows
        if row.stage_seconds
    ]
    headers = ["Method", "steps to 90 %", "time to 90 %", "peak GiB", "judge USD", "editor USD"]
    headers.append("training pairs")
    headers, rows = drop_empty([*headers, "device"], rows)
    note = (
        "90 % of the way to the run's best validation score: mean over seeds, PPO alone. Peak: of "
        "any stage and seed. USD: all seeds; a dash where a price is not known or nobody was "
        "asked. Training pairs: fewest and most that a seed's reward model learned from."
    )
    return Grid("Convergence and cost", headers, rows, [note], level=4)


def _common_grid(table: Table, common: Common) -> Grid:
    rows = [
        [
            row.label,
            DASH if found.steps is None else f"{found.steps:.0f}",
            seconds(found.seconds),
            f"{found.arrived} of {found.seeds}",
        ]
        for row in table.rows
        if (found := common.rows.get(row.label)) is not None
    ]
    return Grid(common.title, ["Method", "steps", "time", "seeds"], rows, [COMMON], level=4)


def to_csv(tables: list[Table]) -> str:
    """All rows of all tables, every metric; fractions and seconds, unrounded.

    `table` counts the tables: rows of different numbers must not be ranked together; `warnings`
    are its table's.
    """
    rows = [row for table in tables for row in table.rows]
    names = sorted({name for row in rows for name in row.metrics})
    stages = list(dict.fromkeys(name for row in rows for name in row.stage_seconds))
    header = ["table", "suite", "reference", "reference_sha", "judge", "judge_model"]
    header += ["judge_template_sha", "label", "method", "preset", "paper", "status", "group"]
    header += ["seeds", "instructions", "missing", "basis"]
    header += [f"{name}{end}" for name in names for end in ("", ".se", ".ci_low", ".ci_high")]
    header += [f"seconds.{name}" for name in stages]
    header += ["seconds", "steps_to_90", "seconds_to_90", "peak_memory_gib", "judge_cost_usd"]
    header += ["common_level", "steps_to_common", "seconds_to_common", "seeds_at_common"]
    header += ["editor_cost_usd", "pairs_fewest", "pairs_most", "devices", "warnings"]
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(header)
    for index, table in enumerate(tables, start=1):
        for row in table.rows:
            writer.writerow(_csv_row(index, table, row, names, stages))
    return file.getvalue()


def _csv_row(
    index: int, table: Table, row: Row, names: list[str], stages: list[str]
) -> list[object]:
    cells = [value for name in names for value in _csv_cell(row.metrics.get(name))]
    return [
        index, table.suite, table.reference, table.reference_sha, table.judge, table.judge_model,
        table.template_sha, row.label, row.method, row.preset, row.paper, row.status, row.group,
        len(row.seeds), row.instructions, row.missing, row.basis, *cells,
        *(row.stage_seconds.get(name) for name in stages), row.seconds, row.steps_to_90,
        row.seconds_to_90, row.peak_memory_gib, row.cost_usd, *_csv_common(table, row),
        row.editor_usd,
        *(row.pairs or (None, None)),
        "; ".join(row.devices), " ".join(_warnings(table)),
    ]  # fmt: skip


def _csv_common(table: Table, row: Row) -> tuple[float | None, ...]:
    found = None if table.common is None else table.common.rows.get(row.label)
    if table.common is None or found is None:
        return (None,) * 4
    return table.common.level, found.steps, found.seconds, found.arrived


def _csv_cell(cell: Cell | None) -> tuple[float | None, ...]:
    if cell is None:
        return (None,) * 4
    return (cell.mean, cell.standard_error, *(cell.ci95 or (None, None)))
