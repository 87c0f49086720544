import math

import numpy as np
import pytest
from scipy import optimize, special

from bench.stats import length_adjusted, win_rate


def judged(rng, n, base, effect, longer_by):
    """Preferences of a judge with log-odds base + effect * tanh(length difference / sd)."""
    lengths = rng.normal(100 + longer_by, 20, n), rng.normal(100, 20, n)
    difference = lengths[0] - lengths[1]
    chance = special.expit(base + effect * np.tanh(difference / difference.std(ddof=1)))
    return (rng.random(n) < chance) + 1.0, *lengths


def test_planted_length_bias_is_taken_out():
    """No better at equal length, but 40 longer before a judge who likes length."""
    preferences, model, reference = judged(np.random.default_rng(0), 4000, 0.0, 1.5, 40)
    result = length_adjusted(preferences, model, reference)
    assert win_rate(preferences).ci95[0] > 0.7
    assert result.ci95[0] < 0.5 < result.ci95[1]
    assert result.length_effect == pytest.approx(1.5, abs=3 * result.length_effect_error)


def test_a_better_model_stays_better():
    base = special.logit(0.7)
    preferences, model, reference = judged(np.random.default_rng(1), 4000, base, 1.5, -40)
    result = length_adjusted(preferences, model, reference)
    assert win_rate(preferences).mean < 0.5
    assert result.mean == pytest.approx(0.7, abs=0.04)


def test_without_length_bias_it_is_the_win_rate():
    preferences, model, reference = judged(np.random.default_rng(2), 4000, 0.5, 0.0, 0)
    plain = win_rate(preferences)
    result = length_adjusted(preferences, model, reference)
    assert result.mean == pytest.approx(plain.mean, abs=0.005)
    assert result.standard_error == pytest.approx(plain.standard_error, rel=0.05)


def test_it_is_the_maximum_of_the_likelihood_with_a_robust_error():
    """Ties and means of both orders are fractions; the sandwich, written out item by item."""
    rng = np.random.default_rng(3)
    preferences = rng.choice([1, 1.25, 1.5, 0, 2], 60)
    model, reference = rng.normal(100, 30, 60), rng.normal(90, 10, 60)
    y = np.where(preferences == 0, 0.5, preferences - 1)
    difference = model - reference
    x = np.column_stack([np.ones(60), np.tanh(difference / difference.std(ddof=1))])

    def loss(b):
        return np.sum(np.logaddexp(0, x @ b) - y * (x @ b))

    best = optimize.minimize(loss, np.zeros(2), tol=1e-12).x
    fitted = special.expit(x @ best)
    bread = np.linalg.inv(sum(f * (1 - f) * np.outer(r, r) for f, r in zip(fitted, x, strict=True)))
    meat = sum((v - f) ** 2 * np.outer(r, r) for v, f, r in zip(y, fitted, x, strict=True))
    covariance = 60 / 58 * bread @ meat @ bread
    mean = special.expit(best[0])
    result = length_adjusted(preferences, model, reference)
    assert result.mean == pytest.approx(mean, abs=1e-6)
    error = mean * (1 - mean) * math.sqrt(covariance[0, 0])
    assert result.standard_error == pytest.approx(error, rel=1e-5)
    assert result.length_effect == pytest.approx(best[1], abs=1e-5)
    assert result.length_effect_error == pytest.approx(math.sqrt(covariance[1, 1]), rel=1e-5)


def test_the_interval_covers():
    rng, inside = np.random.default_rng(4), 0
    for _ in range(500):
        low, high = length_adjusted(*judged(rng, 300, 0.8, 1.0, 15)).ci95
        inside += low <= special.expit(0.8) <= high
    assert 0.925 <= inside / 500 <= 0.975


def test_the_unit_of_length_and_the_order_do_not_matter():
    preferences, model, reference = judged(np.random.default_rng(5), 100, 0.2, 1.0, 10)
    result = length_adjusted(preferences, model, reference)
    scaled = length_adjusted(preferences[::-1], 7 * model[::-1], 7 * reference[::-1])
    assert scaled.mean == pytest.approx(result.mean)
    swapped = length_adjusted(3 - preferences, reference, model)
    assert swapped.mean == pytest.approx(1 - result.mean)


def test_incomplete_items_are_counted():
    preferences = [1, 2, 2, 1, 1, 2, None, 1]
    result = length_adjusted(preferences, [3, 4, 1, 1, 4, 4, 2, None], [1, 2, 3, 2, 4, 3, 4, 5])
    assert (result.n, result.missing) == (6, 2)


@pytest.mark.parametrize(
    ("preferences", "model", "message"),
    [
        ([1, 2, 1], [1, 2], "differ in shape"),
        ([1, None, 2], [3, 2, 1], "2 are complete"),
        ([1, 2, 2], [5, 5, 5], "nothing to adjust by"),
        ([2, 2, 2], [1, 2, 4], "verdicts are all alike"),
        ([1, 2, 2], [1, 7, 9], "length alone"),
        ([1.5, 1, 1.5], [4, 5, 5], "no standard error: the fit meets the verdicts"),
        ([1.5, 1.5, 1.5], [4, 5, 6], "no standard error"),
        ([1, 2, 1, 2], [504, 505, 504, 505], "lengths differ by about 500.5: there"),
        ([1, 3, 2], [1, 7, 9], "preference is 0 or"),
    ],
)
def test_what_cannot_be_adjusted_is_refused(preferences, model, message):
    with pytest.raises(ValueError, match=message):
        length_adjusted(preferences, model, [4] * len(preferences))
