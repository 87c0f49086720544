"""What a policy does on its way from SFT, at equal KL: length, repeats, reward mass, score.

Rows that end at different KL cannot be compared by their last numbers: who moves further changes
more. Here each seed's curve is read at the same KL (`leaderboard.analysis.matched`), then averaged
over seeds, by row and by how finely the reward is paid.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median

import numpy as np

from bench.stats import Estimate, over_seeds
from bench.stats.intervals import student
from leaderboard.analysis.balanced import balanced, mean_of_methods
from leaderboard.analysis.curves import METRICS, SCORES, score_of
from leaderboard.analysis.lines import (
    GRANULARITIES,
    LENGTH,
    MASS,
    NOT_RECORDED,
    NOTHING,
    QUANTITIES,
    SCORE,
    Line,
    line_of,
    within,
)
from leaderboard.analysis.matched import levels, matched_level
from leaderboard.analysis.runs import Group

STILL = 0.25  # of the median row's reach: who stays below would hold all others at SFT
FAR = 2.0  # times the median row's reach: no level lies beyond


@dataclass(frozen=True)
class Stability:
    """All rows of a table that have a curve, and where they can be compared.

    Attributes:
        lines: in the order of granularity, then of label.
        without: labels of ended runs without a curve by KL.
        score: what the validation score is, in words; None where no curve has one.
        score_metric: the score as a metric, whose unit and bounds it has.
        levels: the KL values at which rows are read, up to `FAR` times the typical reach.
        matched: the one that all compared rows reach.
        limited_by: the compared row that reaches no further.
        apart: labels of the rows that are not compared: they hardly move away from SFT.
    """

    lines: list[Line]
    without: list[str]
    score: str | None
    score_metric: str
    levels: list[float]
    matched: float
    limited_by: str
    apart: list[str]

    @property
    def compared(self) -> list[Line]:
        """The rows that are compared at `matched`."""
        return [line for line in self.lines if line.label not in self.apart]

    def metric(self, quantity: str) -> str:
        """The name that a quantity's numbers are written by."""
        return self.score_metric if quantity == SCORE else quantity

    def lacking(self, quantity: str) -> list[str]:
        """The labels of which no curve has this quantity, although there was one."""
        unpaid = self.unpaid(quantity)
        return [
            line.label
            for line in self.lines
            if quantity not in line.paths and line.label not in unpaid
        ]

    def unpaid(self, quantity: str) -> list[str]:
        """The labels that cannot have this quantity: of a reward, where nothing is paid."""
        unpaid = [line for line in self.lines if line.granularity == NOTHING]
        return [line.label for line in unpaid if quantity == MASS and MASS not in line.paths]

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

    def group_at(self, lines: Sequence[Line], quantity: str) -> Estimate | None:
        """Mean of some rows' methods at `matched`, over seeds; None where no row has a number.

        Rows that lack the others' seeds are left out: `left_out` names them.
        """
        (kept,), seeds = balanced([lines], quantity, self.matched)
        means = mean_of_methods(kept, quantity, self.matched, seeds)
        return lines[0].estimate(quantity, means) if means else None

    def difference(
        self, lines: Sequence[Line], others: Sequence[Line], quantity: str, among: int = 1
    ) -> Estimate | None:
        """The rows' mean less the others' at `matched`, paired by seed.

        Args:
            lines: averaged as in `group_at`, over seeds that they share with the others.
            others: likewise.
            quantity: of `QUANTITIES`.
            among: of so many differences it was chosen; together their intervals hold at 95 %
                (Bonferroni, which needs no equal spread between rows).

        Returns:
            None where no seed is common to a row of each.
        """
        sides, seeds = balanced([lines, others], quantity, self.matched)
        first, second = (mean_of_methods(own, quantity, self.matched, seeds) for own in sides)
        if not first or not second:
            return None
        found = over_seeds([first[seed] - second[seed] for seed in seeds])
        if found.standard_error is not None:
            level = 1 - 0.05 / among
            ends = student(found.mean, found.standard_error, found.n - 1, level)
            found = replace(found, ci95=ends)
        least, most = lines[0].limits[quantity]
        return within(found, (least - most, most - least))

    def left_out(self, *groups: Sequence[Line]) -> list[str]:
        """The labels that a mean of these groups is without, of any quantity that they have."""
        out = []
        for quantity in QUANTITIES:
            having = [[line for line in g if quantity in line.paths] for g in groups]
            sides, _ = balanced(having, quantity, self.matched)
            kept = [line.label for own in sides for line in own]
            out += [line.label for own in having for line in own if line.label not in kept]
        return list(dict.fromkeys(out))


def stability(groups: Sequence[Group], problems: list[str]) -> Stability | None:
    """What the curves of a table's rows say at equal KL; None where none has a KL.

    Args:
        groups: labels with their runs; the curves of those that ended ok enter.
        problems: receives a line for each curve that cannot be read; it is left out.
    """
    curves = {group.label: group.curves(problems) for group in groups}
    score = score_of(points for own in curves.values() for points in own.values())
    metric = METRICS[score] if score else SCORE
    lines = [
        line
        for group in groups
        if (line := line_of(group, curves[group.label], score, metric)) is not None
    ]
    if not lines:
        return None
    order = (*GRANULARITIES, NOTHING, NOT_RECORDED)
    lines.sort(key=lambda line: (order.index(line.granularity), line.label))
    typical = median(line.reach for line in lines)
    enough = STILL * typical
    compared = [line for line in lines if line.reach >= enough]
    last = min(compared, key=lambda line: line.reach)
    matched = matched_level([line.reach for line in compared])
    # One row that runs away would leave the others a corner of the plot, and few levels.
    furthest = min(max(line.furthest for line in lines), max(matched, FAR * typical))
    shown = {line.label for line in lines}
    return Stability(
        lines=lines,
        without=[group.label for group in groups if group.ok and group.label not in shown],
        score=SCORES[score] if score else None,
        score_metric=metric,
        levels=levels(furthest, matched),
        matched=matched,
        limited_by=last.label,
        apart=[line.label for line in lines if line not in compared],
    )
