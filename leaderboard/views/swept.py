"""A sweep as a table: rows are values, columns the headline metrics with their intervals."""

import json
from collections.abc import Sequence
from typing import Any

from bench.grid import DASH, Grid
from leaderboard.analysis.rows import Cell, interval, is_percent, number
from leaderboard.analysis.swept import SCORES, SweepRow
from leaderboard.regression.baseline import HEADLINE

ACCURACY = "rm_accuracy."  # what there is of runs that ended before the judge
_NAMES = {"gold": "gold", "gold_score": "gold", "win_rate": "win %", "heldout_rm": "held-out RM"}
_CHOOSE = (
    "Choose by validation, from one grid for all methods (tune none alone), and quote the test of "
    "what was chosen: a test that chose is none."
)
_BEFORE = (
    "Nothing of these rows was validated: say before the runs what is chosen, for a test that "
    "chose is none."
)
_VALIDATION = (
    "Validation: at the step whose policy was kept; mean over seeds with the interval of seeds, "
    "which one seed has not."
)


def sweep_grid(rows: Sequence[SweepRow]) -> Grid:
    """The values of a row stand in its first column, the method before them where several ran."""
    several = len({row.method for row in rows}) > 1
    # A curve may have both scores of a judge; the first is the one that chose the step.
    scores = [name for name in SCORES if any(name in row.validation for row in rows)][:1]
    tests = _tests(rows)
    cells = [
        [
            ", ".join([row.method] * several + [_value(value) for value in row.values.values()]),
            str(len(row.seeds)) + f" of {row.asked}" * (len(row.seeds) < row.asked),
            *(_cell(name, row.validation.get(name)) for name in scores),
            *(_cell(name, row.metrics.get(name)) for name in tests),
        ]
        for row in rows
    ]
    headers = [", ".join(["method"] * several + list(rows[0].values)), "Seeds"]
    headers += [f"Validation {_NAMES[name]}" for name in scores]
    headers += [_heading(name) for name in tests]
    notes = [_VALIDATION, _CHOOSE] if scores else [_BEFORE]
    return Grid("Sweep: means and 95 % intervals", headers, cells, notes)


def _tests(rows: Sequence[SweepRow]) -> list[str]:
    """The headline metrics; of runs that ended before the judge, accuracies of reward models."""
    measured = {name for row in rows for name in row.metrics}
    headline = [name for name in HEADLINE if name in measured]
    return headline or sorted(name for name in measured if name.startswith(ACCURACY))


def _heading(name: str) -> str:
    if name in _NAMES:
        return f"Test {_NAMES[name]}"
    return f"{name} %" if is_percent(name) else name


def _value(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _cell(name: str, cell: Cell | None) -> str:
    if cell is None:
        return DASH
    mean = number(name, cell.mean)
    return mean if cell.ci95 is None else f"{mean} {interval(name, cell.ci95)}"
