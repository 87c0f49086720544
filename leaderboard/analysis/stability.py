"""What a policy does on its way from SFT, at equal KL: length, repeats, reward mass, score.

Rows that end at different KL cannot be compared by their last numbers: who moves further changes
more. Here each seed's curve is read at the same KL (`leaderboard.analysis.matched`), then averaged
over seeds, by row and by how finely the reward is paid.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, median

import numpy as np

from bench.records.files import CurvePoint, Run
from bench.stats import Estimate, over_seeds
from leaderboard.analysis.bounds import clipped
from leaderboard.analysis.curves import SCORES, curve_of
from leaderboard.analysis.matched import (
    KLPath,
    kl_paths,
    levels,
    matched_level,
    reach,
    spike,
    value_at,
)
from leaderboard.analysis.runs import Group

LENGTH, REPEATS, MASS, SCORE = "length", "repeat_share", "reward_mass", "score"
QUANTITIES = (LENGTH, REPEATS, MASS, SCORE)
NOTHING, NOT_RECORDED = "nothing", "not recorded"
GRANULARITIES = ("response", "segment", "token")  # from the coarsest to the finest
TOKENWISE = 0.5  # of its tokens: from so many rewards on a response is paid by the token
RESPONSEWISE = 1.5  # rewards: up to so many it is paid once
STILL = 0.25  # of the median row's reach: who stays below would hold all others at SFT
LONGER, REPEATED = 2.0, 0.5  # from here on a policy has collapsed: see the glossary


@dataclass(frozen=True)
class Line:
    """One row of the table: its seeds' paths, and how its runs fared.

    Attributes:
        granularity: one of `GRANULARITIES`, `NOTHING` or `NOT_RECORDED`.
        paths: quantity -> seed -> path; without what no seed has.
        spike: the worst of any seed, nats; None where no curve has the KL of rollouts.
        runs: that ended ok or diverged.
        diverged: of those, how many.
        collapsed: of those, how many; None where the curves do not say.
    """

    label: str
    granularity: str
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
        values = self.values(quantity, level)
        return _over_seeds(quantity, values)

    @property
    def reach(self) -> float:
        """The largest KL that each of its seeds reaches."""
        return min(reach(path) for own in self.paths.values() for path in own.values())

    @property
    def furthest(self) -> float:
        """The largest KL of any of its seeds."""
        return max(reach(path) for own in self.paths.values() for path in own.values())


@dataclass(frozen=True)
class Stability:
    """All rows of a table that have a curve, and where they can be compared.

    Attributes:
        lines: in the order of granularity, then of label.
        without: labels of ended runs without a curve by KL.
        score: what the validation score is, in words; None where no curve has one.
        levels: the KL values at which all rows are read.
        matched: the one that all compared rows reach.
        limited_by: the compared row that reaches no further.
        apart: labels of the rows that are not compared: they hardly move away from SFT.
    """

    lines: list[Line]
    without: list[str]
    score: str | None
    levels: list[float]
    matched: float
    limited_by: str
    apart: list[str]

    @property
    def compared(self) -> list[Line]:
        """The rows that are compared at `matched`."""
        return [line for line in self.lines if line.label not in self.apart]

    def lacking(self, quantity: str) -> list[str]:
        """The labels of which no curve has this quantity."""
        return [line.label for line in self.lines if quantity not in line.paths]

    def slope(self, line: Line, quantity: str = LENGTH) -> Estimate | None:
        """By how much it grows a nat, over seeds: least squares over the levels up to `matched`.

        None where fewer than two of the levels are there, or the row lacks the quantity.
        """
        own = [line.values(quantity, level) for level in self.levels if level <= self.matched]
        if len(own) < 2 or not all(own):
            return None
        kl = self.levels[: len(own)]
        return over_seeds([float(np.polyfit(kl, [v[s] for v in own], 1)[0]) for s in own[0]])

    @property
    def groups(self) -> dict[str, list[Line]]:
        """The compared rows of each recorded granularity, the coarsest first."""
        found = {
            g: [line for line in self.compared if line.granularity == g] for g in GRANULARITIES
        }
        return {name: lines for name, lines in found.items() if lines}

    def group_at(self, lines: Iterable[Line], quantity: str) -> Estimate | None:
        """Mean of some rows at `matched`, over seeds; None where one row lacks it."""
        return _over_seeds(quantity, self._means(lines, quantity))

    def difference(
        self, lines: Iterable[Line], others: Iterable[Line], quantity: str
    ) -> Estimate | None:
        """The rows' mean less the others' at `matched`, paired by seed.

        None where a row lacks the quantity or no seed is common to all of them.
        """
        first, second = (self._means(own, quantity) for own in (lines, others))
        common = sorted(first.keys() & second.keys())
        return over_seeds([first[s] - second[s] for s in common]) if common else None

    def _means(self, lines: Iterable[Line], quantity: str) -> dict[int, float]:
        """Seed -> mean over the rows, of the seeds that all of them have."""
        values = [line.values(quantity, self.matched) for line in lines]
        common = sorted(set.intersection(*(set(own) for own in values))) if values else []
        return {seed: fmean(own[seed] for own in values) for seed in common}


def _over_seeds(quantity: str, values: dict[int, float]) -> Estimate | None:
    """Mean and interval, which ends where the quantity does; None where there is no seed."""
    if not values:
        return None
    found = over_seeds(list(values.values()))
    return found if found.ci95 is None else replace(found, ci95=clipped("", quantity, found.ci95))


def stability(groups: Sequence[Group], problems: list[str]) -> Stability | None:
    """What the curves of a table's rows say at equal KL; None where none has a KL.

    Args:
        groups: labels with their runs; the curves of those that ended ok enter.
        problems: receives a line for each curve that cannot be read; it is left out.
    """
    curves = {
        group.label: {seed: curve_of(run, problems) for seed, run in group.ok.items()}
        for group in groups
    }
    score = _score(points for own in curves.values() for points in own.values())
    lines = [
        line for group in groups if (line := _line(group, curves[group.label], score)) is not None
    ]
    if not lines:
        return None
    order = (*GRANULARITIES, NOTHING, NOT_RECORDED)
    lines.sort(key=lambda line: (order.index(line.granularity), line.label))
    enough = STILL * median(line.reach for line in lines)
    compared = [line for line in lines if line.reach >= enough]
    last = min(compared, key=lambda line: line.reach)
    matched = matched_level([line.reach for line in compared])
    shown = {line.label for line in lines}
    return Stability(
        lines=lines,
        without=[group.label for group in groups if group.ok and group.label not in shown],
        score=SCORES.get(score) if score else None,
        levels=levels(max(line.furthest for line in lines), matched),
        matched=matched,
        limited_by=last.label,
        apart=[line.label for line in lines if line not in compared],
    )


def _score(curves: Iterable[list[CurvePoint]]) -> str | None:
    """The validation score that checkpoints are chosen by: the first that any curve has."""
    known = {
        name for points in curves for p in points for name, v in p.values.items() if v is not None
    }
    return next((name for name in SCORES if name in known), None)


def _line(group: Group, curves: dict[int, list[CurvePoint]], score: str | None) -> Line | None:
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
    return Line(
        label=group.label,
        granularity=_granularity([point for points in curves.values() for point in points]),
        paths=paths,
        spike=max(spikes, default=None),
        runs=len(ended),
        diverged=sum(_has_diverged(run) for run in ended),
        collapsed=_collapsed(paths),
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


def _collapsed(paths: dict[str, dict[int, KLPath]]) -> int | None:
    """How many seeds end with answers of another order of length than SFT's, or that repeat."""
    length, repeats = paths.get(LENGTH, {}), paths.get(REPEATS, {})
    if not length and not repeats:
        return None
    ends = {seed: own[-1][1] / own[0][1] for seed, own in length.items() if own[0][1] > 0}
    odd = {seed for seed, ratio in ends.items() if not 1 / LONGER <= ratio <= LONGER}
    return len(odd | {seed for seed, own in repeats.items() if own[-1][1] > REPEATED})
