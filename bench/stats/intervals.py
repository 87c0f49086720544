"""Means over instructions, given one training run: win rates, scores and paired differences."""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from bench.preference import FIRST

Floats = NDArray[np.float64]
Values = Sequence[float | None] | Floats
Interval = tuple[float, float]

RESAMPLES = 9999
BOOTSTRAP_SEED = 20240604
NO_SPREAD = 1e-12  # a standard error that is rounding
_BATCH_VALUES = 4_000_000  # resampled values held at once: about 64 MB with their indices


@dataclass(frozen=True)
class Estimate:
    """A mean over instructions.

    Attributes:
        mean: of the values that are there.
        standard_error: sd (ddof = 1) / sqrt(n); None where n = 1.
        ci95: 95 % interval; None where n = 1 and nothing bounds the values.
        n: values that are there.
        missing: values that are None or NaN.
    """

    mean: float
    standard_error: float | None
    ci95: Interval | None
    n: int
    missing: int


@dataclass(frozen=True)
class WinRate(Estimate):
    """An `Estimate` of the share of instructions won, a tie counting one half."""

    wins: int
    losses: int
    ties: int


@dataclass(frozen=True)
class PairedDifference(Estimate):
    """An `Estimate` of mean(a - b), with a two-sided p-value for "no difference"."""

    p_value: float


def to_floats(values: ArrayLike | Values) -> Floats:
    """Any nesting of numbers and None as float64, None as NaN."""
    return np.asarray(np.array(values, dtype=object), dtype=np.float64)


def _present(values: Values) -> tuple[Floats, int]:
    """The values that are there, and how many are missing."""
    array = to_floats(values)
    if array.ndim != 1:
        raise ValueError(f"values must be one-dimensional, have shape {array.shape}")
    if np.isinf(array).any():
        raise ValueError(f"value {int(np.isinf(array).argmax())} is infinite")
    present = array[~np.isnan(array)]
    if present.size == 0:
        raise ValueError(f"no value is left: all {array.size} are missing")
    return present, int(array.size - present.size)


def standard_error(values: Floats) -> float | None:
    """Sample sd (ddof = 1) / sqrt(n), or None where one value says nothing of its spread."""
    return float(values.std(ddof=1) / math.sqrt(values.size)) if values.size > 1 else None


