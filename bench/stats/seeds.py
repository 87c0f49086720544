"""Several training runs: seeds x instructions, means over seeds, and what a new run may bring."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from bench.stats.crossed import complete_instructions, mean_squares, to_table
from bench.stats.intervals import (
    NO_SPREAD,
    Estimate,
    Floats,
    mean_interval,
    p_value,
    rate_interval,
    student,
)

CROSSED = "seeds x instructions"
ONE_RUN = "given this training run"


@dataclass(frozen=True)
class TwoWay(Estimate):
    """An `Estimate` that speaks of new seeds and new instructions; n counts instructions.

    Attributes:
        p_value: two-sided, for "the mean is 0".
        df: degrees of freedom of its t.
        seeds: training runs.
        basis: `CROSSED`, or `ONE_RUN` where one seed shows no spread between runs.
    """

    p_value: float
    df: float
    seeds: int
    basis: str


def two_way(differences: ArrayLike, *, bootstrap: bool = True, rate: bool = False) -> TwoWay:
    """Grand mean of a seeds x instructions table under crossed random effects.

    Student's t on the standard error and Satterthwaite's degrees of freedom of
    `bench.stats.crossed.MeanSquares.error`. With normal effects and seeds that differ by 0 to 6
    points, the 95 % interval covers 94 to 97 % at 5 seeds and 92 to 97 % at 3. At 2 seeds it covers
    no more than 88 % where seeds differ much: two runs hardly show how far runs differ.

    Args:
        differences: (S, N) values, or differences of two methods, same instructions in each row;
            an instruction that is NaN in any seed is left out of all, and counted as missing.
        bootstrap: False spares the BCa interval of S = 1 (t takes its place), for many p-values.
        rate: the values are shares within [0, 1]: the interval is then taken on the logit scale
            and stays inside, and is Wilson's over instructions where nothing differs.

    Returns:
        With S = 1: BCa interval and t over instructions, labelled `ONE_RUN`.

    Raises:
        ValueError: if the shape is not (S, N), fewer than two instructions are complete where
            S > 1, none where S = 1, or a rate lies outside [0, 1].

    References:
        Crossed raters and items: J. Westfall, D. A. Kenny and C. M. Judd (2014), J. Exp. Psychol.
        Gen. 143(5), 2020-2045.
    """
    table = to_table(differences)
    if rate and ((table < 0) | (table > 1)).any():
        raise ValueError("a rate lies between 0 and 1, but the table holds other values")
    if len(table) == 1:
        return _one_run(table[0], bootstrap, rate)
    complete = complete_instructions(table)
    grand_mean, squares = mean_squares(complete)
    mean, error, df = (float(x) for x in (grand_mean, *squares.error()))
    n = complete.shape[1]
    return TwoWay(
        mean=mean,
        standard_error=error,
        ci95=rate_interval(mean, error, df, n) if rate else student(mean, error, df),
        n=n,
        missing=table.shape[1] - n,
        p_value=p_value(mean, error, df, n),
        df=df,
        seeds=len(complete),
        basis=CROSSED,
    )


def _one_run(values: Floats, bootstrap: bool, rate: bool) -> TwoWay:
    one = mean_interval(values, bootstrap=bootstrap)
    df, error = one.n - 1, one.standard_error or 0.0
    if rate and (not bootstrap or error < NO_SPREAD):
        one = replace(one, ci95=rate_interval(one.mean, error, df, one.n))
    p = p_value(one.mean, one.standard_error, df, one.n)
    return TwoWay(**vars(one), p_value=p, df=df, seeds=1, basis=ONE_RUN)


def over_seeds(
    means: Sequence[float], standard_errors: Sequence[float | None] | None = None
) -> Estimate:
    """Mean of one number per seed (KL, an accuracy), where no per-instruction values exist.

    The evaluation items are usually the same in every seed, so that their sampling error does not
    average out: ``Var = sd^2 / S + mean(se^2)``. Where they differ by seed this errs on the safe
    side. The t has Satterthwaite's degrees of freedom, the second term taken as known.

    Args:
        means: (S,) one a seed.
        standard_errors: (S,) within each seed; None where unknown.

    Returns:
        n counts seeds. With S = 1 the standard error is the seed's own, the interval normal; both
        None where it has none.

    Raises:
        ValueError: if there is no seed, or a mean is not finite.
    """
    values = np.asarray(means, dtype=np.float64)
    if not values.size or not np.isfinite(values).all():
        raise ValueError(f"means must be finite and at least one, are {list(means)}")
    known = [e for e in standard_errors or [] if e is not None]
    within = float(np.mean(np.square(known))) if known else 0.0
    mean, count = float(values.mean()), values.size
    if count == 1 and not known:
        return Estimate(mean, None, None, 1, 0)
    between = float(values.var(ddof=1)) / count if count > 1 else 0.0
    variance = between + within
    df = (count - 1) * (variance / between) ** 2 if between > 0 else math.inf
    error = math.sqrt(variance)
    return Estimate(mean, error, student(mean, error, df), count, 0)


def prediction_interval(
    means: Sequence[float], within: float | None = None, level: float = 0.95
) -> tuple[float, float] | None:
    """Where one new run's mean will lie: ``mean ± t_{S-1} sd sqrt(1 + 1/S)``.

    A few seeds may agree by chance, so the half-width is at least that of the evaluation's own
    sampling error, ``z within sqrt(1 + 1/S)``.

    Args:
        means: (S,) one a seed.
        within: typical standard error within a seed; None where unknown.
        level: coverage.

    Returns:
        None where one seed of unknown standard error says nothing of the spread.
    """
    values = np.asarray(means, dtype=np.float64)
    scale = math.sqrt(1 + 1 / values.size)
    if values.size == 1 and within is None:
        return None
    half = float(special.ndtri(0.5 + level / 2)) * (within or 0.0) * scale
    if values.size > 1:
        t = float(special.stdtrit(values.size - 1, 0.5 + level / 2))
        half = max(half, t * float(values.std(ddof=1)) * scale)
    mean = float(values.mean())
    return mean - half, mean + half
