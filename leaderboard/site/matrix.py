"""Every method against every other: paired by seed and instruction, Holm over all pairs."""

from dataclasses import dataclass
from itertools import combinations

from bench.grid import DASH
from bench.stats import TwoWay, holm
from leaderboard.analysis.aggregate import difference
from leaderboard.analysis.rows import interval, number, probability
from leaderboard.analysis.runs import Group, Instructions

ALPHA = 0.05


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


def comparison_matrix(groups: list[Group], metric: str) -> Matrix | None:
    """All paired differences, row minus column; None where fewer than two labels have items.

    Intervals are Student's t, as the p-values are: a bootstrap of each pair would take minutes.

    Args:
        groups: of one table, in the order of the leaderboard.
        metric: a key of the items.
    """
    shown = [group.label for group in groups if group.items]
    if len(shown) < 2:
        return None
    instructions = Instructions(groups)
    found = {
        (a.label, b.label): difference(a, b, instructions, metric, bootstrap=False)
        for a, b in combinations([group for group in groups if group.items], 2)
    }
    known = {pair: d for pair, d in found.items() if isinstance(d, TwoWay)}
    adjusted = dict(zip(known, holm([d.p_value for d in known.values()]), strict=True))
    cells: dict[tuple[str, str], Pair] = {}
    for (a, b), d in known.items():
        cells[a, b] = _pair(metric, d, adjusted[a, b], 1.0)
        cells[b, a] = _pair(metric, d, adjusted[a, b], -1.0)
    rows = [[None if a == b else cells.get((a, b), Pair(DASH)) for b in shown] for a in shown]
    basis = ", ".join(sorted({d.basis for d in known.values()}))
    return Matrix(metric, shown, rows, len(known), basis)


def _pair(metric: str, found: TwoWay, p_holm: float, factor: float) -> Pair:
    mean = factor * found.mean
    ends = None
    if found.ci95 is not None:
        low, high = sorted(factor * end for end in found.ci95)
        ends = (low, high)
    sign = ("plus" if mean > 0 else "minus") if p_holm <= ALPHA else ""
    text = number(metric, mean, signed=True)
    return Pair(text, interval(metric, ends, signed=True), probability(p_holm), sign)
