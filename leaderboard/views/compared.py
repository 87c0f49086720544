"""Comparisons as a terminal table, Markdown, CSV or JSON."""

import csv
import io
from collections.abc import Sequence
from dataclasses import fields
from typing import TYPE_CHECKING

from bench.grid import DASH, Grid, to_markdown, to_rich
from leaderboard.analysis.compare import Comparison
from leaderboard.analysis.rows import interval, is_percent, number, probability

if TYPE_CHECKING:
    from rich.console import RenderableType


def grids(comparisons: Sequence[Comparison]) -> list[Grid]:
    """The differences, and what it takes to find them, as strings."""
    if not comparisons:
        note = "Only one method of this suite, reference and judge has runs; run another one."
        return [Grid("Nothing to compare", [], [], [note])]
    metric, base = comparisons[0].metric, comparisons[0].base
    unit = " (percentage points)" if is_percent(metric) else ""
    same = len({c.base for c in comparisons}) == 1
    name, title = ("Method", f" minus that of {base}") if same else ("Methods", ": differences")
    headers = [name, "Difference", "SE", "95 % interval", "p", "p (Holm)", "Size"]
    rows = [[_name(c, same), *_difference_cells(c)] for c in comparisons]
    found = [Grid(f"{metric}{title}{unit}", headers, rows, _notes(comparisons))]
    planned = [c for c in comparisons if c.planned is not None]
    if planned:
        headers = [name, "Detectable", "True difference", "Seeds needed", "Instructions needed"]
        rows = [[_name(c, same), *_plan_cells(c)] for c in planned]
        title = f"What 80 % power takes{unit}"
        found.append(Grid(title, headers, rows, [_plan_note(len(planned))], level=4))
    return found


def _name(c: Comparison, same_base: bool) -> str:
    return c.label if same_base else f"{c.label} minus {c.base}"


def _difference_cells(c: Comparison) -> list[str]:
    if c.mean is None or c.p_value is None or c.p_holm is None:
        return [DASH] * 6
    return [
        number(c.metric, c.mean, signed=True) + (" *" if c.significant else ""),
        number(c.metric, c.standard_error),
        interval(c.metric, c.ci95, signed=True),
        probability(c.p_value),
        probability(c.p_holm),
        f"{c.seeds} x {c.instructions}",
    ]


def _plan_cells(c: Comparison) -> list[str]:
    from leaderboard.views.power import count

    return [
        number(c.metric, c.detectable),
        number(c.metric, c.planned),
        count(c.needed_seeds),
        count(c.needed_instructions),
    ]


def _notes(comparisons: Sequence[Comparison]) -> list[str]:
    bases = sorted({c.basis for c in comparisons if c.basis})
    notes = []
    if bases:
        notes.append(
            f"Paired by seed and instruction; intervals: {', '.join(bases)}. "
            "Size: seeds x instructions."
        )
    family = sum(c.p_value is not None for c in comparisons)
    times = "1 comparison" if family == 1 else f"{family} comparisons"
    notes.append(f"*: p after Holm over {times} is at most .05.")
    return notes + [f"{c.label}: not compared: {c.note}." for c in comparisons if c.note]


def _plan_note(family: int) -> str:
    from leaderboard.views.power import NONE_ENOUGH

    level = f".05 / {family}, Holm's first step" if family > 1 else ".05"
    return (
        f"Two-sided at {level}. Detectable: the true difference that an experiment of this size "
        "finds 4 times in 5. Needed: to find the true difference as often (without --difference: "
        "the observed one, an optimist's guess), the other number as it is. "
        f"{NONE_ENOUGH} Few seeds tell little of their own spread."
    )


def render(comparisons: Sequence[Comparison]) -> "RenderableType":
    """For the terminal."""
    from rich.console import Group
    from rich.padding import Padding
    from rich.text import Text

    parts: list[RenderableType] = [to_rich(grid) for grid in grids(comparisons)]
    for title, lines in _examples(comparisons):
        parts.append(Text(title, style="bold"))
        parts += [Padding(Text(line), (0, 0, 0, 2 * level), expand=False) for level, line in lines]
        parts.append(Text())
    return Group(*parts)


def render_markdown(comparisons: Sequence[Comparison]) -> str:
    """For the docs; examples stand in indented blocks, in which no text is taken for markup."""
    parts = [to_markdown(grid) for grid in grids(comparisons)]
    for title, lines in _examples(comparisons):
        block = "\n".join(f"{'    ' * level}{line}" for level, line in lines)
        parts.append(f"#### {title}\n\n{block}")
    return "\n\n".join(parts) + "\n"


def _examples(comparisons: Sequence[Comparison]) -> list[tuple[str, list[tuple[int, str]]]]:
    """(title, (level of indentation, line)) of each comparison."""
    from leaderboard.views.flips import flip_lines

    return [flip_lines(c.flips) for c in comparisons if c.flips is not None]


def to_csv(comparisons: Sequence[Comparison]) -> str:
    """One row a comparison, every number unrounded; rates are fractions."""
    names = [field.name for field in fields(Comparison) if field.name not in ("ci95", "flips")]
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([*names, "ci_low", "ci_high"])
    for c in comparisons:
        writer.writerow([*(getattr(c, name) for name in names), *(c.ci95 or (None, None))])
    return file.getvalue()


def to_json(comparisons: Sequence[Comparison]) -> str:
    """As a JSON document."""
    from leaderboard.views.json import document

    return document("compare", {"comparisons": comparisons})
