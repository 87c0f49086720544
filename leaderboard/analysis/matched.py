"""A run's curve as a function of KL: what it measures where the policy is first so far from SFT.

A path is the run's validations as (KL, value), in the order of training. KL rises and falls along
it, so the value *at* a KL is the one where the path first reaches it, on the straight line between
two validations. Behind the largest KL that a path reaches it has no value.
"""

import math
from collections.abc import Mapping, Sequence
from statistics import fmean, median

from bench.records.files import CurvePoint

KLPath = Sequence[tuple[float, float]]
_Steps = Mapping[int, Mapping[str, float | None]]

AROUND = 2  # steps on each side whose rollouts are averaged: one batch says little of a KL
BEFORE = 5  # steps that a spike is held against
ROUND = 2  # significant digits of a KL that rows are matched at
LINES = 16  # levels, about, up to the largest KL
VALIDATION, REWARD_MASS = "validation_", "reward_mass"


def kl_paths(points: Sequence[CurvePoint], names: Mapping[str, str]) -> dict[str, KLPath]:
    """The path of each quantity that the curve has.

    KL is the validation's own (`validation_kl`) where it was measured; else that of the rollouts
    of the policy after the step, and as many steps before as after, at most `AROUND`. After the
    last step nothing is drawn: its validation has no KL from rollouts, and is no point. What is
    measured of rollouts alone, as the reward mass, is read likewise, but with an own KL the last
    validation has that of the last step's rollouts, which are one update older. Step 0 is the SFT
    policy: its KL is 0.

    Args:
        points: of the curve, in the order of steps.
        names: quantity -> the curve's name for it; one of validations begins with "validation_".

    Returns:
        Those with at least one finite point.
    """
    rows = {point.step: point.values for point in points}
    validated = [step for step, row in rows.items() if any(k.startswith(VALIDATION) for k in row)]
    found: dict[str, list[tuple[float, float]]] = {}
    for step in sorted(validated):
        own = rows[step].get("validation_kl")
        if step == 0:
            kl: float | None = 0.0
        elif own is not None:
            kl = finite(own)
        else:  # never of older rollouts: the last point would seem nearer to SFT than it is
            kl = _around(rows, step, "kl") if step < _last(rows, "kl") else None
        for quantity, name in names.items():
            is_own = name.startswith(VALIDATION)
            value = finite(rows[step].get(name)) if is_own else _around(rows, step, name)
            if kl is not None and value is not None:
                found.setdefault(quantity, []).append((kl, value))
    return dict(found)


def _around(rows: _Steps, step: int, name: str) -> float | None:
    """Mean over the rollouts around the policy after `step`, which draws those of the next step.

    As far back as forward, or the ends would look like what lies behind or before them.
    """
    last = _last(rows, name)
    if step > last:
        return None
    centre = min(step + 1, last)
    wide = min(AROUND, centre - 1, last - centre)
    known = [rows[s].get(name) for s in range(centre - wide, centre + wide + 1) if s in rows]
    values = [value for value in known if value is not None]
    return finite(fmean(values)) if values else None


def _last(rows: _Steps, name: str) -> int:
    """The last step whose rollouts have this value; -1 where none has."""
    return max((step for step, row in rows.items() if row.get(name) is not None), default=-1)


def finite(value: float | None) -> float | None:
    """The value, or None where it is NaN or infinite."""
    return value if value is not None and math.isfinite(value) else None


def value_at(path: KLPath, level: float) -> float | None:
    """The value where the path first reaches this KL; None: it never does, or begins behind it."""
    before = None
    for kl, value in path:
        if kl == level:
            return value
        if kl > level:
            if before is None:
                return None
            start, first = before
            return first + (value - first) * (level - start) / (kl - start)
        before = kl, value
    return None


def on_first_stretch(path: KLPath, level: float) -> bool:
    """Whether a value there is no validation's own: on the line from SFT to the first behind it."""
    return len(path) > 1 and path[0][0] == 0.0 and 0.0 < level < path[1][0]


def reach(path: KLPath) -> float:
    """The largest KL of a path."""
    return max(kl for kl, _ in path)


def matched_level(reached: Sequence[float]) -> float:
    """The largest KL that all reach, rounded down so that none has to be extended."""
    least = min(reached)
    if least <= 0:
        return 0.0
    unit = 10.0 ** (math.floor(math.log10(least)) + 1 - ROUND)
    # 1e-9: a quotient such as 1.6 / .1 may lie just below its integer. Never above `least`.
    return min(least, round(math.floor(least / unit + 1e-9) * unit, 10))


def levels(largest: float, matched: float) -> list[float]:
    """Equal round steps from 0 to the largest KL, and the one that rows are matched at."""
    if largest <= 0:
        return [0.0]
    unit = 10.0 ** math.floor(math.log10(largest / LINES))
    step = next(size * unit for size in (1, 2, 2.5, 5, 10) if largest / (size * unit) <= LINES)
    grid = {round(i * step, 10) for i in range(int(largest / step + 1e-9) + 1)}
    return sorted(level for level in grid | {matched} if level <= largest)


def spike(points: Sequence[CurvePoint]) -> float | None:
    """The most by which one step's KL lies above the median of the five before it, nats.

    None where no step has five before it.
    """
    known = [finite(point.values.get("kl")) for point in points]
    kl = [value for value in known if value is not None]
    rises = [kl[i] - median(kl[i - BEFORE : i]) for i in range(BEFORE, len(kl))]
    return max(rises, default=None)
