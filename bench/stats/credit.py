"""Does what is paid for a token follow what the token was worth? Monte-Carlo advantages, noise.

The truth is measured with noise, so no reward correlates perfectly with what is measured of it: the
ceiling, the root of the measurement's reliability, stands beside every correlation.

Legend: N tokens, K continuations of a state.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from bench.stats.bootstrap import cluster_draws, percentile_interval
from bench.stats.intervals import BOOTSTRAP_SEED, Floats, Interval

Index = NDArray[np.intp] | slice

RESAMPLES = 1000
NOT_SHOWN = 0.025  # of the resamples: from so many without a ceiling on, its interval reaches 0
SPLITS = 10  # random halves of the continuations, over which a reliability is averaged


def monte_carlo_advantages(before: Floats, after: Floats) -> Floats:
    """By how much each token raised the expected return: (N,), in the unit of the returns.

    Equation: ``A(s_t, a_t) = V(s_{t+1}) - V(s_t)``, ``V(s)`` the mean return of K continuations of
    s; nothing is paid before the end, and nothing discounted.

    Args:
        before: (N, K) returns from the states in which the tokens were drawn.
        after: (N, K) returns from the states behind them; where the response has ended, K times its
            own return.

    Raises:
        ValueError: if the shapes disagree.

    References:
        arXiv:2410.01679 (VinePPO), Section 4.

    Differences from the paper:
        A state is a token's, and no reasoning step's.
    """
    if before.ndim != 2 or before.shape != after.shape:
        raise ValueError(f"returns must be (N, K) both, are {before.shape} and {after.shape}")
    advantages: Floats = after.mean(axis=1) - before.mean(axis=1)
    return advantages


def spearman_brown(r: float, factor: float) -> float:
    """Reliability of a measurement `factor` times as long as one whose reliability is r >= 0.

    Equation: ``factor r / (1 + (factor - 1) r)``.

    References:
        C. Spearman (1910), W. Brown (1910), Brit. J. Psychol. 3.
    """
    return factor * r / (1 + (factor - 1) * r)


@dataclass(frozen=True)
class Correlation:
    """A correlation with the Monte-Carlo advantage, and with the true one.

    Attributes:
        value: as measured; None: see `note`.
        ci95: 95 % interval over clusters; None where there is one cluster.
        corrected: `value` by the ceiling, an estimate for advantages without noise, which noise may
            carry beyond 1; None where the ceiling is not told from 0, whose `note` then says so.
        corrected_ci95: likewise.
        note: why there is no number, or nothing to be corrected by; "" where there is.
    """

    value: float | None
    ci95: Interval | None = None
    corrected: float | None = None
    corrected_ci95: Interval | None = None
    note: str = ""


@dataclass(frozen=True)
class Mean:
    """A mean over tokens, with the standard error and 95 % interval of the bootstrap."""

    mean: float
    standard_error: float | None
    ci95: Interval | None


@dataclass(frozen=True)
class Truth:
    """What N tokens were worth, as K continuations before and behind each tell it.

    Attributes:
        before, after: (N, K) returns, as of `monte_carlo_advantages`; K is 2 at least.
        clusters: (N,) the instruction that each token's response answers; they are resampled.
    """

    before: Floats
    after: Floats
    clusters: Sequence[int]

    def __post_init__(self) -> None:
        if self.before.shape[1:] < (2,):
            raise ValueError("noise cannot be told from fewer than 2 continuations")

    @cached_property
    def advantages(self) -> Floats:
        """(N,)."""
        return monte_carlo_advantages(self.before, self.after)

    @cached_property
    def _draws(self) -> list[NDArray[np.intp]]:
        return cluster_draws(self.clusters, resamples=RESAMPLES, seed=BOOTSTRAP_SEED)

    @cached_property
    def _halves(self) -> tuple[Floats, Floats]:
        """(SPLITS, N) each: the advantages of one half of the continuations and of the other."""
        rng, k = np.random.default_rng(BOOTSTRAP_SEED), self.before.shape[1]
        orders = [rng.permutation(k) for _ in range(SPLITS)]
        first, second = (
            np.stack([monte_carlo_advantages(self.before[:, i], self.after[:, i]) for i in columns])
            for columns in (
                [order[: k // 2] for order in orders],
                [order[k // 2 : 2 * (k // 2)] for order in orders],
            )
        )
        return first, second

    def _reliability(self, index: Index, *, ranks: bool) -> float:
        first, second = (half[:, index] for half in self._halves)
        r, k = float(_correlations(first, second, ranks).mean()), self.before.shape[1]
        return spearman_brown(r, k / (k // 2)) if r > 0 else r  # below 0 it is none

    def reliability(self, *, ranks: bool = False) -> float:
        """Correlation of these advantages with others from as many new continuations.

        Of the two halves of the continuations, averaged over random splits, lengthened to all of
        them (`spearman_brown`; of rank correlations that is an approximation). NaN where the
        advantages do not vary.
        """
        return self._reliability(slice(None), ranks=ranks)

    @cached_property
    def _ceilings(self) -> dict[bool, tuple[float, Floats]]:
        """By `ranks`: the ceiling, and that of each resample (R,); 0 where there is none.

        Left out, such resamples would leave an interval that no noise brings down to 0.
        """
        return {
            ranks: (
                _root(self.reliability(ranks=ranks)),
                np.array([_root(self._reliability(i, ranks=ranks)) for i in self._draws]),
            )
            for ranks in (False, True)
        }

    def ceiling(self, *, ranks: bool = False) -> Correlation:
        """What the true advantages themselves would correlate with these: root of reliability."""
        value, drawn = self._ceilings[ranks]
        if value == 0:
            return Correlation(None, note="the continuations show no more than noise")
        return Correlation(value, self._interval(drawn), note=self._doubt(drawn))

    def correlation(self, values: Floats, *, ranks: bool = False) -> Correlation:
        """Of (N,) values with these advantages: Pearson's, or with `ranks` Spearman's."""
        if np.ptp(values) == 0:
            return Correlation(None, note=f"{values[0]:g} at each of {len(values)} tokens")
        if np.ptp(self.advantages) == 0:
            return Correlation(None, note="no token changed the expected return")

        def of(index: Index) -> float:
            x, y = values[index], self.advantages[index]
            return float(_correlations(x[None], y[None], ranks)[0])

        value, (ceiling, ceilings) = of(slice(None)), self._ceilings[ranks]
        drawn = np.array([of(index) for index in self._draws])
        if ceiling == 0 or self._doubt(ceilings):
            return Correlation(value, self._interval(drawn))
        with np.errstate(divide="ignore", invalid="ignore"):
            shares = drawn / ceilings  # infinite where a resample has no ceiling: it counts
        return Correlation(value, self._interval(drawn), value / ceiling, self._interval(shares))

    def mean(self, values: Floats, where: NDArray[np.bool_]) -> Mean | None:
        """Of the (N,) values where (N,) is True; None: nowhere."""
        if not where.any():
            return None

        def of(index: Index) -> float:
            kept = values[index][where[index]]
            return float(kept.mean()) if kept.size else math.nan

        drawn = np.array([of(index) for index in self._draws])
        error = float(np.nanstd(drawn)) if self._several else None
        return Mean(float(values[where].mean()), error, self._interval(drawn))

    def _doubt(self, ceilings: Floats) -> str:
        """Why nothing is to be divided by the ceiling; "": it is told from 0."""
        none = float((ceilings == 0).mean())
        if none < NOT_SHOWN:
            return ""
        return f"no r / ceiling: {none:.1%} of the resamples show no more than noise"

    @property
    def _several(self) -> bool:
        return len(set(self.clusters)) > 1

    def _interval(self, drawn: Floats) -> Interval | None:
        if not self._several or np.isnan(drawn).all():
            return None
        low, high = percentile_interval(drawn)
        return float(low), float(high)


@dataclass(frozen=True)
class TokenCredit:
    """What is known of N sampled tokens in one run.

    Attributes:
        run: its id.
        method: its name.
        label: the method with what differs from the defaults.
        seed: of the run.
        truth: what they were worth; None: nothing was measured, see `note`.
        shares: (N,) what the method pays them, the KL apart.
        advantages: (N,) what it learns from; None: see `note`.
        wrong: (N,) bool, True = within an error; None: nobody knows where the errors are.
        responses: how many they are taken from.
        note: what is missing and why, or must be known; "": nothing.
    """

    run: str
    method: str
    label: str
    seed: int
    truth: Truth | None = None
    shares: Floats | None = None
    advantages: Floats | None = None
    wrong: NDArray[np.bool_] | None = None
    responses: int = 0
    note: str = ""


def _root(reliability: float) -> float:
    return math.sqrt(reliability) if reliability > 0 else 0.0  # NaN, too: nothing varies


def _correlations(x: Floats, y: Floats, ranks: bool) -> Floats:
    """Of each row of (M, N) with the same row of the other: (M,), NaN where one is constant."""
    if ranks:
        x, y = rankdata(x, axis=1), rankdata(y, axis=1)
    x, y = (a - a.mean(axis=1, keepdims=True) for a in (x, y))
    scale = np.sqrt((x * x).sum(axis=1) * (y * y).sum(axis=1))
    found: Floats = np.divide(
        (x * y).sum(axis=1), scale, out=np.full_like(scale, np.nan), where=scale > 0
    )
    return found
