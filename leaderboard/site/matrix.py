"""Every method against every other: paired by seed and instruction, Holm over all pairs."""

from collections.abc import Sequence
from dataclasses import dataclass

from bench.grid import DASH
from leaderboard.analysis.compare import Comparison
from leaderboard.analysis.rows import interval, number, probability

ROOMY = 8  # labels: with more the intervals would not fit beside each other


@dataclass(frozen=True)
class Pair:
    """The difference of a row's method to a column's; `sign` is "" where it is not significant."""

    text: str
    interval: str = ""
    p: str = ""
    sign: str = ""


@dataclass(frozen=True)
class Matrix:
    """One row and one column a label; None on the diagonal."""

    metric: str
    labels: list[str]
    rows: list[list[Pair | None]]
    pairs: int
    basis: str

    @property
    def is_wide(self) -> bool:
        """Whether its cells must be narrow: numbers over the columns, intervals as tooltips."""
        return len(self.labels) > ROOMY


def comparison_matrix(comparisons: Sequence[Comparison], metric: str) -> Matrix | None:
    """All paired differences, row minus column; None where there is no pair.

    Args:
        comparisons: of `leaderboard.analysis.compare.all_pairs`.
        metric: what was compared.
    """
    if not comparisons:
        return None
    shown = list(dict.fromkeys(label for c in comparisons for label in (c.label, c.base)))
    cells: dict[tuple[str, str], Pair] = {}
    for c in comparisons:
        cells[c.label, c.base] = _pair(c, 1.0)
        cells[c.base, c.label] = _pair(c, -1.0)
    rows = [[None if a == b else cells[a, b] for b in shown] for a in shown]
    known = [c for c in comparisons if c.mean is not None]
    basis = ", ".join(sorted({c.basis for c in known}))
    return Matrix(metric, shown, rows, len(known), basis)


def _pair(c: Comparison, factor: float) -> Pair:
    if c.mean is None or c.p_holm is None:
        return Pair(DASH)
    mean = factor * c.mean
    ends = None
    if c.ci95 is not None:
        low, high = sorted(factor * end for end in c.ci95)
        ends = (low, high)
    sign = ("plus" if mean > 0 else "minus") if c.significant else ""
    text = number(c.metric, mean, signed=True)
    return Pair(text, interval(c.metric, ends, signed=True), probability(c.p_holm), sign)
