"""Many comparisons at once: Holm's correction, rank groups, and what a test could have seen."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations

from scipy import special


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjusted p-values, in the order given.

    ``p_(k) -> max_{j <= k} min(1, (m - j + 1) p_(j))``: the family-wise error rate is held under
    any dependence.

    Raises:
        ValueError: if a p-value is NaN or outside [0, 1].

    References: S. Holm (1979), Scand. J. Statist. 6(2), 65-70.
    """
    if wrong := [p for p in p_values if not 0 <= p <= 1]:
        raise ValueError(f"a p-value lies between 0 and 1, but one is {wrong[0]}")
    adjusted, largest = [0.0] * len(p_values), 0.0
    for step, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        largest = max(largest, min(1.0, (len(p_values) - step) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def rank_groups(
    means: Mapping[str, float],
    p_values: Mapping[tuple[str, str], float],
    alpha: float = 0.05,
) -> dict[str, int]:
    """Rank groups 1, 2, ... of methods, best mean first; what ties shares a group.

    Down the order of means, a new group begins at each method that differs significantly (Holm
    over all pairs) from any member of the group above it. So two methods that differ are never in
    one group; two that do not may still stand in neighbouring groups, for "does not differ from"
    is not transitive.

    A pair that was not compared is no tie. The methods with most such pairs are left out, then
    those with most among the rest, until every two that are left were compared.

    Args:
        means: of each method.
        p_values: unadjusted p of each compared pair, in either order.
        alpha: family-wise error rate.

    Returns:
        Groups of the methods that were not left out.
    """
    pairs = list(p_values)
    adjusted = zip(pairs, holm([p_values[pair] for pair in pairs]), strict=True)
    differ = {frozenset(pair) for pair, p in adjusted if p <= alpha}
    groups: dict[str, int] = {}
    members: list[str] = []
    number = 1
    for name in sorted(_all_compared(means, pairs), key=lambda name: (-means[name], name)):
        if any(frozenset((name, member)) in differ for member in members):
            number, members = number + 1, []
        groups[name] = number
        members.append(name)
    return groups


def _all_compared(names: Iterable[str], pairs: Iterable[tuple[str, str]]) -> set[str]:
    """Names of which every two were compared: without those that most others were not with."""
    compared = {frozenset(pair) for pair in pairs}
    left = set(names)
    while True:
        open_pairs = [p for p in combinations(sorted(left), 2) if frozenset(p) not in compared]
        if not open_pairs:
            return left
        counts = Counter(name for pair in open_pairs for name in pair)
        left -= {name for name, n in counts.items() if n == max(counts.values())}


def minimum_detectable_effect(
    standard_error: float, *, df: float = math.inf, alpha: float = 0.05, power: float = 0.8
) -> float:
    """Smallest true difference that a two-sided test finds with the given power.

    ``(t_{1 - alpha/2} + t_{power}) * standard error``, in the unit of the standard error.

    Args:
        standard_error: of the difference.
        df: degrees of freedom of its t.
        alpha: level of the test; alpha / m for one of m comparisons (Bonferroni, which Holm's
            first step is).
        power: probability that such a difference is found.

    References: H. S. Bloom (1995), Evaluation Review 19(5), 547-556.
    """
    critical = special.stdtrit(df, 1 - alpha / 2) + special.stdtrit(df, power)
    return float(critical) * standard_error
