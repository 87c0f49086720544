"""What the intervals, tests and power say, held against simulated evaluations.

An evaluation is judged verdicts (lost, tie, won): a latent normal of instruction (shared by seeds
and methods), seed and noise, cut in three. The truth is then known in closed form.
"""

import math
from functools import cache

import numpy as np
import pytest
from scipy import optimize, stats

from bench.stats import VarianceComponents, power
from bench.stats.crossed import mean_squares
from bench.stats.intervals import rate_interval

pytestmark = pytest.mark.slow

SEEDS, N, SETS, CHUNK = 5, 805, 4000, 200
TIE, INSTRUCTION_SD = 0.1, 0.8  # of the latent, whose noise has sd 1: rates spread by .22
MEAN = 0.55


def rate(latent_mean, sd):
    """Mean score of a latent normal: P(above the tie) + P(tie) / 2."""
    return sum(stats.norm.cdf((latent_mean + tie) / sd) for tie in (-TIE, TIE)) / 2


@cache
def latent(mean, seed_sd):
    """Latent mean and seed sd that give this mean score, and this sd of it over seeds."""

    def solve(seed):
        sd = math.sqrt(1 + INSTRUCTION_SD**2 + seed**2)
        return optimize.brentq(lambda x: rate(x, sd) - mean, -5, 5), sd

    centre, sd = solve(0.0)
    slope = (rate(centre + 1e-4, sd) - rate(centre - 1e-4, sd)) / 2e-4
    seed = seed_sd / slope
    return solve(seed)[0], seed


def scores(rng, instruction, mean, seed_sd):
    """(sets, S, N) scores 0, 1/2, 1 of one method."""
    centre, seed = latent(mean, seed_sd)
    sets = len(instruction)
    effect = centre + instruction[:, None] + rng.normal(0, seed, (sets, SEEDS, 1))
    noise = rng.standard_normal((sets, SEEDS, N), dtype=np.float32)
    return ((effect + noise > TIE) + (effect + noise >= -TIE).astype(np.float64)) / 2


def summaries(seed_sd, gap=None, seed=0):
    """Means, mean squares, errors and df of SETS evaluations: of one method, or of two's gap."""
    rng, found = np.random.default_rng(seed), []
    for _ in range(SETS // CHUNK):
        instruction = rng.normal(0, INSTRUCTION_SD, (CHUNK, N))
        table = scores(rng, instruction, MEAN, seed_sd)
        if gap is not None:
            table = scores(rng, instruction, MEAN + gap, seed_sd) - table
        mean, squares = mean_squares(table)
        found.append([mean, squares.seed, squares.instruction, squares.residual, *squares.error()])
    return np.concatenate(found, axis=1)


def critical(df):
    return stats.t.ppf(0.975, df)


@pytest.mark.parametrize("seed_sd", [0.0, 0.01, 0.03])
def test_the_interval_of_a_win_rate_covers(seed_sd):
    mean, _, _, _, error, df = summaries(seed_sd)
    assert 0.925 <= (np.abs(mean - MEAN) <= critical(df) * error).mean() <= 0.975
    ends = np.array([rate_interval(*row, N) for row in zip(mean, error, df, strict=True)])
    assert 0.925 <= ((ends[:, 0] <= MEAN) & (ends[:, 1] >= MEAN)).mean() <= 0.975


@pytest.mark.parametrize("seed_sd", [0.0, 0.01, 0.03])
def test_equal_methods_are_seldom_called_different(seed_sd):
    mean, _, _, _, error, df = summaries(seed_sd, gap=0.0)
    different = (np.abs(mean) > critical(df) * error).mean()
    assert different <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / SETS)


@pytest.mark.parametrize("seed_sd", [0.0, 0.01, 0.03])
@pytest.mark.parametrize("comparisons", [1, 3])
def test_a_difference_of_five_points_is_found_as_often_as_power_says(seed_sd, comparisons):
    """The components come from other evaluations than those in which the difference is sought."""
    _, *pilot = (x.mean() for x in summaries(seed_sd, gap=0.05, seed=1)[:4])
    seed, instruction, residual = pilot
    components = VarianceComponents(
        seed=math.sqrt(max(0, seed - residual) / N),
        instruction=math.sqrt(max(0, instruction - residual) / SEEDS),
        residual=math.sqrt(residual),
    )
    said = power(0.05, components, seeds=SEEDS, instructions=N, comparisons=comparisons)
    mean, _, _, _, error, df = summaries(seed_sd, gap=0.05, seed=2)
    found = np.abs(mean) > stats.t.ppf(1 - 0.025 / comparisons, df) * error
    assert found.mean() == pytest.approx(said, abs=0.03)
    assert 0.925 <= (np.abs(mean - 0.05) <= critical(df) * error).mean() <= 0.975
