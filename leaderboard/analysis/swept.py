"""A sweep: what each value of a field came to, on the validation prompts and on the test's."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bench.records.files import CURVES, CurvePoint, Damage, Metric, RecordError, Run, read_curves
from leaderboard.analysis.aggregate import NO_SPREAD, by_seed, metrics_of
from leaderboard.analysis.rows import Cell
from leaderboard.analysis.runs import Instructions, group_of

SCORES = ("gold", "win_rate", "heldout_rm")  # of a validation, as `validation_gold` in a curve
_PREFIX = "validation_"


@dataclass(frozen=True)
class Setting:
    """One method with one value of every swept field.

    Attributes:
        values: field -> value.
        asked: how many seeds were to run.
        runs: those that left a record, one a seed.
    """

    method: str
    label: str
    values: dict[str, Any]
    asked: int
    runs: list[Run]


@dataclass(frozen=True)
class SweepRow:
    """What came of a setting.

    Attributes:
        seeds: that ended ok, or where they were to end.
        validation: score -> mean over seeds, at the step whose policy was kept; its interval is of
            seeds alone, for a curve has no numbers by instruction.
        metrics: of the test prompts, as the leaderboard has them.
    """

    method: str
    label: str
    values: dict[str, Any]
    asked: int
    seeds: tuple[int, ...]
    validation: dict[str, Cell]
    metrics: dict[str, Cell]


def sweep_rows(settings: Sequence[Setting], problems: list[str]) -> list[SweepRow]:
    """A row a setting, in their order: only runs of one configuration are averaged.

    Args:
        settings: of one sweep.
        problems: receives a line for each file that cannot be read or trusted.
    """
    return [_row(setting, problems) for setting in settings]


def _row(setting: Setting, problems: list[str]) -> SweepRow:
    group = group_of(setting.label, setting.runs, problems)
    known = group.measured
    return SweepRow(
        method=setting.method,
        label=setting.label,
        values=setting.values,
        asked=setting.asked,
        seeds=tuple(sorted(known)),
        validation=_validation(list(known.values()), problems),
        metrics=metrics_of(group, Instructions([group]), problems),
    )


def _validation(runs: list[Run], problems: list[str]) -> dict[str, Cell]:
    """Each score that every run has."""
    kept = [_kept(run, problems) for run in runs]
    cells = {}
    for name in SCORES:
        found = [None if one is None else one.values.get(_PREFIX + name) for one in kept]
        means = [value for value in found if value is not None and math.isfinite(value)]
        if means and len(means) == len(kept):
            cell = by_seed(name, [Metric(mean=mean) for mean in means])
            # Seeds that all kept the SFT model say nothing of how far others differ.
            spreads = (cell.standard_error or 0.0) > NO_SPREAD
            cells[name] = cell if spreads else Cell(cell.mean)
    return cells


def _kept(run: Run, problems: list[str]) -> CurvePoint | None:
    """The step whose policy was kept; None where no validation chose one."""
    chosen = run.record.convergence
    if chosen is None or not (run.folder / CURVES).is_file():
        return None
    try:
        points = read_curves(run.folder)
    except RecordError as error:
        problems.append(Damage(error))
        return None
    return next((point for point in points if point.step == chosen.best_step), None)