def wilson(mean: float, n: float, level: float = 0.95) -> Interval:
    """Wilson's score interval of a proportion; `n` may be an effective, fractional size.

    References: E. B. Wilson (1927), JASA 22(158), 209-212.
    """
    z = float(special.ndtri(0.5 + level / 2))
    centre = (mean + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(mean * (1 - mean) / n + z * z / (4 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)


def bca(values: Floats) -> Interval | None:
    """95 % BCa bootstrap interval of the mean; None where fewer than two values, or no spread.

    The resampling is seeded: the same values give the same interval. Where the BCa correction is
    undefined (very few distinct values), Student's t takes its place.

    References: B. Efron (1987), JASA 82(397), 171-185, as `scipy.stats.bootstrap` computes it.
    """
    from scipy import stats  # takes longer to import than a table to make

    if values.size < 2 or np.ptp(values) == 0:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", category=stats.DegenerateDataWarning)
        result = stats.bootstrap(
            (values,),
            np.mean,
            n_resamples=RESAMPLES,
            method="BCa",
            batch=max(1, _BATCH_VALUES // values.size),
            rng=np.random.default_rng(BOOTSTRAP_SEED),
        )
    low, high = (float(x) for x in result.confidence_interval)
    if math.isfinite(low) and math.isfinite(high):
        return low, high
    return _student_of(values)


def _student_of(values: Floats) -> Interval:
    return student(float(values.mean()), standard_error(values) or 0.0, values.size - 1)


def student(mean: float, error: float, df: float, level: float = 0.95) -> Interval:
    """Student's t interval, ``mean ± t_df error``."""
    half = float(special.stdtrit(df, 0.5 + level / 2)) * error
    return mean - half, mean + half


def rate_interval(mean: float, error: float, df: float, n: int) -> Interval:
    """95 % t interval of a rate on the logit scale, which stays within [0, 1].

    ``expit(logit(m) ± t_df error / (m (1 - m)))``. Where all values are equal, and the error says
    nothing, Wilson's over the n instructions takes its place.
    """
    if error < NO_SPREAD or not 0 < mean < 1:
        return wilson(mean, n)
    low, high = student(float(special.logit(mean)), error / (mean * (1 - mean)), df)
    return float(special.expit(low)), float(special.expit(high))


def mean_interval(values: Values, *, bootstrap: bool = True) -> Estimate:
    """Mean of a per-instruction value, with standard error and BCa interval.

    The interval speaks of other instructions, *given this training run*: it holds no spread
    between seeds (`two_way` does). Equal values give an interval of no width.

    Args:
        values: (N,), None or NaN where missing.
        bootstrap: False gives Student's t interval, at a thousandth of the time.

    Raises:
        ValueError: if no value is left, or one is infinite.
    """
    present, missing = _present(values)
    mean = float(present.mean())
    interval = bca(present) if bootstrap else None
    if interval is None and present.size > 1:
        interval = _student_of(present)
    return Estimate(mean, standard_error(present), interval, present.size, missing)


def to_scores(preferences: Values) -> Floats:
    """Preferences as the model's score: 0 = lost, 1/2 = tie, 1 = won, NaN where missing.

    Args:
        preferences: (N,) as `win_rate` takes them.

    Raises:
        ValueError: if a value is no preference.
    """
    array = to_floats(preferences)
    scores = np.where(array == 0, 0.5, array - FIRST)
    wrong = array[(scores < 0) | (scores > 1)]
    if wrong.size:
        raise ValueError(f"a preference is 0 or lies between 1 and 2, but one is {wrong[0]:g}")
    return scores


def win_rate(preferences: Values) -> WinRate:
    """Share of instructions on which the model is preferred to the reference; a tie is one half.

    Args:
        preferences: (N,) 1 = the reference is better, 2 = the model is, 1.5 or 0 = tie, None or
            NaN = missing (left out of the mean, and counted). What lies between 1 and 2 is a mean
            of several verdicts on one instruction: above 1.5 counts as won.

    Returns:
        Fractions. Where every verdict is the same, a bootstrap has nothing to resample and would
        claim certainty: the interval is Wilson's there.

    Raises:
        ValueError: if a value is no preference, or none is left.

    References:
        AlpacaEval's `get_winrate`, to which this is equal up to the factor of 100.
    """
    scores, missing = _present(to_scores(preferences))
    mean = float(scores.mean())
    return WinRate(
        mean=mean,
        standard_error=standard_error(scores),
        ci95=bca(scores) or wilson(mean, scores.size),
        n=scores.size,
        missing=missing,
        wins=int((scores > 0.5).sum()),
        losses=int((scores < 0.5).sum()),
        ties=int((scores == 0.5).sum()),
    )


def p_value(mean: float, error: float | None, df: float, n: int) -> float:
    """Two-sided p of Student's t for "the mean is 0".

    Without spread, rounding apart, t is undefined: there the sign test's ``2^(1 - n)`` stands, and
    1 where the mean is 0 or one value is all there is.
    """
    if abs(mean) < NO_SPREAD or n < 2 or error is None:
        return 1.0
    if error < NO_SPREAD:
        return float(2.0 ** (1 - n))
    return float(2 * special.stdtr(df, -abs(mean) / error))


def differences(a: Values, b: Values | float) -> Floats:
    """a - b, value by value, NaN where either is missing; b may be one number for all.

    Raises:
        ValueError: if the lengths differ.
    """
    first, second = to_floats(a), to_floats(b)
    if second.ndim and first.shape != second.shape:
        raise ValueError(f"a has shape {first.shape}, but b has shape {second.shape}")
    return first - second


def paired_difference(a: Values, b: Values) -> PairedDifference:
    """mean(a - b) over the instructions where both are there: BCa interval, paired t for p.

    Args:
        a: (N,) per-instruction values of one method.
        b: (N,) the same instructions in the same order, of the other.

    Raises:
        ValueError: if the lengths differ, or no instruction has both.
    """
    estimate = mean_interval(differences(a, b))
    p = p_value(estimate.mean, estimate.standard_error, estimate.n - 1, estimate.n)
    return PairedDifference(**vars(estimate), p_value=p)
