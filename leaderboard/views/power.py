"""How large an experiment must be, as tables."""

import csv
import io
import math
from dataclasses import asdict
from typing import TYPE_CHECKING

from bench.grid import DASH, Grid, markdown_page, to_rich
from leaderboard.analysis.power import SPREADS, Plan
from leaderboard.analysis.rows import is_percent, number

if TYPE_CHECKING:
    from rich.console import RenderableType

NONE = "none"
NONE_ENOUGH = f'"{NONE}": no number is enough, for the spread of the other remains.'


def plan_grids(plan: Plan) -> list[Grid]:
    """Power by size, what is needed, and what both rest on, as strings."""
    spread, design = plan.spread, plan.design
    unit = " points" if is_percent(spread.metric) else ""
    sizes = sorted({n for _, n in plan.power})
    rows = [
        [str(s), *(f"{100 * plan.power[s, n]:.1f}" for n in sizes)]
        for s in sorted({s for s, _ in plan.power})
    ]
    size = number(spread.metric, plan.difference) + unit
    title = f"Power, in %: to find a difference of {size} in {spread.what}"
    family = f" / {design.comparisons}, Holm's first step" if design.comparisons > 1 else ""
    level = f"Two-sided test at {design.alpha:g}{family}."
    one = "With 1 seed: to find the difference of that very run, which is not that of its method."
    needs = [
        [f"seeds, with {design.instructions} instructions", count(plan.needed_seeds)],
        [f"instructions, with {_seeds(design.seeds)}", count(plan.needed_instructions)],
    ]
    rests = [
        [text, number(spread.metric, getattr(spread.components, name)) + unit, spread.sources[name]]
        for name, text in SPREADS.items()
    ]
    caution = "Few seeds tell little of their own spread: what is planned from them is a guide."
    return [
        Grid(title, ["Seeds", *(f"{n} instructions" for n in sizes)], rows, [f"{level} {one}"]),
        Grid("Needed for 80 % power", ["Of", "Number"], needs, [NONE_ENOUGH], level=4),
        Grid(
            "What this rests on: standard deviations of the difference",
            ["Spread", "sd", "source"], rests, [caution], level=4,
        ),
    ]  # fmt: skip


def _seeds(n: int) -> str:
    return "1 seed" if n == 1 else f"{n} seeds"


def count(needed: float | None) -> str:
    """A needed number as text: a dash where it is not known, "none" where none is enough."""
    if needed is None:
        return DASH
    return f"{needed:,.0f}" if math.isfinite(needed) else NONE


def render(plan: Plan) -> "RenderableType":
    """For the terminal."""
    from rich.console import Group

    return Group(*(to_rich(grid) for grid in plan_grids(plan)))


def render_markdown(plan: Plan) -> str:
    """For the docs."""
    return markdown_page(plan_grids(plan))


def to_csv(plan: Plan) -> str:
    """One row a size, every number unrounded; rates are fractions."""
    fixed: dict[str, object] = {"metric": plan.spread.metric, "difference": plan.difference}
    fixed |= {"alpha": plan.design.alpha, "comparisons": plan.design.comparisons}
    fixed |= {f"{name}_sd": value for name, value in asdict(plan.spread.components).items()}
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([*fixed, "seeds", "instructions", "power"])
    for (seeds, instructions), value in plan.power.items():
        writer.writerow([*fixed.values(), seeds, instructions, value])
    return file.getvalue()


def to_json(plan: Plan) -> str:
    """As a JSON document."""
    from leaderboard.views.json import document

    return document("power", plan)
