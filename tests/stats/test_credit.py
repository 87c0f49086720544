"""Credit: advantages by hand, what noise does to a correlation, and its ceiling."""

import math
import re

import numpy as np
import pytest

from bench.stats import cluster_draws
from bench.stats.credit import Truth, monte_carlo_advantages, spearman_brown

RNG_SEED = 0


def test_advantages_by_hand() -> None:
    """V = 1/2 before and 2/3 behind; then an end with g = -1 behind V = 1."""
    before = np.array([[0.0, 1.0, 0.5], [1.0, 1.0, 1.0]])
    after = np.array([[1.0, 0.0, 1.0], [-1.0, -1.0, -1.0]])
    np.testing.assert_allclose(monte_carlo_advantages(before, after), [2 / 3 - 1 / 2, -2.0])


def test_shapes_that_disagree_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(2, 3\) and \(2, 2\)"):
        monte_carlo_advantages(np.zeros((2, 3)), np.zeros((2, 2)))
    with pytest.raises(ValueError, match="fewer than 2"):
        Truth(np.zeros((2, 1)), np.zeros((2, 1)), [0, 1])


def test_spearman_brown_by_hand() -> None:
    assert spearman_brown(0.5, 2) == pytest.approx(2 / 3)
    assert spearman_brown(0.5, 1) == 0.5
    assert spearman_brown(0.0, 9) == 0.0


