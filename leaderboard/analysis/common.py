"""Steps and time to one validation score for all rows of a table.

A run's own 90 % flatters a row that hardly learns: it is soon there. The score here is common to
all rows, and a row of which some seed never has it gets no mean.
"""

import math
from collections.abc import Mapping, Sequence
from statistics import fmean

from bench.records.files import CurvePoint
from leaderboard.analysis.curves import SCORES, score_of
from leaderboard.analysis.matched import finite
from leaderboard.analysis.rows import Arrival, Common
from leaderboard.analysis.runs import Group

WIDTH = 3  # validations that are averaged, as for a run's own 90 %
STEP = 0.05  # common scores are multiples of it


def common(groups: Sequence[Group], problems: list[str]) -> Common | None:
    """When each row first has the score that half of the rows reach in every seed.

    None where no runs have curves, or half of the rows never rise by `STEP` from where they began.

    Args:
        groups: of one table; their runs' folders are read.
        problems: receives a line for each curve that cannot be read.
    """
    curves = {group.label: list(group.curves(problems).values()) for group in groups}
    name = score_of(points for own in curves.values() for points in own)
    if name is None:
        return None
    paths = {
        label: found
        for label, own in curves.items()
        if (found := [path for c in own if (path := _smooth(c, name))])
    }
    if not paths:  # no value is finite
        return None
    best = sorted((min(max(v for v, _ in p) for p in own) for own in paths.values()), reverse=True)
    began = max(path[0][0] for own in paths.values() for path in own)
    # 1e-9: a quotient such as .15 / .05 may lie just below its integer.
    level = round(math.floor(best[(len(best) - 1) // 2] / STEP + 1e-9) * STEP, 10)
    if level <= began:
        return None
    return Common(
        SCORES[name], level, {label: _arrival(own, level) for label, own in paths.items()}
    )


Smoothed = list[tuple[float, CurvePoint]]


def _smooth(points: Sequence[CurvePoint], name: str) -> Smoothed:
    """The score at each validation, averaged over those beside it, with the validation."""
    known = [(value, p) for p in points if (value := finite(p.values.get(name))) is not None]
    values = [value for value, _ in known]
    side = WIDTH // 2
    return [
        (fmean(values[max(0, i - side) : i + side + 1]), point)
        for i, (_, point) in enumerate(known)
    ]


def _arrival(paths: Sequence[Smoothed], level: float) -> Arrival:
    firsts = [next((point for value, point in path if value >= level), None) for path in paths]
    there = [point for point in firsts if point is not None]
    if len(there) < len(paths):
        return Arrival(None, None, len(there), len(paths))
    seconds = [_seconds(point.values) for point in there]
    known = [value for value in seconds if value is not None]
    return Arrival(
        fmean(point.step for point in there),
        fmean(known) if len(known) == len(there) else None,
        len(there),
        len(paths),
    )


def _seconds(values: Mapping[str, float | None]) -> float | None:
    return finite(values.get("seconds"))
