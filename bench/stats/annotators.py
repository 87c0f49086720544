"""How far several annotators agree. Imported by itself: no stage's key depends on it."""

from collections.abc import Hashable, Sequence

import numpy as np

from bench.stats.intervals import BOOTSTRAP_SEED, RESAMPLES, Estimate, wilson


def krippendorff_alpha(
    units: Sequence[Sequence[Hashable]], clusters: Sequence[Hashable] | None = None
) -> Estimate:
    """Agreement beyond chance of any number of annotators, of whom each may lack anywhere.

    For categories without an order (nominal), with n_uc the annotators who put unit u into c, m_u
    all of unit u, n_c and n the sums over units with m_u >= 2:

        alpha = 1 - D_o / D_e,   D_o = sum_u sum_c n_uc (m_u - n_uc) / (m_u - 1),
        D_e = sum_c n_c (n - n_c) / (n - 1)

    The interval is a percentile bootstrap over clusters; a resample on which alpha is undefined is
    left out. Where all agree, which leaves nothing to resample, its lower end is alpha at Wilson's
    lower end of the agreement.

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
    rows = list(dict.fromkeys(label for _, label in paired))
    members = np.array([rows.index(label) for _, label in paired])
    summed = np.zeros((len(rows), len(kinds) + 1))
    np.add.at(summed, members, np.column_stack([counts, observed]))
    alpha = float(_alpha(summed.sum(axis=0)))
    drawn = np.random.default_rng(BOOTSTRAP_SEED).multinomial(
        len(rows), np.full(len(rows), 1 / len(rows)), size=RESAMPLES
    )
    resampled = _alpha(drawn @ summed)
    low, high = (float(x) for x in np.nanquantile(resampled, [0.025, 0.975]))
    if not observed.any():
        chance = _expected(counts.sum(axis=0)) / counts.sum()  # disagreement, a value
        low = 1 - (1 - wilson(1.0, len(rows))[0]) / float(chance)
    error = float(np.nanstd(resampled, ddof=1))
    return Estimate(alpha, error, (low, high), len(paired), len(units) - len(paired))


def _expected(totals: np.ndarray) -> np.ndarray:
    """D_e of (..., C) counts."""
    n = totals.sum(axis=-1, keepdims=True)
    return (totals * (n - totals)).sum(axis=-1) / (n[..., 0] - 1)


def _alpha(summed: np.ndarray) -> np.ndarray:
    """Alpha of (..., C + 1) counts and D_o; NaN where chance alone agrees."""
    expected = _expected(summed[..., :-1])
    ratio = np.full_like(expected, np.nan)
    return 1 - np.divide(summed[..., -1], expected, out=ratio, where=expected > 0)
