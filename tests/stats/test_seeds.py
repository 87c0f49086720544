import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from bench.stats import (
    CROSSED,
    ONE_RUN,
    mean_interval,
    over_seeds,
    paired_difference,
    prediction_interval,
    two_way,
)
from bench.stats.intervals import wilson


def test_two_way_by_hand():
    """Rows 0 1 2 / 2 3 7: mean 2.5; row means 1, 4; column means 1, 2, 4.5.

    SS_seed = 3 * 2 * 1.5^2 = 13.5 (df 1); SS_prompt = 2 (2.25 + .25 + 4) = 13 (df 2); SS_total =
    67 - 37.5 = 29.5, so SS_resid = 3 (df 2): MS 13.5, 6.5, 1.5.
    Var = (13.5 + 6.5 - 1.5) / 6 = 18.5 / 6; df = 18.5^2 / (13.5^2 + 6.5^2/2 + 1.5^2/2).
    """
    result = two_way([[0, 1, 2], [2, 3, 7]])
    df = 18.5**2 / (13.5**2 + 6.5**2 / 2 + 1.5**2 / 2)
    assert result.mean == 2.5
    assert result.standard_error == pytest.approx(math.sqrt(18.5 / 6))
    assert result.df == pytest.approx(df)
    half = stats.t.ppf(0.975, df) * math.sqrt(18.5 / 6)
    assert result.ci95 == pytest.approx((2.5 - half, 2.5 + half))
    assert result.p_value == pytest.approx(2 * stats.t.sf(2.5 / math.sqrt(18.5 / 6), df))
    assert (result.seeds, result.n, result.missing, result.basis) == (2, 3, 0, CROSSED)


def test_a_negative_component_is_taken_as_zero():
    """Seeds with equal means: MS_seed = 0 < MS_resid, so that the prompts' mean square stands.

    Rows 0 1 5 / 1 2 3: both means 2; columns .5, 1.5, 4: SS_prompt = 2 (2.25 + .25 + 4) = 13.
    """
    result = two_way([[0, 1, 5], [1, 2, 3]])
    assert result.standard_error == pytest.approx(math.sqrt(13 / 2 / 6))


def test_equal_seeds_are_worth_one():
    row = np.random.default_rng(0).normal(size=50)
    result = two_way(np.stack([row] * 4))
    assert result.standard_error == pytest.approx(row.std(ddof=1) / math.sqrt(50))


def test_one_seed_falls_back_to_prompts_and_says_so():
    row = np.random.default_rng(0).normal(size=50)
    result, plain = two_way([row]), paired_difference(row, np.zeros(50))
    assert (result.basis, result.seeds, result.df) == (ONE_RUN, 1, 49)
    assert (result.ci95, result.p_value) == (plain.ci95, plain.p_value)


def test_an_instruction_missing_in_one_seed_is_left_out_of_all():
    table = [[0.0, 1.0, 2.0, None], [2.0, 3.0, 7.0, 9.0]]
    result = two_way(table)
    assert (result.mean, result.n, result.missing) == (2.5, 3, 1)


@pytest.mark.parametrize("table", [[1, 2], [[None, 1], [1, 1]], [[1], [2]], [[None]], [[]]])
def test_too_little_is_refused(table):
    with pytest.raises(ValueError, match=r"instructions|no value is left"):
        two_way(table)


def test_no_difference_anywhere():
    result = two_way(np.zeros((3, 4)))
    assert (result.mean, result.standard_error, result.p_value) == (0, 0, 1)


@settings(deadline=None)
@given(
    st.integers(2, 4).flatmap(
        lambda n: st.lists(
            st.lists(st.floats(-5, 5).map(lambda x: round(x, 3)), min_size=n, max_size=n),
            min_size=2,
            max_size=4,
        )
    )
)
def test_two_way_turns_with_the_sign_and_ignores_order(rows):
    table = np.array(rows)
    a, b = two_way(table), two_way(-table[::-1, ::-1])
    assert a.mean == pytest.approx(-b.mean, abs=1e-9)
    assert a.standard_error == pytest.approx(b.standard_error, abs=1e-9)
    degrees = (len(table) - 1, table.shape[1] - 1)
    assert min(degrees) <= a.df <= max(*degrees, degrees[0] * degrees[1])


