import gzip
import json
import logging
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from bench.stats import mean_interval, paired_difference, win_rate
from bench.stats.intervals import wilson

DATA = Path(__file__).parents[2].parent / "shared" / "data" / "alpaca_eval"
PUBLISHED = {
    "alpaca-7b": (26.459627, 1.535711, 205, 584, 16, 805),
    "text_davinci_001": (15.174129, 1.235108, 112, 672, 20, 804),
}


def _preferences(name: str) -> list[float | None]:
    path = DATA / f"{name}__alpaca_eval_gpt4.json.gz"
    if not path.exists():
        pytest.skip(f"{path} is not there: public data kept outside the repository")
    return [row["preference"] for row in json.loads(gzip.decompress(path.read_bytes()))]


def test_win_rate_by_hand():
    # scores 1, 1, 0, .5, .5: mean 3/5; squares about it .16 .16 .36 .01 .01 = .70
    result = win_rate([2, 2, 1, 1.5, 0, None, float("nan")])
    assert result.mean == pytest.approx(0.6)
    assert result.standard_error == pytest.approx(math.sqrt(0.70 / 4 / 5))
    assert (result.wins, result.losses, result.ties) == (2, 1, 2)
    assert (result.n, result.missing) == (5, 2)
    low, high = result.ci95
    assert 0 <= low < 0.6 < high <= 1


@pytest.mark.parametrize("name", PUBLISHED)
def test_win_rate_reproduces_the_published_annotations(name):
    rate, error, wins, losses, ties, n = PUBLISHED[name]
    result = win_rate(_preferences(name))
    assert 100 * result.mean == pytest.approx(rate, abs=1e-6)
    assert 100 * result.standard_error == pytest.approx(error, abs=1e-6)
    assert (result.wins, result.losses, result.ties, result.n) == (wins, losses, ties, n)
    assert result.missing == 805 - n


@pytest.fixture
def get_winrate():
    """AlpacaEval's own; importing it sets the root logger to INFO."""
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)
    try:
        yield pytest.importorskip("alpaca_eval.metrics").get_winrate
    finally:
        root.setLevel(level)
        root.handlers[:] = handlers


def _assert_equals_alpaca_eval(preferences, get_winrate):
    theirs = get_winrate([{"preference": p} for p in preferences])
    ours = win_rate(preferences)
    assert 100 * ours.mean == pytest.approx(theirs["win_rate"], abs=1e-9)
    assert 100 * ours.standard_error == pytest.approx(theirs["standard_error"], abs=1e-9)
    counts = theirs["n_wins"], theirs["n_wins_base"], theirs["n_draws"], theirs["n_total"]
    assert (ours.wins, ours.losses, ours.ties, ours.n) == counts


def test_win_rate_equals_alpaca_eval_on_the_published_annotations(get_winrate):
    present = [p for p in _preferences("alpaca-7b") if p is not None]
    _assert_equals_alpaca_eval(present, get_winrate)


@pytest.mark.parametrize("seed", range(5))
def test_win_rate_equals_alpaca_eval_on_random_verdicts(seed, get_winrate):
    rng = np.random.default_rng(seed)
    chances = rng.dirichlet(np.ones(4))
    verdicts = rng.choice([0.0, 1.0, 1.5, 2.0], size=rng.integers(2, 900), p=chances)
    _assert_equals_alpaca_eval(verdicts.tolist(), get_winrate)


def test_the_interval_of_a_win_rate_is_scipys_bca():
    verdicts = np.random.default_rng(0).choice([1, 1.5, 2], size=805, p=[0.7, 0.1, 0.2])
    theirs = stats.bootstrap((verdicts - 1,), np.mean, rng=np.random.default_rng(1), batch=1000)
    assert win_rate(verdicts).ci95 == pytest.approx(theirs.confidence_interval, abs=0.002)


def test_a_mean_of_both_orders_counts_by_its_side():
    result = win_rate([1.25, 1.75, 1.5])
    assert (result.wins, result.losses, result.ties) == (1, 1, 1)
    assert result.mean == pytest.approx(0.5)


@pytest.mark.parametrize("preference", [3, -1, 0.5])
def test_a_value_that_is_no_preference_is_refused(preference):
    with pytest.raises(ValueError, match="preference is 0 or lies between 1 and 2"):
        win_rate([1, preference])


@pytest.mark.parametrize("values", [[], [None, float("nan")]])
def test_nothing_left_is_refused(values):
    with pytest.raises(ValueError, match="no value is left"):
        win_rate(values)
    with pytest.raises(ValueError, match="no value is left"):
        mean_interval(values)


@pytest.mark.parametrize(("preference", "mean"), [(2, 1.0), (1, 0.0), (1.5, 0.5)])
def test_equal_verdicts_claim_no_certainty(preference, mean):
    result = win_rate([preference] * 20)
    assert result.mean == mean
    assert result.standard_error == 0
    assert result.ci95 == wilson(mean, 20)
    assert result.ci95[1] - result.ci95[0] > 0.1


def test_mean_of_equal_values_and_of_one():
    equal, one = mean_interval([3.0, 3.0, None]), mean_interval([3.0])
    assert (equal.ci95, equal.standard_error, equal.missing) == ((3.0, 3.0), 0.0, 1)
    assert (one.mean, one.standard_error, one.ci95) == (3.0, None, None)


