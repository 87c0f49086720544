"""How well scores agree with labels: clustered accuracy and the area under the ROC curve."""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from bench.stats.intervals import Estimate, Floats, standard_error, to_floats, wilson


@dataclass(frozen=True)
class Accuracy(Estimate):
    """An `Estimate` of a proportion.

    Attributes:
        clusters: number of clusters (n where there are none).
        effective_n: independent values that would be as informative: n / design effect.
    """

    clusters: int
    effective_n: float


def accuracy_interval(
    correct: Sequence[float | bool | None] | Floats, clusters: Sequence[Hashable] | None = None
) -> Accuracy:
    """Share that is correct, with Wilson's interval at the effective sample size.

    Values of one cluster (pairs that share a prompt) are not independent. With G clusters, the
    linearised variance of the mean and the design effect are ::

        V = G / (G - 1) * sum_g (sum_{i in g} (x_i - mean))^2 / n^2
        deff = max(1, V / (s^2 / n)),   effective n = n / deff

    A design effect below 1 is taken as 1. Where all values are equal it is undefined, and the
    number of clusters is the effective size.

    Args:
        correct: (n,) 1 or True, 0 or False, .5 for a tie, None or NaN where missing.
        clusters: (n,) label of each value's cluster; None = all independent.

    Raises:
        ValueError: if the lengths differ, a value is outside [0, 1], or none is left.

    References: L. Kish (1965), Survey Sampling, ch. 5; Wilson at effective size:
        J. Dean and M. Pagano (2015), J. Survey Stat. Methodol. 3(4), 484-503.
    """
    values = to_floats(correct)
    present = ~np.isnan(values)
    kept = values[present]
    if kept.size == 0:
        raise ValueError(f"no value is left: all {values.size} are missing")
    if ((kept < 0) | (kept > 1)).any():
        raise ValueError("correct must hold values between 0 (wrong) and 1 (right)")
    if clusters is None:
        groups = np.arange(kept.size)
    else:
        if len(clusters) != values.size:
            raise ValueError(f"correct has {values.size} values, but clusters {len(clusters)}")
        numbers = {name: i for i, name in enumerate(dict.fromkeys(clusters))}
        groups = np.array([numbers[name] for name in clusters])[present]
    effective, error = _effective_size(kept, groups)
    mean = float(kept.mean())
    return Accuracy(
        mean=mean,
        standard_error=error,
        ci95=wilson(mean, effective),
        n=kept.size,
        missing=int(values.size - kept.size),
        clusters=len(np.unique(groups)),
        effective_n=effective,
    )


def _effective_size(values: Floats, groups: np.ndarray) -> tuple[float, float | None]:
    """Effective sample size, and the clustered standard error of the mean."""
    n, count = values.size, len(np.unique(groups))
    simple = standard_error(values)
    if not simple or count == 1:
        return float(count), simple if count > 1 else None
    sums = np.bincount(groups, weights=values - values.mean())
    variance = count / (count - 1) * float((sums**2).sum()) / n**2
    design_effect = max(1.0, variance / simple**2)
    return n / design_effect, simple * math.sqrt(design_effect)


def auroc(scores: ArrayLike, labels: ArrayLike) -> float:
    """Probability that a positive scores above a negative, a tie counting one half.

    ``U / (n_1 n_0)`` of Mann and Whitney on mid-ranks.

    Args:
        scores: (n,) finite.
        labels: (n,) True or 1 = positive.

    Raises:
        ValueError: if the lengths differ, a score is not finite, or one class is absent.
    """
    values, positive = np.asarray(scores, dtype=np.float64), np.asarray(labels).astype(bool)
    if values.shape != positive.shape or values.ndim != 1:
        raise ValueError(f"scores has shape {values.shape}, but labels has {positive.shape}")
    if not np.isfinite(values).all():
        raise ValueError(f"score {int((~np.isfinite(values)).argmax())} is not finite")
    ones = int(positive.sum())
    zeros = positive.size - ones
    if not ones or not zeros:
        raise ValueError(f"AUROC needs both classes: {ones} positive, {zeros} negative")
    rank_sum = float(stats.rankdata(values)[positive].sum())
    return (rank_sum - ones * (ones + 1) / 2) / (ones * zeros)