def test_a_rate_stays_within_0_and_1():
    """Two seeds that disagree: t has about one degree of freedom, 12.7 standard errors wide."""
    table = np.array([[1.0] * 18 + [0.0] * 2, [1.0] * 8 + [0.0] * 12])
    plain, rate = two_way(table), two_way(table, rate=True)
    assert plain.ci95[1] > 1
    assert (rate.mean, rate.standard_error, rate.df) == (
        plain.mean,
        plain.standard_error,
        plain.df,
    )
    half = stats.t.ppf(0.975, rate.df) * rate.standard_error / (0.65 * 0.35)
    centre = math.log(0.65 / 0.35)
    by_hand = [1 / (1 + math.exp(-centre + sign * half)) for sign in (1, -1)]
    assert rate.ci95 == pytest.approx(by_hand)


def test_in_the_middle_the_rate_interval_is_students():
    table = np.random.default_rng(0).choice([0.0, 0.5, 1.0], size=(5, 805))
    plain, rate = two_way(table), two_way(table, rate=True)
    assert rate.ci95 == pytest.approx(plain.ci95, abs=0.001)


@pytest.mark.parametrize("seeds", [1, 3])
@pytest.mark.parametrize("value", [0.0, 0.5, 1.0, 0.1])
def test_equal_rates_claim_no_certainty(seeds, value):
    result = two_way(np.full((seeds, 20), value), rate=True)
    assert result.ci95 == pytest.approx(wilson(value, 20))


def test_one_run_without_bootstrap_keeps_the_rate_inside():
    table = [[1.0] * 19 + [0.0]]
    assert two_way(table, bootstrap=False).ci95[1] > 1
    assert two_way(table, bootstrap=False, rate=True).ci95[1] < 1
    assert two_way(table, rate=True).ci95 == mean_interval(table[0]).ci95


def test_what_is_no_rate_is_refused():
    with pytest.raises(ValueError, match="between 0 and 1"):
        two_way([[0.0, 1.0], [0.5, -0.5]], rate=True)


def test_over_seeds_by_hand():
    # sd of 1, 2, 3 is 1: 1/3 between; .09 and .16 within: mean .125
    result = over_seeds([1, 2, 3], [0.3, 0.4, None])
    variance = 1 / 3 + 0.125
    assert result.mean == 2
    assert result.standard_error == pytest.approx(math.sqrt(variance))
    half = stats.t.ppf(0.975, 2 * (variance * 3) ** 2) * math.sqrt(variance)
    assert result.ci95 == pytest.approx((2 - half, 2 + half))
    assert result.n == 3


def test_over_seeds_without_errors_is_students_t():
    theirs = stats.ttest_1samp([1.0, 2.0, 4.0], 0).confidence_interval()
    assert over_seeds([1, 2, 4]).ci95 == pytest.approx((theirs.low, theirs.high))


def test_over_one_seed():
    assert over_seeds([1.0]).standard_error is None
    known = over_seeds([1.0], [0.1])
    assert known.standard_error == pytest.approx(0.1)
    assert known.ci95 == pytest.approx((1 - 0.196, 1 + 0.196), abs=1e-4)


@pytest.mark.parametrize("means", [[], [1.0, math.nan]])
def test_over_seeds_refuses(means):
    with pytest.raises(ValueError, match="finite"):
        over_seeds(means)


def test_prediction_interval_by_hand():
    # 1, 2, 3: t_2 * 1 * sqrt(4/3)
    half = stats.t.ppf(0.975, 2) * math.sqrt(4 / 3)
    assert prediction_interval([1, 2, 3]) == pytest.approx((2 - half, 2 + half))
    floor = stats.norm.ppf(0.975) * 0.5 * math.sqrt(4 / 3)
    assert prediction_interval([2, 2, 2], 0.5) == pytest.approx((2 - floor, 2 + floor))
    assert prediction_interval([2.0]) is None


def test_prediction_interval_covers_a_new_run():
    rng = np.random.default_rng(0)
    inside = 0
    for _ in range(2000):
        *seeds, new = rng.normal(size=6)
        low, high = prediction_interval(seeds)
        inside += low <= new <= high
    assert 0.93 <= inside / 2000 <= 0.97