def test_infinite_is_refused():
    with pytest.raises(ValueError, match="value 1 is infinite"):
        mean_interval([1.0, math.inf])


def test_mean_interval_is_scipys_bca():
    values = np.random.default_rng(0).exponential(size=200)
    other = stats.bootstrap((values,), np.mean, method="BCa", rng=np.random.default_rng(1))
    low, high = mean_interval(values).ci95
    width = high - low
    assert low == pytest.approx(other.confidence_interval.low, abs=0.03 * width)
    assert high == pytest.approx(other.confidence_interval.high, abs=0.03 * width)
    assert high - values.mean() > values.mean() - low  # skewed to the right, unlike t
    assert mean_interval(values) == mean_interval(values)


def test_without_bootstrap_it_is_students_t():
    values = [1.0, 2.0, 4.0, 7.0]
    theirs = stats.ttest_1samp(values, 0).confidence_interval()
    assert mean_interval(values, bootstrap=False).ci95 == pytest.approx((theirs.low, theirs.high))


def test_two_values_still_give_a_finite_interval():
    low, high = mean_interval([0.0, 1.0]).ci95
    assert math.isfinite(low)
    assert math.isfinite(high)


def test_wilson_is_scipys():
    theirs = stats.binomtest(7, 20).proportion_ci(method="wilson")
    assert wilson(7 / 20, 20) == pytest.approx((theirs.low, theirs.high))


def test_paired_difference_by_hand():
    # differences 1, 2, 3 (one pair incomplete): mean 2, sd 1
    result = paired_difference([2, 4, 6, None], [1, 2, 3, 4])
    assert result.mean == 2
    assert result.standard_error == pytest.approx(1 / math.sqrt(3))
    assert result.p_value == pytest.approx(stats.ttest_1samp([1, 2, 3], 0).pvalue)
    assert (result.n, result.missing) == (3, 1)


def _assert_equals_scipy(a, b):
    result = paired_difference(a, b)
    both = ~(np.isnan(a) | np.isnan(b))
    theirs = stats.bootstrap(
        (a[both], b[both]),
        lambda x, y, axis: x.mean(axis) - y.mean(axis),
        paired=True,
        batch=1000,
        rng=np.random.default_rng(5),
    )
    width = theirs.confidence_interval.high - theirs.confidence_interval.low
    assert result.n == both.sum()
    assert result.mean == pytest.approx(a[both].mean() - b[both].mean())
    assert result.ci95 == pytest.approx(theirs.confidence_interval, abs=0.03 * width)
    t = stats.ttest_rel(a, b, nan_policy="omit")
    assert result.p_value == pytest.approx(t.pvalue, rel=1e-9)
    assert result.mean / result.standard_error == pytest.approx(t.statistic)
    return result


def test_paired_difference_equals_scipys_on_published_annotations():
    first, second = (
        np.array([np.nan if p is None else 0.5 if p in (0, 1.5) else p - 1 for p in preferences])
        for preferences in map(_preferences, PUBLISHED)
    )
    result = _assert_equals_scipy(first, second)
    assert result.n == 804
    assert result.p_value < 1e-10


def test_paired_difference_equals_scipys_on_random_values():
    rng = np.random.default_rng(0)
    shared = rng.normal(size=300)
    a, b = shared + rng.exponential(size=300), shared + rng.exponential(1.1, size=300)
    a[:3] = b[2:5] = np.nan
    assert _assert_equals_scipy(a, b).missing == 5


def test_paired_difference_without_spread():
    assert paired_difference([1, 1], [1, 1]).p_value == 1
    assert paired_difference([1.0] * 5, [0.0] * 5).p_value == pytest.approx(2**-4)
    assert paired_difference([1.0], [0.0]).p_value == 1


def test_a_spread_that_is_rounding_is_none():
    """.4 - .3, .6 - .5 and .9 - .8 differ in the last bits."""
    found = paired_difference([0.4, 0.6, 0.9], [0.3, 0.5, 0.8])
    assert found.standard_error > 0
    assert found.p_value == 0.25
    assert paired_difference([0.1 + 0.2] * 3, [0.3] * 3).p_value == 1


def test_paired_difference_needs_equal_lengths():
    with pytest.raises(ValueError, match=r"a has shape \(2,\), but b has shape \(3,\)"):
        paired_difference([1, 2], [1, 2, 3])


VERDICT = st.sampled_from([0, 1, 1.5, 2, None])


@settings(deadline=None)
@given(st.lists(VERDICT, min_size=2, max_size=12).filter(lambda v: any(p is not None for p in v)))
def test_swapping_sides_mirrors_the_win_rate(preferences):
    swapped = [p if p in (0, None) else 3 - p for p in preferences]
    ours, theirs = win_rate(preferences), win_rate(swapped)
    assert ours.mean == pytest.approx(1 - theirs.mean)
    assert (ours.wins, ours.ties) == (theirs.losses, theirs.ties)
    assert ours.wins + ours.losses + ours.ties == ours.n
    assert ours.n + ours.missing == len(preferences)
