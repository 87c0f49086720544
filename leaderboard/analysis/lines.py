"""A row of a table as paths over KL: its seeds' curves, how finely it pays, how its runs fared."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from bench.records.files import CurvePoint, Run
from bench.stats import Estimate, over_seeds
from leaderboard.analysis.bounds import clipped
from leaderboard.analysis.matched import (
    KLPath,
    finite,
    kl_paths,
    on_first_stretch,
    reach,
    spike,
    value_at,
)
from leaderboard.analysis.rows import Interval
from leaderboard.analysis.runs import Group

LENGTH, REPEATS, MASS, SCORE = "length", "repeat_share", "reward_mass", "score"
QUANTITIES = (LENGTH, REPEATS, MASS, SCORE)
NOTHING, NOT_RECORDED = "nothing", "not recorded"
GRANULARITIES = ("response", "segment", "token")  # from the coarsest to the finest
TOKENWISE = 0.5  # of its tokens: from so many rewards on a response is paid by the token
RESPONSEWISE = 1.5  # rewards: up to so many it is paid once
LONGER, REPEATED = 2.0, 0.5  # from here on a policy has collapsed: see the glossary


@dataclass(frozen=True)
class Line:
    """One row of the table: its seeds' paths, and how its runs fared.

    Attributes:
        method: the row's, of which others may be variants.
        limits: quantity -> the least and the most that it can be.
        granularity: one of `GRANULARITIES`, `NOTHING` or `NOT_RECORDED`.
        paths: quantity -> seed -> path; without what no seed has.
        spike: the worst of any seed, nats; None where no curve has the KL of rollouts.
        runs: that ended ok or diverged.
        diverged: of those, how many.
        collapsed: of those, how many; None where the curves do not say.
    """

    label: str
    method: str
    granularity: str
    limits: dict[str, Interval]
    paths: dict[str, dict[int, KLPath]]
    spike: float | None
    runs: int
    diverged: int
    collapsed: int | None

    def values(self, quantity: str, level: float) -> dict[int, float]:
        """Seed -> value at a KL; empty where one of the seeds does not come so far.

        A mean over those that do would jump where one leaves it.
        """
        found = {s: value_at(p, level) for s, p in self.paths.get(quantity, {}).items()}
        known = {seed: value for seed, value in found.items() if value is not None}
        return known if len(known) == len(found) else {}

    def at(self, quantity: str, level: float) -> Estimate | None:
        """Mean and 95 % t interval over seeds at a KL; None where not all come so far."""
        return self.estimate(quantity, self.values(quantity, level))

    def estimate(self, quantity: str, values: Mapping[int, float]) -> Estimate | None:
        """Mean of seeds' values; its interval ends where the quantity does. None without a seed."""
        if not values:
            return None
        found = over_seeds(list(values.values()))
        return within(found, self.limits[quantity])

    def stretched(self, quantity: str, level: float) -> int:
        """How many seeds' values at a KL lie on the line from SFT to their first validation."""
        paths = self.paths.get(quantity, {}).values()
        return sum(on_first_stretch(path, level) for path in paths)

    @property
    def reach(self) -> float:
        """The largest KL that each of its seeds reaches."""
        return min(reach(path) for own in self.paths.values() for path in own.values())

    @property
    def furthest(self) -> float:
        """The largest KL of any of its seeds."""
        return max(reach(path) for own in self.paths.values() for path in own.values())


def within(estimate: Estimate, limits: Interval) -> Estimate:
    """The estimate, its interval without what lies beyond the limits."""
    if estimate.ci95 is None:
        return estimate
    (low, high), (least, most) = estimate.ci95, limits
    return replace(estimate, ci95=(max(least, low), min(most, high)))


def line_of(
    group: Group, curves: Mapping[int, Sequence[CurvePoint]], score: str | None, metric: str
) -> Line | None:
    """The row of a group; None where no curve has a KL.

    Args:
        group: its label and runs.
        curves: seed -> steps, of the runs that ended ok.
        score: the curve's name of the validation score.
        metric: the score's own name, as the suite bounds it.
    """
    names = {q: f"validation_{q}" for q in (LENGTH, REPEATS)} | {MASS: MASS}
    names |= {SCORE: score} if score else {}
    paths: dict[str, dict[int, KLPath]] = {}
    for seed, points in sorted(curves.items()):
        for quantity, path in kl_paths(points, names).items():
            paths.setdefault(quantity, {})[seed] = path
    if not paths:
        return None
    spikes = [found for points in curves.values() if (found := spike(points)) is not None]
    ended = [run for run in group.runs if run.record.status in ("ok", "diverged")]
    record = group.runs[0].record
    measured = {quantity: quantity for quantity in QUANTITIES} | {SCORE: metric}
    everything = (-math.inf, math.inf)
    return Line(
        label=group.label,
        method=record.method,
        limits={q: clipped(record.suite, name, everything) for q, name in measured.items()},
        granularity=_granularity([point for points in curves.values() for point in points]),
        paths=paths,
        spike=max(spikes, default=None),
        runs=len(ended),
        diverged=sum(_has_diverged(run) for run in ended),
        collapsed=_collapsed(curves),
    )


def _has_diverged(run: Run) -> bool:
    return run.record.status == "diverged"


def _granularity(points: Sequence[CurvePoint]) -> str:
    """How finely a response is paid, from how many rewards it had in training (`payments`)."""
    known = [p.values for p in points if p.values.get("payments") is not None]
    if known:
        rewards = fmean(row["payments"] or 0.0 for row in known)
        tokens = fmean(row.get("length") or 0.0 for row in known)
        if rewards <= RESPONSEWISE:
            return "response" if rewards else NOTHING
        return "token" if rewards >= TOKENWISE * tokens else "segment"
    is_paid = any("reward" in p.values or MASS in p.values for p in points)
    return NOT_RECORDED if is_paid else NOTHING


def _collapsed(curves: Mapping[int, Sequence[CurvePoint]]) -> int | None:
    """How many seeds end with answers of another order of length than SFT's, or that repeat."""
    length, repeats = (_validated(curves, quantity) for quantity in (LENGTH, REPEATS))
    if not length and not repeats:
        return None
    ends = {seed: own[-1] / own[0] for seed, own in length.items() if own[0] > 0}
    odd = {seed for seed, ratio in ends.items() if not 1 / LONGER <= ratio <= LONGER}
    return len(odd | {seed for seed, own in repeats.items() if own[-1] > REPEATED})


def _validated(curves: Mapping[int, Sequence[CurvePoint]], quantity: str) -> dict[int, list[float]]:
    """Seed -> a quantity's finite values in validations, in the order of steps."""
    name = f"validation_{quantity}"
    read = {seed: [finite(p.values.get(name)) for p in own] for seed, own in curves.items()}
    known = {seed: [value for value in own if value is not None] for seed, own in read.items()}
    return {seed: own for seed, own in known.items() if own}
