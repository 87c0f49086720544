"""Crossed bootstrap of many methods at once: seeds and instructions are resampled together.

Every method is weighed by the same draw, so differences between them are paired. It is there for
plots and for what is no mean; the headline interval is `two_way`'s.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bench.stats.intervals import BOOTSTRAP_SEED, RESAMPLES, Floats

_CHUNK_DRAWS = 1_000_000  # instructions drawn at once: about 20 MB


def crossed_bootstrap(
    values: ArrayLike, *, resamples: int = RESAMPLES, seed: int = BOOTSTRAP_SEED
) -> Floats:
    """Resampled means of M methods; columns i and j of one row make a paired difference.

    Seeds and instructions are drawn with replacement, independently of each other; a value counts
    as often as its seed was drawn times as often as its instruction was. The spread contains that
    of the residual about three times, so that it errs on the wide side with few seeds.

    Args:
        values: (M, S, N), NaN where missing. As in `two_way`, an instruction that lacks in one of
            a method's seeds is left out of that method; a seed that lacks as a whole is one which
            the method was not run with.
        resamples: R.
        seed: of the draws.

    Returns:
        (R, M); NaN where a draw holds nothing of the method.

    Raises:
        ValueError: if the shape is not (M, S, N), a method has no complete instruction, or there
            is to be no resample.

    References:
        A. B. Owen (2007), The pigeonhole bootstrap, Ann. Appl. Stat. 1(2), 386-411.
    """
    table = np.asarray(values, dtype=np.float64)
    if table.ndim != 3 or not table.size:
        raise ValueError(f"values must be (methods, seeds, instructions), have shape {table.shape}")
    if resamples < 1:
        raise ValueError(f"at least one resample is needed, not {resamples}")
    _, seeds, instructions = table.shape
    rng = np.random.default_rng(seed)
    chunk = max(1, _CHUNK_DRAWS // instructions)
    sizes = [min(chunk, resamples - start) for start in range(0, resamples, chunk)]
    means = [
        resampled_means(table, _counts(rng, size, seeds), _counts(rng, size, instructions))
        for size in sizes
    ]
    return np.concatenate(means)


def _counts(rng: np.random.Generator, resamples: int, n: int) -> Floats:
    """(resamples, n): how often each of n was drawn in n draws with replacement."""
    drawn = rng.integers(n, size=(resamples, n)) + n * np.arange(resamples)[:, None]
    return np.bincount(drawn.ravel(), minlength=resamples * n).reshape(resamples, n).astype(float)


def resampled_means(table: Floats, seed_counts: Floats, instruction_counts: Floats) -> Floats:
    """Means (R, M) of a (M, S, N) table under counts (R, S) and (R, N)."""
    methods, seeds, instructions = table.shape
    missing = np.isnan(table)
    run = ~np.all(missing, axis=2)  # (M, S)
    complete = ~np.any(missing & run[..., None], axis=1)  # (M, N)
    if not (run.any(axis=1) & complete.any(axis=1)).all():
        raise ValueError("a method has no instruction that is there in each of its seeds")
    kept = np.where(run[..., None] & complete[:, None], table, 0.0)
    by_seed = instruction_counts @ kept.reshape(methods * seeds, instructions).T
    totals = (by_seed.reshape(-1, methods, seeds) * seed_counts[:, None]).sum(axis=2)
    weights = (seed_counts @ run.T) * (instruction_counts @ complete.T)
    return np.divide(totals, weights, out=np.full_like(totals, np.nan), where=weights > 0)


def cluster_draws(
    clusters: Sequence[int], *, resamples: int = RESAMPLES, seed: int = BOOTSTRAP_SEED
) -> list[NDArray[np.intp]]:
    """Resamples of observations whose clusters are drawn with replacement, each as a whole.

    Args:
        clusters: (N,) to which each observation belongs.
        resamples: R.
        seed: of the draws.

    Returns:
        R arrays of indices into the observations, of unlike lengths where the clusters are.

    References:
        A. C. Davison, D. V. Hinkley (1997), Bootstrap Methods and their Application, Section 3.8.
    """
    of = np.asarray(clusters)
    members = [np.flatnonzero(of == one) for one in np.unique(of)]
    rng = np.random.default_rng(seed)
    drawn = rng.integers(len(members), size=(resamples, len(members)))
    return [np.concatenate([members[i] for i in row]) for row in drawn]


def percentile_interval(samples: Floats, level: float = 0.95) -> tuple[Floats, Floats]:
    """Lower and upper quantile over the first axis, NaN left out.

    For all pairs of methods at once: ``percentile_interval(means[:, :, None] - means[:, None])``.
    """
    low, high = np.nanquantile(samples, [0.5 - level / 2, 0.5 + level / 2], axis=0)
    return low, high
