"""Is it still the same? Two one-sided tests against a margin, and residuals of two vectors.

"Not significantly different" is no evidence of equality. Here the burden is turned: the null
hypothesis is a difference of at least the margin.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy import special

from bench.stats.intervals import (
    Estimate,
    Interval,
    Values,
    differences,
    mean_interval,
    student,
)


@dataclass(frozen=True)
class Equivalence:
    """Two one-sided tests (TOST) of "the mean lies within ± margin".

    Attributes:
        mean: the difference found.
        margin: largest difference that counts as none.
        p_value: the larger of the two one-sided p; at most .05 exactly where ci90 is inside the
            margin.
        ci90: 90 % interval of the difference.
    """

    mean: float
    margin: float
    p_value: float
    ci90: Interval

    @property
    def equivalent(self) -> bool:
        """At 5 %."""
        return self.p_value <= 0.05


def tost(mean: float, standard_error: float, margin: float, *, df: float = math.inf) -> Equivalence:
    """Test whether a mean difference lies within ± margin.

    ``p = max(P(T > (mean + margin) / se), P(T < (mean - margin) / se))``, T of Student. Without
    spread (a rerun equal to the bit) p is 0 inside the margin and 1 outside.

    Args:
        mean: of the difference to the baseline.
        standard_error: of the mean; from `two_way`, `paired_difference`, ...
        margin: above 0, in the unit of the mean.
        df: degrees of freedom of its t.

    Raises:
        ValueError: if a number is not finite, the error negative, or the margin or df not
            positive.

    References: D. J. Schuirmann (1987), J. Pharmacokinet. Biopharm. 15(6), 657-680.
    """
    if not (math.isfinite(mean) and 0 <= standard_error < math.inf and 0 < margin < math.inf):
        raise ValueError(
            "TOST needs a finite mean, a standard error >= 0 and a margin > 0, not "
            f"{mean}, {standard_error} and {margin}"
        )
    if not df > 0:
        raise ValueError(f"degrees of freedom are above 0, not {df}")
    if standard_error == 0:
        return Equivalence(mean, margin, float(abs(mean) >= margin), (mean, mean))
    p = float(special.stdtr(df, (abs(mean) - margin) / standard_error))
    return Equivalence(mean, margin, p, student(mean, standard_error, df, level=0.9))


def paired_tost(a: Values, b: Values | float, margin: float) -> Equivalence:
    """`tost` of mean(a - b) over the instructions where both are there.

    Args:
        a: (N,) per-instruction values.
        b: (N,) those of the baseline, or one number for all (the one-sample test).
        margin: above 0.

    Raises:
        ValueError: if the lengths differ, fewer than two instructions have both, or the margin is
            not positive.
    """
    estimate = mean_interval(differences(a, b), bootstrap=False)
    if estimate.standard_error is None:
        raise ValueError("equivalence needs at least two values, but one is there")
    return tost(estimate.mean, estimate.standard_error, margin, df=estimate.n - 1)


@dataclass(frozen=True)
class Residual(Estimate):
    """An `Estimate` of mean(a - b), signed, with how far single values lie apart.

    Attributes:
        max_absolute: of |a - b|.
        mean_absolute: of |a - b|.
    """

    max_absolute: float
    mean_absolute: float


def residual(a: Values, b: Values) -> Residual:
    """How far two curves, or the values of the same items, lie apart.

    A curve's steps are not independent: for one, the interval (Student's t) is a description.

    Args:
        a: (N,) values, None or NaN where missing.
        b: (N,) the same steps or items of the baseline.

    Raises:
        ValueError: if the lengths differ, or nothing is there in both.
    """
    signed = differences(a, b)
    estimate = mean_interval(signed, bootstrap=False)
    apart = np.abs(signed[~np.isnan(signed)])
    return Residual(
        **vars(estimate), max_absolute=float(apart.max()), mean_absolute=float(apart.mean())
    )
