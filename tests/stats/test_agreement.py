import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from bench.stats import accuracy_interval, auroc, cohen_kappa, raw_agreement


def test_unclustered_accuracy_is_wilson():
    result = accuracy_interval([True] * 15 + [False] * 5)
    theirs = stats.binomtest(15, 20).proportion_ci(method="wilson")
    assert result.mean == 0.75
    assert result.ci95 == pytest.approx((theirs.low, theirs.high))
    assert (result.n, result.clusters, result.effective_n) == (20, 20, pytest.approx(20))


def test_copies_in_a_cluster_add_nothing():
    """Each of 20 values three times: as informative as the 20, up to (n-1)/n and G/(G-1)."""
    once = [1.0] * 12 + [0.0] * 8
    result = accuracy_interval(np.repeat(once, 3), np.repeat(np.arange(20), 3).tolist())
    assert result.mean == 0.6
    assert result.clusters == 20
    # V = 20/19 * 20 * .24 * 9 / 3600 = .24/19, s^2/n = .24/59: deff = 59/19
    assert result.effective_n == pytest.approx(60 * 19 / 59)
    assert result.standard_error == pytest.approx(math.sqrt(0.24 / 19))


def test_a_design_effect_below_one_is_taken_as_one():
    result = accuracy_interval([1, 0] * 10, np.repeat(np.arange(10), 2).tolist())
    assert result.effective_n == 20


def test_all_right_counts_clusters():
    result = accuracy_interval([1] * 12, ["a", "b", "c"] * 4)
    assert result.mean == 1
    assert result.effective_n == 3
    assert result.ci95[0] == pytest.approx(stats.binomtest(3, 3).proportion_ci(method="wilson").low)


def test_ties_count_one_half_and_missing_is_counted():
    result = accuracy_interval([1, 0.5, None, 0], ["a", "b", "c", "d"])
    assert result.mean == 0.5
    assert (result.n, result.missing, result.clusters) == (3, 1, 3)


@pytest.mark.parametrize(
    ("correct", "clusters", "message"),
    [
        ([], None, "no value is left"),
        ([2], None, "between 0"),
        ([1, 0], ["a"], "2 values, but clusters 1"),
    ],
)
def test_bad_input_is_refused(correct, clusters, message):
    with pytest.raises(ValueError, match=message):
        accuracy_interval(correct, clusters)


def test_auroc_by_hand():
    # positives 3, 1; negatives 2, 1: 3 > both, 1 ties one and loses one: (2 + .5) / 4
    assert auroc([3, 1, 2, 1], [1, 1, 0, 0]) == 0.625
    assert auroc([1, 2, 3], [0, 0, 1]) == 1
    assert auroc([1, 1, 1], [0, 1, 1]) == 0.5


@pytest.mark.parametrize(
    ("scores", "labels", "message"),
    [
        ([1, 2], [1, 1], "both classes: 2 positive, 0 negative"),
        ([1, 2], [1], "shape"),
        ([1, math.nan], [1, 0], "score 1 is not finite"),
    ],
)
def test_auroc_refuses(scores, labels, message):
    with pytest.raises(ValueError, match=message):
        auroc(scores, labels)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=2, max_size=30))
def test_auroc_is_mann_whitney(rows):
    scores, labels = [s for s, _ in rows], [label for _, label in rows]
    if len(set(labels)) < 2:
        return
    ones = [s for s, label in rows if label]
    zeros = [s for s, label in rows if not label]
    u = stats.mannwhitneyu(ones, zeros).statistic
    assert auroc(scores, labels) == pytest.approx(u / (len(ones) * len(zeros)))
    assert auroc([-s for s in scores], labels) == pytest.approx(1 - auroc(scores, labels))


def test_raw_agreement_by_hand():
    """Sides: model, tie, reference, model against model, tie, model, tie; one item unjudged."""
    result = raw_agreement([2, 0, 1.25, 1.75, None], [1.75, 1.5, 2, 1.5, 1])
    assert result.mean == 0.5
    assert (result.n, result.missing) == (4, 1)
    theirs = stats.binomtest(2, 4).proportion_ci(method="wilson")
    assert result.ci95 == pytest.approx((theirs.low, theirs.high))


def test_cohen_kappa_by_hand():
    # model/reference table [[3, 1], [1, 3]]: p_o = 3/4, p_e = 1/2
    result = cohen_kappa([2, 2, 2, 2, 1, 1, 1, 1], [2, 2, 2, 1, 2, 1, 1, 1])
    assert result.mean == pytest.approx(0.5)
    assert result.ci95[0] < 0.5 < result.ci95[1]


def test_cohen_kappa_is_sklearns():
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    for n in (5, 30, 400):
        a = rng.choice([1, 1.5, 2], n)
        b = np.where(rng.random(n) < 0.5, a, rng.choice([1, 1.5, 2], n))
        theirs = metrics.cohen_kappa_score(*(np.round(2 * x).astype(int) for x in (a, b)))
        assert cohen_kappa(a, b).mean == pytest.approx(theirs)


def test_the_interval_of_kappa_is_scipys_bootstrap():
    rng = np.random.default_rng(1)
    a = rng.choice([1, 2], 150)
    b = np.where(rng.random(150) < 0.7, a, rng.choice([1, 2], 150))

    def kappa(x, y, axis):
        observed, p, q = (x == y).mean(axis), (x == 2).mean(axis), (y == 2).mean(axis)
        chance = p * q + (1 - p) * (1 - q)
        return (observed - chance) / (1 - chance)

    theirs = stats.bootstrap(
        (a, b), kappa, paired=True, vectorized=True, method="percentile", rng=rng
    )
    result = cohen_kappa(a, b)
    low, high = theirs.confidence_interval
    assert result.ci95 == pytest.approx((low, high), abs=0.02)
    assert result.standard_error == pytest.approx(theirs.standard_error, rel=0.05)


def test_full_agreement_claims_no_certainty():
    result = cohen_kappa([1, 2, 1, 2] * 5, [1, 2, 1, 2] * 5)
    low = stats.binomtest(20, 20).proportion_ci(method="wilson").low
    assert result.mean == 1
    assert result.ci95 == pytest.approx(((low - 0.5) / 0.5, 1))  # p_e = 1/2


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        ([1, 2], [1], "shape"),
        ([1, None], [None, 2], "no item was judged by both"),
        ([1, 3], [1, 2], "preference is 0 or"),
        ([2, 2], [1.75, 2], "both judges say model on all 2"),
    ],
)
def test_kappa_refuses(a, b, message):
    with pytest.raises(ValueError, match=message):
        cohen_kappa(a, b)