def noisy(k: int, noise: float, n: int = 640) -> tuple[np.ndarray, Truth]:
    """True advantages of standard deviation 1, and K noisy returns on each side of each token."""
    rng = np.random.default_rng(RNG_SEED)
    true = rng.normal(size=n)
    before = rng.normal(scale=noise, size=(n, k))
    after = true[:, None] + rng.normal(scale=noise, size=(n, k))
    return true, Truth(before, after, [i // 8 for i in range(n)])


@pytest.mark.parametrize("k", [4, 9])
def test_the_ceiling_is_what_the_truth_itself_reaches(k: int) -> None:
    """Var A = 1, and 2 noise^2 / K of the means: r = sqrt(1 / (1 + 2 noise^2 / K)), odd K too."""
    true, truth = noisy(k, noise=2.0)
    expected = math.sqrt(1 / (1 + 2 * 4 / k))
    ceiling, own = truth.ceiling(), truth.correlation(true)
    assert ceiling.value == pytest.approx(expected, abs=0.07)
    assert own.value == pytest.approx(expected, abs=0.07)
    assert own.corrected == pytest.approx(1.0, abs=0.1)
    for found in (ceiling, own):
        assert found.ci95 is not None
        assert found.ci95[0] < expected < found.ci95[1]
    assert own.corrected_ci95 is not None
    assert own.corrected_ci95[0] < 1 < own.corrected_ci95[1]
    ranks = truth.ceiling(ranks=True).value
    assert ranks == pytest.approx(truth.correlation(true, ranks=True).value, abs=0.04)


def test_shares_that_equal_what_was_measured_are_at_1_and_noise_is_at_0() -> None:
    _, truth = noisy(9, noise=2.0)
    for ranks in (False, True):
        own = truth.correlation(truth.advantages, ranks=ranks)
        assert own.value == pytest.approx(1.0)
        assert truth.correlation(-truth.advantages, ranks=ranks).value == pytest.approx(-1.0)
        noise = np.random.default_rng(1).normal(size=len(truth.advantages))
        nothing = truth.correlation(noise, ranks=ranks)
        assert nothing.ci95 is not None
        assert nothing.ci95[0] < 0 < nothing.ci95[1]
    assert truth.correlation(np.exp(truth.advantages), ranks=True).value == pytest.approx(1.0)
    assert truth.correlation(np.exp(truth.advantages)).value < 0.95


def test_what_has_no_correlation_says_why() -> None:
    _, truth = noisy(9, noise=2.0, n=40)
    constant = truth.correlation(np.full(40, 0.5))
    assert (constant.value, constant.note) == (None, "0.5 at each of 40 tokens")
    same = np.ones((4, 3))
    flat = Truth(same, same, [0, 0, 1, 1])
    assert flat.correlation(np.arange(4.0)).note == "no token changed the expected return"
    assert flat.ceiling().note == "the continuations show no more than noise"
    assert math.isnan(flat.reliability())


def test_noise_alone_has_no_ceiling_and_nothing_is_corrected_by_it() -> None:
    """Halves that contradict each other, whichever they are: of two continuations there is one."""
    before = np.zeros((4, 2))
    after = np.array([[1.0, -1.0], [-1.0, 1.0], [1.0, -2.0], [-1.0, 2.0]])
    truth = Truth(before, after, [0, 1, 2, 3])
    assert truth.reliability() < 0
    assert truth.ceiling().value is None
    found = truth.correlation(np.arange(4.0))
    assert found.value is not None
    assert found.corrected is None


def test_the_interval_of_noise_reaches_0_and_nothing_is_corrected_by_it() -> None:
    """96 tokens of 12 instructions, K = 9: nearly all data sets, not half of them."""
    above = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        before, after = rng.normal(size=(2, 96, 9))
        truth = Truth(before, after, [i // 8 for i in range(96)])
        ceiling = truth.ceiling()
        told = ceiling.ci95 is not None and ceiling.ci95[0] > 0
        above += told
        own = truth.correlation(rng.normal(size=96))
        if not told:
            assert (own.corrected, own.corrected_ci95) == (None, None)
            assert ceiling.note
    assert above <= 6


def test_a_ceiling_that_few_resamples_lack_says_how_many() -> None:
    """Signal of 1/16 of the noise's variance: the halves of some resamples show none."""
    _, truth = noisy(4, noise=4.0, n=160)
    found, own = truth.ceiling(), truth.correlation(truth.advantages)
    assert found.value is not None
    assert found.ci95 is not None
    assert found.ci95[0] == 0
    said = r"no r / ceiling: \d+\.\d% of the resamples show no more than noise"
    assert re.fullmatch(said, found.note)
    assert own.value == pytest.approx(1.0)
    assert (own.corrected, own.corrected_ci95, own.note) == (None, None, "")


def test_one_instruction_has_no_interval() -> None:
    rng = np.random.default_rng(0)
    truth = Truth(rng.normal(size=(9, 4)), rng.normal(size=(9, 4)), [3] * 9)
    found = truth.correlation(rng.normal(size=9))
    assert found.value is not None
    assert found.ci95 is None
    mean = truth.mean(truth.advantages, np.ones(9, dtype=bool))
    assert mean is not None
    assert (mean.standard_error, mean.ci95) == (None, None)


def test_intervals_are_as_wide_as_clusters_are_alike() -> None:
    """Eight equal tokens an instruction are one observation: sqrt(8) times the naive interval."""
    rng = np.random.default_rng(3)
    own, paid = rng.normal(size=(2, 100)).repeat(8, axis=1)
    returns = np.zeros((800, 2)), np.stack([own, own], axis=1)
    wide, narrow = (
        Truth(*returns, clusters).correlation(paid).ci95
        for clusters in ([i // 8 for i in range(800)], range(800))
    )
    assert wide is not None
    assert narrow is not None
    ratio = (wide[1] - wide[0]) / (narrow[1] - narrow[0])
    assert ratio == pytest.approx(8**0.5, rel=0.15)


def test_means_by_kind_of_token() -> None:
    _, truth = noisy(9, noise=1.0, n=80)
    where = np.arange(80) % 8 < 2
    found = truth.mean(truth.advantages, where)
    assert found is not None
    assert found.mean == pytest.approx(truth.advantages[where].mean())
    assert found.ci95 is not None
    assert found.ci95[0] < found.mean < found.ci95[1]
    assert found.standard_error == pytest.approx(
        truth.advantages[where].reshape(10, 2).mean(axis=1).std(ddof=1) / 10**0.5, rel=0.2
    )
    assert truth.mean(truth.advantages, np.zeros(80, dtype=bool)) is None


def test_draws_are_of_whole_clusters() -> None:
    draws = cluster_draws([5, 2, 5, 9], resamples=200, seed=0)
    assert len(draws) == 200
    for index in draws:
        counts = np.bincount(index, minlength=4)
        assert counts[0] == counts[2]
        assert counts[0] + counts[1] + counts[3] == 3
    assert {len(index) for index in draws} == {3, 4, 5, 6}
    repeated = cluster_draws([5, 2, 5, 9], resamples=200, seed=0)
    assert all(np.array_equal(a, b) for a, b in zip(draws, repeated, strict=True))
