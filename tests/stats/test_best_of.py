"""The best of n draws, against all sets of n of them."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from bench.stats.best_of import expected_best


def test_by_hand() -> None:
    """Of three draws, in the order of the score 10, 20, 60: pairs choose 20, 60 and 60."""
    scores, worth = np.array([[0.3, 0.1, 0.2]]), np.array([[60.0, 10.0, 20.0]])
    assert expected_best(scores, worth, 1) == pytest.approx([30.0])
    assert expected_best(scores, worth, 2) == pytest.approx([(20 + 60 + 60) / 3])
    assert expected_best(scores, worth, 3) == pytest.approx([60.0])


def test_it_is_the_mean_over_all_sets_of_draws() -> None:
    rng = np.random.default_rng(0)
    scores, worth = rng.normal(size=(4, 7)), rng.normal(size=(4, 7))
    for n in range(1, 8):
        for i in range(4):
            sets = [max(own, key=lambda j: scores[i, j]) for own in combinations(range(7), n)]
            slow = np.mean([worth[i, j] for j in sets])
            assert expected_best(scores, worth, n)[i] == pytest.approx(slow)


def test_draws_that_score_alike_count_alike_whatever_their_order() -> None:
    scores, worth = np.array([[1.0, 1.0, 0.0]]), np.array([[5.0, 1.0, 9.0]])
    for order in ([0, 1, 2], [1, 0, 2], [2, 1, 0]):
        found = expected_best(scores[:, order], worth[:, order], 2)
        assert found == pytest.approx([3.0])


@pytest.mark.parametrize("n", [0, 4])
def test_n_is_a_number_of_draws(n: int) -> None:
    with pytest.raises(ValueError, match=f"the best of {n} of 3 draws"):
        expected_best(np.zeros((1, 3)), np.zeros((1, 3)), n)


def test_what_is_no_score_is_refused() -> None:
    with pytest.raises(ValueError, match="shape"):
        expected_best(np.zeros((1, 3)), np.zeros((1, 2)), 1)
    with pytest.raises(ValueError, match="not finite"):
        expected_best(np.array([[np.nan]]), np.zeros((1, 1)), 1)
