import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from bench.stats import holm, minimum_detectable_effect, rank_groups


def test_holm_by_hand():
    # .01 * 3, .02 * 2, .03 * 1 -> .03, .04, max(.04, .03)
    assert holm([0.03, 0.01, 0.02]) == pytest.approx([0.04, 0.03, 0.04])
    assert holm([0.9, 0.6]) == [1.0, 1.0]
    assert holm([]) == []


@pytest.mark.parametrize("p", [math.nan, -0.1, 1.1])
def test_holm_refuses(p):
    with pytest.raises(ValueError, match="between 0 and 1"):
        holm([0.5, p])


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_lies_between_raw_and_bonferroni_and_keeps_the_order(p_values):
    adjusted = holm(p_values)
    for raw, new in zip(p_values, adjusted, strict=True):
        assert raw <= new <= 1
    assert min(adjusted) == pytest.approx(min(1, len(p_values) * min(p_values)))
    order = np.argsort(p_values, kind="stable")
    assert (np.diff(np.array(adjusted)[order]) >= 0).all()


def test_rank_groups_by_hand():
    means = {"a": 0.9, "b": 0.85, "c": 0.5, "d": 0.49}
    clear = dict.fromkeys([("a", "c"), ("a", "d"), ("b", "c"), ("d", "b")], 0.0001)
    ties = dict.fromkeys([("a", "b"), ("c", "d")], 0.8)
    assert rank_groups(means, clear | ties) == {"a": 1, "b": 1, "c": 2, "d": 2}
    assert rank_groups({"a": 1.0}, {}) == {"a": 1}
    assert rank_groups({}, {}) == {}


def test_one_that_ties_with_both_neighbours_stays_above():
    p_values = {("a", "b"): 0.5, ("b", "c"): 0.5, ("a", "c"): 0.001}
    assert rank_groups({"a": 3.0, "b": 2.0, "c": 1.0}, p_values) == {"a": 1, "b": 1, "c": 2}


def test_a_pair_that_was_not_compared_is_no_tie():
    assert rank_groups({"a": 2.0, "b": 1.0}, {}) == {}
    means = {"a": 4.0, "b": 3.0, "c": 2.0, "odd": 1.0}
    p_values = {("a", "b"): 0.5, ("a", "c"): 0.001, ("c", "b"): 0.001, ("c", "odd"): 0.9}
    assert rank_groups(means, p_values) == {"a": 1, "b": 1, "c": 2}


def test_holm_is_applied():
    """.03 alone separates; as one of three it does not."""
    assert rank_groups({"a": 2.0, "b": 1.0}, {("a", "b"): 0.03}) == {"a": 1, "b": 2}
    p_values = {("a", "b"): 0.03, ("a", "c"): 0.5, ("b", "c"): 0.5}
    assert set(rank_groups({"a": 2.0, "b": 1.0, "c": 0.5}, p_values).values()) == {1}


@settings(deadline=None)
@given(st.data())
def test_what_differs_is_never_in_one_group(data):
    names = "abcdef"[: data.draw(st.integers(2, 6))]
    means = {name: data.draw(st.floats(0, 1)) for name in names}
    p_values = {pair: data.draw(st.sampled_from([0.0, 0.9])) for pair in combinations(names, 2)}
    groups = rank_groups(means, p_values)
    for (a, b), p in p_values.items():
        assert p > 0 or groups[a] != groups[b]
        assert means[a] <= means[b] or groups[a] <= groups[b]
    assert sorted(set(groups.values())) == list(range(1, max(groups.values()) + 1))


def test_minimum_detectable_effect():
    # (1.959964 + .841621) * .01
    assert minimum_detectable_effect(0.01) == pytest.approx(0.0280159, abs=1e-7)
    by_hand = stats.t.ppf(0.975, 10) + stats.t.ppf(0.8, 10)
    assert minimum_detectable_effect(1.0, df=10) == pytest.approx(by_hand)


def test_the_detectable_effect_is_detected_as_often_as_it_says():
    rng = np.random.default_rng(0)
    effect = minimum_detectable_effect(1.0)
    found = np.abs(rng.normal(effect, 1, 20_000)) > stats.norm.ppf(0.975)
    assert found.mean() == pytest.approx(0.8, abs=0.01)
