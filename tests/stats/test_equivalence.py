import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from bench.stats import paired_tost, residual, tost


def test_tost_by_hand():
    # (mean + margin) / se = 5, (mean - margin) / se = -1: p is the larger tail, beyond 1
    result = tost(0.02, 0.01, 0.03, df=10)
    assert result.p_value == pytest.approx(stats.t.sf(1, 10))
    half = stats.t.ppf(0.95, 10) * 0.01
    assert result.ci90 == pytest.approx((0.02 - half, 0.02 + half))
    assert not result.equivalent
    assert tost(0.0, 0.01, 0.03).p_value == pytest.approx(stats.norm.sf(3))


@settings(deadline=None)
@given(st.floats(-1, 1), st.floats(0.01, 1), st.floats(0.01, 1), st.floats(1, 50))
def test_equivalent_exactly_where_the_90_percent_interval_is_inside(mean, error, margin, df):
    result = tost(mean, error, margin, df=df)
    low, high = result.ci90
    if min(abs(low + margin), abs(high - margin)) > 1e-9:
        assert result.equivalent == (-margin < low and high < margin)


def test_paired_tost_is_scipys_two_one_sided_tests():
    rng = np.random.default_rng(0)
    a, b = rng.normal(0.02, 0.1, 50), rng.normal(0, 0.1, 50)
    lower = stats.ttest_rel(a + 0.05, b, alternative="greater").pvalue
    upper = stats.ttest_rel(a - 0.05, b, alternative="less").pvalue
    assert paired_tost(a, b, 0.05).p_value == pytest.approx(max(lower, upper))
    one_sample = stats.ttest_1samp(a, 0.01 - 0.05, alternative="greater").pvalue
    other = stats.ttest_1samp(a, 0.01 + 0.05, alternative="less").pvalue
    assert paired_tost(a, 0.01, 0.05).p_value == pytest.approx(max(one_sample, other))


def test_a_difference_at_the_margin_passes_one_time_in_twenty():
    rng = np.random.default_rng(0)
    sample = rng.normal(0.05, 0.2, (4000, 30))
    means, errors = sample.mean(axis=1), sample.std(axis=1, ddof=1) / math.sqrt(30)
    passed = [tost(m, e, 0.05, df=29).equivalent for m, e in zip(means, errors, strict=True)]
    assert np.mean(passed) <= 0.06


def test_without_spread_the_margin_alone_decides():
    equal = paired_tost([0.5, 0.1, None], [0.5, 0.1, 0.2], 0.01)
    assert (equal.mean, equal.p_value, equal.ci90) == (0, 0, (0, 0))
    assert tost(0.02, 0.0, 0.01).p_value == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((math.nan, 0.1, 0.1), "finite mean"),
        ((0.0, -0.1, 0.1), "standard error >= 0"),
        ((0.0, math.nan, 0.1), "standard error >= 0"),
        ((0.0, 0.1, 0.0), "margin > 0"),
    ],
)
def test_tost_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        tost(*arguments)


def test_degrees_of_freedom_are_positive():
    with pytest.raises(ValueError, match="above 0, not 0"):
        tost(0.0, 0.1, 0.1, df=0)


def test_one_pair_is_too_few():
    with pytest.raises(ValueError, match="at least two"):
        paired_tost([1.0, None], [1.0, 2.0], 0.1)


def test_residual_by_hand():
    # differences -1, 3, 1 (one pair incomplete): mean 1, sd 2
    result = residual([0, 5, None, 3], [1, 2, 3, 2])
    assert (result.max_absolute, result.mean_absolute, result.mean) == pytest.approx((3, 5 / 3, 1))
    assert (result.n, result.missing) == (3, 1)
    theirs = stats.ttest_1samp([-1, 3, 1], 0).confidence_interval()
    assert result.ci95 == pytest.approx((theirs.low, theirs.high))


def test_equal_curves_leave_no_residual():
    result = residual([0.1, 0.2], [0.1, 0.2])
    assert (result.max_absolute, result.mean_absolute, result.mean) == (0, 0, 0)


def test_residual_needs_equal_lengths():
    with pytest.raises(ValueError, match="shape"):
        residual([1, 2], [1, 2, 3])
