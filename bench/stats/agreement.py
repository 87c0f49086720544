"""How well scores agree with labels, and judges with each other."""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from bench.stats.intervals import (
    BOOTSTRAP_SEED,
    RESAMPLES,
    Estimate,
    Floats,
    Values,
    standard_error,
    to_floats,
    to_scores,
    wilson,
)

VERDICTS = ("reference", "tie", "model")


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
    linearised variance of the mean and the design effect are:

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
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    mid_ranks = counts.cumsum() - (counts - 1) / 2
    rank_sum = float(mid_ranks[place][positive].sum())
    return (rank_sum - ones * (ones + 1) / 2) / (ones * zeros)


def raw_agreement(a: Values, b: Values) -> Accuracy:
    """Share of items on which two judges gave the same verdict, with Wilson's interval.

    A verdict is reference, tie or model: a preference below, at, or above 1.5.

    Args:
        a: (N,) preferences of one judge, as `win_rate` takes them.
        b: (N,) of the other, the same items; only what both judged counts.

    Raises:
        ValueError: if the lengths differ, a value is no preference, or no item has both.
    """
    first, second, missing = _verdicts(a, b)
    return accuracy_interval(np.append((first == second).astype(float), [math.nan] * missing))


def cohen_kappa(a: Values, b: Values) -> Estimate:
    """Agreement of two judges beyond chance, over the verdicts reference, tie and model.

    ``kappa = (p_o - p_e) / (1 - p_e)``: p_o the share of equal verdicts, p_e what the two judges'
    own shares of verdicts would give by chance. The interval is a percentile bootstrap over items;
    a resample on which kappa is undefined is left out. Where the judges agree on every item, which
    leaves nothing to resample, its lower end is kappa at Wilson's lower end of p_o.

    Args:
        a: as for `raw_agreement`.
        b: as for `raw_agreement`.

    Raises:
        ValueError: as `raw_agreement`, or if both judges gave one and the same verdict throughout:
            kappa is 0 / 0 there.

    References: J. Cohen (1960), Educ. Psychol. Meas. 20(1), 37-46; to the value of
        `sklearn.metrics.cohen_kappa_score`.
    """
    first, second, missing = _verdicts(a, b)
    kinds, n = len(VERDICTS), first.size
    counts = np.bincount(kinds * first + second, minlength=kinds**2)
    kappa, chance = (float(x) for x in _kappa(counts.reshape(kinds, kinds)))
    if chance == 1:
        raise ValueError(f"kappa is undefined: both judges say {VERDICTS[first[0]]} on all {n}")
    drawn = np.random.default_rng(BOOTSTRAP_SEED).multinomial(n, counts / n, size=RESAMPLES)
    resampled, _ = _kappa(drawn.reshape(-1, kinds, kinds))
    low, high = (float(x) for x in np.nanquantile(resampled, [0.025, 0.975]))
    if (first == second).all():
        low = (wilson(1.0, n)[0] - chance) / (1 - chance)
    return Estimate(kappa, float(np.nanstd(resampled, ddof=1)), (low, high), n, missing)


def _verdicts(a: Values, b: Values) -> tuple[np.ndarray, np.ndarray, int]:
    """Indices into `VERDICTS` of what both judged, and how many items are left out."""
    first, second = to_scores(a), to_scores(b)
    if first.shape != second.shape:
        raise ValueError(f"a has shape {first.shape}, but b has shape {second.shape}")
    both = ~np.isnan(first) & ~np.isnan(second)
    if not both.any():
        raise ValueError(f"no item was judged by both: {first.size} items")
    sides = np.sign(np.stack([first, second])[:, both] - 0.5).astype(int) + 1
    return sides[0], sides[1], int((~both).sum())


def _kappa(tables: np.ndarray) -> tuple[Floats, Floats]:
    """Kappa (NaN where chance alone agrees) and p_e of contingency tables (..., K, K)."""
    shares = tables / tables.sum(axis=(-2, -1), keepdims=True)
    observed = np.trace(shares, axis1=-2, axis2=-1)
    chance = (shares.sum(axis=-1) * shares.sum(axis=-2)).sum(axis=-1)
    out = np.full_like(chance, np.nan)
    return np.divide(observed - chance, 1 - chance, out=out, where=chance < 1), chance
