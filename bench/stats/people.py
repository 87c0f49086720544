"""Agreement of several people, and with them. Imported by itself: no stage's key depends on it.

A label is a side: 0 = the first output is better, 1/2 = a tie, 1 = the second. Two labels agree by
``1 - |a - b|``: a tie agrees by half with either side, as it would if a coin were thrown, so that
a judge gains nothing by calling ties, and chance is 1/2 for any judge. `krippendorff_alpha` takes
any categories: there two labels are the same or not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from statistics import fmean

import numpy as np

from bench.stats.intervals import BOOTSTRAP_SEED, RESAMPLES, Estimate, wilson

Labels = Sequence[float]


def left_out(labels: Labels) -> list[list[float]]:
    """What the others say most often, without each of the people in turn; several where tied.

    Raises:
        ValueError: there are fewer than two people.
    """
    if len(labels) < 2:
        raise ValueError(f"{len(labels)} label: without it there is none")
    found = []
    for i in range(len(labels)):
        counts = Counter([*labels[:i], *labels[i + 1 :]])
        most = max(counts.values())
        found.append([label for label, n in counts.items() if n == most])
    return found


def human_agreement(labels: Labels) -> float:
    """How far a person agrees with what the other people say most often, mean over the people."""
    modes = left_out(labels)
    return fmean(agreement(label, mode) for label, mode in zip(labels, modes, strict=True))


def judge_agreement(verdict: float, labels: Labels) -> float:
    """How far a judge agrees with just what `human_agreement` compares people with."""
    return fmean(agreement(verdict, mode) for mode in left_out(labels))


def agreement(label: float, labels: Labels) -> float:
    """How far one label agrees with others, mean over them."""
    return fmean(1 - abs(label - other) for other in labels)


def krippendorff_alpha(
    units: Sequence[Sequence[Hashable]], clusters: Sequence[Hashable] | None = None
) -> Estimate:
    """Agreement beyond chance of any number of annotators, of whom each may lack anywhere.

    For categories without an order (nominal), with n_uc the annotators who put unit u into c, m_u
    all of unit u, n_c and n the sums over units with m_u >= 2:

        alpha = 1 - D_o / D_e,   D_o = sum_u sum_c n_uc (m_u - n_uc) / (m_u - 1),
        D_e = sum_c n_c (n - n_c) / (n - 1)

    The interval is a percentile bootstrap over clusters, of which one alone gives none; a resample
    on which alpha is undefined is left out. Where all agree, which leaves nothing to resample, its
    lower end is alpha at Wilson's lower end of the agreement.

    Args:
        units: (U,) the categories that a unit was put into, one for each annotator who did.
        clusters: (U,) what units that are not independent share; None = all independent.

    Returns:
        `n` counts the units that two or more put into a category, `missing` the others.

    Raises:
        ValueError: no unit has two, all of them are in one category, or the lengths differ.

    References: K. Krippendorff (2011), Computing Krippendorff's Alpha-Reliability, section C.
    """
    if clusters is not None and len(clusters) != len(units):
        raise ValueError(f"units has {len(units)}, but clusters {len(clusters)}")
    labels = range(len(units)) if clusters is None else clusters
    paired = [(unit, label) for unit, label in zip(units, labels, strict=True) if len(unit) > 1]
    if not paired:
        raise ValueError("nothing was answered by two")
    kinds = list(dict.fromkeys(kind for unit, _ in paired for kind in unit))
    if len(kinds) == 1:
        raise ValueError(f"alpha is undefined: everybody says {kinds[0]} of all {len(paired)}")
    counts = np.array([[list(unit).count(kind) for kind in kinds] for unit, _ in paired], float)
    sizes = counts.sum(axis=1, keepdims=True)
    observed = (counts * (sizes - counts) / (sizes - 1)).sum(axis=1)
    # Alpha depends on sums over units alone: a cluster is resampled by the sums of its own.
    rows = {label: row for row, label in enumerate(dict.fromkeys(label for _, label in paired))}
    summed = np.zeros((len(rows), len(kinds) + 1))
    members = [rows[label] for _, label in paired]
    np.add.at(summed, members, np.column_stack([counts, observed]))
    alpha = float(_alpha(summed.sum(axis=0)))
    error, interval = _spread(summed, unanimous=not observed.any())
    return Estimate(alpha, error, interval, len(paired), len(units) - len(paired))


def _spread(
    summed: np.ndarray, *, unanimous: bool
) -> tuple[float | None, tuple[float, float] | None]:
    """Standard error and interval of alpha.

    Args:
        summed: (G, C + 1) counts and D_o of each cluster.
        unanimous: whether all agree.
    """
    g = len(summed)
    if g == 1:
        return None, None
    rng = np.random.default_rng(BOOTSTRAP_SEED)
    resampled = _alpha(rng.multinomial(g, np.full(g, 1 / g), size=RESAMPLES) @ summed)
    low, high = (float(x) for x in np.nanquantile(resampled, [0.025, 0.975]))
    if unanimous:
        totals = summed[:, :-1].sum(axis=0)
        chance = float(_expected(totals)) / totals.sum()  # disagreement of a value, by chance
        low = 1 - (1 - wilson(1.0, g)[0]) / chance
    return float(np.nanstd(resampled, ddof=1)), (low, high)


def _expected(totals: np.ndarray) -> np.ndarray:
    """D_e of (..., C) counts."""
    n = totals.sum(axis=-1, keepdims=True)
    return (totals * (n - totals)).sum(axis=-1) / (n[..., 0] - 1)


def _alpha(summed: np.ndarray) -> np.ndarray:
    """Alpha of (..., C + 1) counts and D_o; NaN where chance alone agrees."""
    expected = _expected(summed[..., :-1])
    ratio = np.full_like(expected, np.nan)
    return 1 - np.divide(summed[..., -1], expected, out=ratio, where=expected > 0)
