"""Several training runs: seeds x instructions, means over seeds, and what a new run may bring."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from bench.stats.intervals import Estimate, Floats, mean_interval, p_value, to_floats

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


def two_way(differences: ArrayLike, *, bootstrap: bool = True) -> TwoWay:
    """Grand mean of a seeds x instructions table under crossed random effects.

    ``d_si = mu + seed_s + prompt_i + e_si``; with the mean squares of the two-way table, ::

        Var(mean) = (MS_seed + MS_prompt - MS_resid) / (S N)
        df = (sum_k c_k MS_k)^2 / sum_k (c_k MS_k)^2 / df_k        (Satterthwaite)

    A variance component estimated below 0 is taken as 0, so that ::

        S N Var(mean) = MS_resid + max(0, MS_seed - MS_resid) + max(0, MS_prompt - MS_resid)

    which is never below MS_seed, MS_prompt, MS_resid or their combination above. The degrees of
    freedom always count all three mean squares: dropping one with its component would be bold
    exactly when few seeds happen to agree.

    Args:
        differences: (S, N) values, or differences of two methods, same instructions in each row;
            an instruction that is NaN in any seed is left out of all, and counted as missing.
        bootstrap: False spares the BCa interval of S = 1 (t takes its place), for many p-values.

    Returns:
        With S = 1: BCa interval and t over instructions, labelled `ONE_RUN`.

    Raises:
        ValueError: if the shape is not (S, N), fewer than two instructions are complete where
            S > 1, or none where S = 1.

    References:
        F. E. Satterthwaite (1946), Biometrics Bulletin 2(6), 110-114; crossed raters and items:
        J. Westfall, D. A. Kenny and C. M. Judd (2014), J. Exp. Psychol. Gen. 143(5), 2020-2045.
    """
    table = to_floats(differences)
    if table.ndim != 2 or not table.size:
        raise ValueError(f"differences must be (seeds, instructions), have shape {table.shape}")
    if len(table) == 1:
        one = mean_interval(table[0], bootstrap=bootstrap)
        p = p_value(one.mean, one.standard_error, one.n - 1, one.n)
        return TwoWay(**vars(one), p_value=p, df=one.n - 1, seeds=1, basis=ONE_RUN)
    complete = table[:, ~np.isnan(table).any(axis=0)]
    missing = table.shape[1] - complete.shape[1]
    if complete.shape[1] < 2:
        raise ValueError(f"only {complete.shape[1]} instructions are there in every seed")
    mean, error, df = _crossed(complete)
    half = float(stats.t.ppf(0.975, df)) * error
    seeds, n = complete.shape
    return TwoWay(
        mean=mean,
        standard_error=error,
        ci95=(mean - half, mean + half),
        n=n,
        missing=missing,
        p_value=p_value(mean, error, df, n),
        df=df,
        seeds=seeds,
        basis=CROSSED,
    )


def _crossed(table: Floats) -> tuple[float, float, float]:
    """(mean, standard error, degrees of freedom) of a complete (S, N) table, S and N >= 2."""
    seeds, n = table.shape
    mean = float(table.mean())
    by_seed, by_prompt = table.mean(axis=1) - mean, table.mean(axis=0) - mean
    residual = table - mean - by_seed[:, None] - by_prompt[None, :]
    df = np.array([seeds - 1, n - 1, (seeds - 1) * (n - 1)], dtype=np.float64)
    squares = np.array([n * (by_seed**2).sum(), seeds * (by_prompt**2).sum(), (residual**2).sum()])
    ms_seed, ms_prompt, ms_resid = (float(x) for x in squares / df)
    total = ms_resid + max(0.0, ms_seed - ms_resid) + max(0.0, ms_prompt - ms_resid)
    spread = float(((squares / df) ** 2 / df).sum())
    freedom = total**2 / spread if spread > 0 else 0.0
    freedom = min(max(freedom, float(df.min())), float(df.max()))
    return mean, math.sqrt(total / (seeds * n)), freedom


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
    half = float(stats.t.ppf(0.975, df)) * math.sqrt(variance)
    return Estimate(mean, math.sqrt(variance), (mean - half, mean + half), count, 0)


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
    half = float(stats.norm.ppf(0.5 + level / 2)) * (within or 0.0) * scale
    if values.size > 1:
        t = float(stats.t.ppf(0.5 + level / 2, values.size - 1))
        half = max(half, t * float(values.std(ddof=1)) * scale)
    mean = float(values.mean())
    return mean - half, mean + half
