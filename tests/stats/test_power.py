import math

import numpy as np
import pytest
from scipy import stats

from bench.stats import (
    VarianceComponents,
    minimum_detectable_effect,
    needed_instructions,
    needed_seeds,
    power,
    two_way,
    variance_components,
)
from bench.stats.crossed import MeanSquares, mean_squares

TYPICAL = VarianceComponents(seed=0.02, instruction=0.15, residual=0.45)


def noncentral(difference, error, df, alpha=0.05):
    critical = stats.t.ppf(1 - alpha / 2, df)
    beyond = stats.nct.sf(critical, df, difference / error)
    return beyond + stats.nct.cdf(-critical, df, difference / error)


def test_components_by_hand():
    """Rows 0 1 2 / 2 3 7: mean squares 13.5, 6.5, 1.5 (test_seeds.py), S = 2, N = 3."""
    found = variance_components([[0, 1, 2], [2, 3, 7]])
    assert found.seed == pytest.approx(math.sqrt(12 / 3))
    assert found.instruction == pytest.approx(math.sqrt(5 / 2))
    assert found.residual == pytest.approx(math.sqrt(1.5))


def test_a_component_is_never_negative():
    found = variance_components([[0, 1, 5], [1, 2, 3]])  # equal seed means
    assert found.seed == 0


def test_components_are_recovered():
    rng = np.random.default_rng(0)
    table = rng.normal(0, 2, (60, 1)) + rng.normal(0, 1, (1, 900)) + rng.normal(0, 3, (60, 900))
    found = variance_components(table)
    assert vars(found) == pytest.approx({"seed": 2, "instruction": 1, "residual": 3}, rel=0.15)


def test_one_seed_has_no_components():
    with pytest.raises(ValueError, match="one seed does not show"):
        variance_components([[1, 2, 3]])


@pytest.mark.parametrize("difference", [0.01, 0.03, 0.06])
def test_where_one_spread_rules_it_is_the_noncentral_t(difference):
    """One run: N - 1 degrees. Seeds alone: S - 1. Instructions alone: N - 1."""
    one_run = power(difference, VarianceComponents(9.0, 0.3, 0.4), seeds=1, instructions=101)
    assert one_run == pytest.approx(noncentral(difference, 0.05, 100), abs=0.002)
    seeds = power(difference, VarianceComponents(0.03, 0, 1e-9), seeds=4, instructions=50)
    assert seeds == pytest.approx(noncentral(difference, 0.015, 3), abs=0.005)
    prompts = power(difference, VarianceComponents(0, 0.3, 1e-9), seeds=4, instructions=50)
    assert prompts == pytest.approx(noncentral(difference, 0.3 / math.sqrt(50), 49), abs=0.005)


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_power_is_how_often_two_way_finds_it(seeds):
    rng, sets, n = np.random.default_rng(seeds), 4000, 60
    c = VarianceComponents(seed=0.05, instruction=0.2, residual=0.4)
    tables = rng.normal(0.15, c.residual, (sets, seeds, n))
    tables += rng.normal(0, c.seed, (sets, seeds, 1)) + rng.normal(0, c.instruction, (sets, 1, n))
    mean, squares = mean_squares(tables)
    error, df = squares.error()
    found = np.abs(mean) > stats.t.ppf(0.975, df) * error
    assert found[:50].tolist() == [two_way(table).p_value < 0.05 for table in tables[:50]]
    assert power(0.15, c, seeds=seeds, instructions=n) == pytest.approx(found.mean(), abs=0.025)


def test_power_rises_with_the_difference_and_falls_with_the_family():
    grid = [power(d, TYPICAL, seeds=5, instructions=805) for d in (0, 0.02, 0.05, 0.2)]
    assert grid == sorted(grid)
    assert grid[0] == pytest.approx(0.05, abs=0.015)
    assert grid[-1] > 0.999
    assert power(-0.05, TYPICAL, seeds=5, instructions=805) == pytest.approx(grid[2])
    in_family = power(0.05, TYPICAL, seeds=5, instructions=805, comparisons=10)
    assert in_family == power(0.05, TYPICAL, seeds=5, instructions=805, alpha=0.005)
    assert in_family < grid[2]


@pytest.mark.parametrize("seeds", [5, 10])
def test_the_detectable_effect_has_about_the_power_it_says(seeds):
    """It stands on the one standard error and df that are expected, so not exactly."""
    residual = TYPICAL.residual**2
    expected = residual + 805 * TYPICAL.seed**2, residual + seeds * TYPICAL.instruction**2, residual
    error, df = MeanSquares(*map(np.asarray, expected), seeds, 805).error()
    effect = minimum_detectable_effect(float(error), df=float(df))
    assert power(effect, TYPICAL, seeds=seeds, instructions=805) == pytest.approx(0.8, abs=0.03)


def test_without_spread_all_is_found():
    nothing = VarianceComponents(0, 0, 0)
    assert power(0.01, nothing, seeds=3, instructions=10) == 1
    assert power(0, nothing, seeds=3, instructions=10) == 0


@pytest.mark.parametrize("comparisons", [1, 6])
def test_the_number_needed_is_the_first_that_reaches_the_target(comparisons):
    wanted = {"comparisons": comparisons}
    seeds = needed_seeds(0.03, TYPICAL, instructions=805, **wanted)
    assert power(0.03, TYPICAL, seeds=seeds, instructions=805, **wanted) >= 0.8
    assert power(0.03, TYPICAL, seeds=seeds - 1, instructions=805, **wanted) < 0.8
    n = needed_instructions(0.07, TYPICAL, seeds=5, **wanted)
    assert power(0.07, TYPICAL, seeds=5, instructions=n, **wanted) >= 0.8
    assert power(0.07, TYPICAL, seeds=5, instructions=n - 1, **wanted) < 0.8


def test_two_is_the_fewest():
    assert needed_seeds(1.0, VarianceComponents(0, 0.1, 0.1), instructions=500) == 2
    assert needed_instructions(9.0, VarianceComponents(0, 0, 0.01), seeds=5) == 2


def test_where_no_number_suffices_there_is_none():
    """3 points: seeds with sd 4 hide them at any N; instructions with sd .5 at any S."""
    assert needed_instructions(0.03, VarianceComponents(0.04, 0, 0.4), seeds=3) is None
    assert needed_seeds(0.03, VarianceComponents(0, 0.5, 0.4), instructions=100) is None
    assert needed_seeds(0.0, TYPICAL, instructions=100) is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seeds": 0}, "seeds >= 1"),
        ({"instructions": 1}, "instructions >= 2"),
        ({"alpha": 1.0}, "alpha < 1"),
        ({"comparisons": 0}, "comparisons >= 1"),
        ({"difference": math.nan}, "difference is nan"),
        ({"components": VarianceComponents(-1, 0, 0)}, "is negative"),
    ],
)
def test_power_refuses(changes, message):
    good = {"difference": 0.1, "components": TYPICAL, "seeds": 5, "instructions": 100}
    with pytest.raises(ValueError, match=message):
        power(**(good | changes))
