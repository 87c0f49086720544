"""Baselines from the other responses to a prompt."""

import pytest
import torch

from bench.rl import group_standardised, leave_one_out


def test_two_responses_by_hand() -> None:
    """K = 2: each less the other."""
    scores = torch.tensor([3.0, 1.0, -2.0, 4.0])
    assert leave_one_out(scores, 2).tolist() == [2.0, -2.0, -6.0, 6.0]


def test_three_responses_by_hand() -> None:
    """0, 3 and 6: less the mean of the other two, 4.5, 3 and 1.5."""
    scores = torch.tensor([0.0, 3.0, 6.0])
    assert leave_one_out(scores, 3).tolist() == [-4.5, 0.0, 4.5]
    assert group_standardised(scores, 3).tolist() == pytest.approx([-1.0, 0.0, 1.0], rel=1e-4)


def test_a_group_does_not_see_another_and_equal_scores_say_nothing() -> None:
    scores = torch.tensor([1.0, 5.0, 7.0, 7.0])
    for function in (leave_one_out, group_standardised):
        both = function(scores, 2)
        assert both[2:].tolist() == [0.0, 0.0]
        torch.testing.assert_close(both[:2], function(scores[:2], 2))
        torch.testing.assert_close(both, function(scores + 100, 2))  # only differences count


def test_the_sum_of_a_group_is_nothing() -> None:
    scores = torch.randn(12, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for function in (leave_one_out, group_standardised):
        sums = function(scores, 4).view(3, 4).sum(dim=1)
        torch.testing.assert_close(sums, torch.zeros(3).double(), atol=1e-12, rtol=0)


def test_errors() -> None:
    with pytest.raises(ValueError, match=r"shape \(5,\), which is no groups of 2"):
        leave_one_out(torch.zeros(5), 2)
    with pytest.raises(ValueError, match="needs 2 responses to a prompt, not 1"):
        group_standardised(torch.zeros(4), 1)
