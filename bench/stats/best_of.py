"""The best of n, from more than n draws. Imported by itself, so that no stage's key depends on it.

Legend: P prompts, N draws for each.
"""

import math

import numpy as np

from bench.stats.intervals import Floats


def expected_best(chosen_by: Floats, values: Floats, n: int) -> Floats:
    """(P,) the value of the best of n draws, over all sets of n of the N draws of a prompt.

    With the draws of a prompt in ascending order of what chooses, that of rank i is the best of

        C(i - 1, n - 1)

    of the C(N, n) sets, and the expectation weighs its value so: no draw is left out, and n draws
    need not be repeated. Among draws that what chooses cannot tell apart each is as likely, so that
    they count with their mean value.

    Args:
        chosen_by: (P, N) scores of what chooses, finite.
        values: (P, N) what the chosen one is worth.
        n: from 1 to N.

    Raises:
        ValueError: the shapes differ, n is out of range, or a score is not finite.

    References: the unbiased estimator of arXiv:2112.09332.
    """
    if chosen_by.shape != values.shape or chosen_by.ndim != 2:
        raise ValueError(f"scores have shape {chosen_by.shape}, but values {values.shape}")
    draws = chosen_by.shape[1]
    if not 1 <= n <= draws:
        raise ValueError(f"the best of {n} of {draws} draws: n must be from 1 to {draws}")
    if not np.isfinite(chosen_by).all():
        raise ValueError("a score is not finite")
    weights = np.array([math.comb(i, n - 1) for i in range(draws)], dtype=float)
    weights /= math.comb(draws, n)
    found = np.empty(len(values))
    for i, (scores, worth) in enumerate(zip(chosen_by, values, strict=True)):
        _, place, counts = np.unique(scores, return_inverse=True, return_counts=True)
        shared = np.bincount(place, weights=worth) / counts
        found[i] = float(weights @ shared[np.sort(place)])
    return found
