import time

import numpy as np
import pytest

from bench.stats import crossed_bootstrap, percentile_interval, two_way
from bench.stats.bootstrap import _CHUNK_DRAWS, _counts, resampled_means


def slow_means(table, seed_counts, instruction_counts):
    """Every draw written out: each value as often as its seed times its instruction."""
    out = np.full((len(seed_counts), len(table)), np.nan)
    for r, (rows, columns) in enumerate(zip(seed_counts, instruction_counts, strict=True)):
        for m, values in enumerate(table):
            run = [s for s in range(len(values)) if not np.isnan(values[s]).all()]
            kept = [i for i in range(values.shape[1]) if not np.isnan(values[run, i]).any()]
            drawn = [
                values[s, i]
                for s in run
                for i in kept
                for _ in range(int(rows[s]) * int(columns[i]))
            ]
            if drawn:
                out[r, m] = np.mean(drawn)
    return out


def test_it_equals_the_draws_written_out():
    rng = np.random.default_rng(0)
    table = rng.choice([0.0, 0.5, 1.0], size=(3, 4, 9))
    table[0, 1, 2] = table[1, 0, :3] = np.nan
    table[2, 3] = table[2, 2] = np.nan  # this method was run with two of the four seeds
    seed_counts, instruction_counts = _counts(rng, 60, 4), _counts(rng, 60, 9)
    fast = resampled_means(table, seed_counts, instruction_counts)
    slow = slow_means(table, seed_counts, instruction_counts)
    assert np.isnan(slow[:, 2]).any()
    np.testing.assert_allclose(fast, slow, rtol=1e-12)


def test_counts_are_draws_with_replacement():
    counts = _counts(np.random.default_rng(0), 4000, 6)
    assert (counts.sum(axis=1) == 6).all()
    # multinomial: mean 1, variance 1 - 1/6, covariance -1/6
    covariance = np.cov(counts.T)
    np.testing.assert_allclose(counts.mean(axis=0), 1, atol=0.06)
    np.testing.assert_allclose(covariance, np.eye(6) - 1 / 6, atol=0.06)


def test_each_draw_is_the_same_for_all_methods_and_repeats():
    table = np.random.default_rng(0).normal(size=(1, 3, 40))
    means = crossed_bootstrap(np.concatenate([table, table + 2]), resamples=50)
    assert means.shape == (50, 2)
    np.testing.assert_allclose(means[:, 1] - means[:, 0], 2)
    np.testing.assert_array_equal(means[:, :1], crossed_bootstrap(table, resamples=50))
    assert not np.array_equal(means[:, :1], crossed_bootstrap(table, resamples=50, seed=1))


def test_more_resamples_than_a_chunk_holds():
    n = 1000
    resamples = _CHUNK_DRAWS // n + 7
    means = crossed_bootstrap(np.ones((1, 2, n)), resamples=resamples)
    np.testing.assert_allclose(means, np.ones((resamples, 1)))


def test_its_spread_is_near_that_of_two_way():
    """Many seeds, large effects: what the bootstrap adds for the residual is small."""
    rng = np.random.default_rng(0)
    table = rng.normal(0, 1, (40, 1)) + rng.normal(0, 3, (1, 300)) + rng.normal(0, 1, (40, 300))
    means = crossed_bootstrap(table[None], resamples=4000)[:, 0]
    known = two_way(table)
    assert means.std(ddof=1) == pytest.approx(known.standard_error, rel=0.06)
    assert percentile_interval(means) == pytest.approx(known.ci95, abs=0.05)


def test_percentile_interval_leaves_missing_out():
    samples = np.append(np.arange(101.0), np.nan)
    assert percentile_interval(samples, level=0.9) == pytest.approx((5, 95))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.ones((2, 3)), r"have shape \(2, 3\)"),
        (np.ones((1, 0, 3)), "have shape"),
        (np.full((1, 2, 3), np.nan), "no instruction"),
        ([[[1.0, np.nan], [np.nan, 1.0]]], "no instruction"),
    ],
)
def test_bad_tables_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        crossed_bootstrap(values)


def test_no_resample_is_refused():
    with pytest.raises(ValueError, match="not 0"):
        crossed_bootstrap(np.ones((1, 2, 3)), resamples=0)


@pytest.mark.slow
def test_ten_thousand_resamples_of_eight_methods_take_under_two_seconds():
    """Means, and the intervals of all methods and of all pairs; CPU time, so of one core."""
    values = np.random.default_rng(0).choice([0.0, 0.5, 1.0], size=(8, 5, 805))
    values[np.random.default_rng(1).random(values.shape) < 0.002] = np.nan
    start = time.process_time()
    means = crossed_bootstrap(values, resamples=10_000)
    percentile_interval(means)
    low, _ = percentile_interval(means[:, :, None] - means[:, None])
    assert time.process_time() - start < 2
    assert low.shape == (8, 8)
