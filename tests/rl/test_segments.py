"""Segment scores and rewards: the granularity between response and token."""

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from torch import Tensor

from bench.rl import masked_mean, segment_rewards, segment_score

from . import reference
from .strategies import Batch, batches, random_batch

quick = settings(max_examples=30, deadline=None)
SCORES = torch.tensor([[9.0, 6.0, 9.0, 9.0, 4.0, math.nan], [3.0, math.nan, 9.0, 8.0, 9.0, 2.0]])
MASK = torch.tensor([[True] * 5 + [False], [True, False, True, True, True, True]])
ENDS = torch.tensor(
    [[False, True, False, False, False, True], [True, True, False, True, False, True]]
)


def test_golden() -> None:
    """Row 0: ends marked at its second token and, in vain, at the padding; the fifth always ends.

    Segments (9, 6) and (9, 9, 4): r = 6 and 4, K = 2; R = 5. Each token of the first gets
    6 / (2 * 2) = 1.5, of the second 4 / (2 * 3) = 2/3. Sum 3 + 2 = 5.
    Row 1: (3), (9, 8), (9, 2), the mark at the gap in vain: r = 3, 8, 2, K = 3; R = 13/3.
    3 / 3 = 1; 8 / (3 * 2) = 4/3 twice; 2 / (3 * 2) = 1/3 twice. Sum 13/3.
    """
    expected = torch.tensor(
        [[1.5, 1.5, 2 / 3, 2 / 3, 2 / 3, 0], [1, 0, 4 / 3, 4 / 3, 1 / 3, 1 / 3]]
    )
    torch.testing.assert_close(segment_rewards(SCORES, ENDS, MASK), expected)
    torch.testing.assert_close(segment_score(SCORES, ENDS, MASK), torch.tensor([5.0, 13 / 3]))


@quick
@given(batches)
def test_reference(batch: Batch) -> None:
    scores, ends = batch.x[0], batch.x[1] > 0
    rewards, totals = (
        segment_rewards(scores, ends, batch.mask),
        segment_score(scores, ends, batch.mask),
    )
    for b, row in enumerate(rewards.tolist()):
        args = scores[b].tolist(), ends[b].tolist(), batch.mask[b].tolist()
        found = reference.segments(*args)
        assert row == pytest.approx(reference.segment_rewards(*args), abs=1e-12)
        mean = math.fsum(score for score, _ in found) / len(found)
        assert totals[b].item() == pytest.approx(mean, abs=1e-12)


@quick
@given(batches)
def test_every_granularity_pays_the_same_mass(batch: Batch) -> None:
    """The rewards sum to the score; no mark is the last score, a mark a token is the mean."""
    scores, marks, mask = batch.x[0], batch.x[1] > 0, batch.mask
    for ends in (marks, torch.zeros_like(marks), torch.ones_like(marks)):
        torch.testing.assert_close(
            segment_rewards(scores, ends, mask).sum(1), segment_score(scores, ends, mask)
        )
    last = torch.stack([row[keep][-1] for row, keep in zip(scores, mask, strict=True)])
    assert torch.equal(segment_score(scores, torch.zeros_like(marks), mask), last)
    torch.testing.assert_close(
        segment_score(scores, torch.ones_like(marks), mask), masked_mean(scores, mask, dim=1)
    )


@quick
@given(batches)
def test_rewards_are_linear_in_the_scores(batch: Batch) -> None:
    first, ends, second = batch.x[0], batch.x[1] > 0, batch.x[2]
    torch.testing.assert_close(
        segment_rewards(2 * first - 3 * second, ends, batch.mask),
        2 * segment_rewards(first, ends, batch.mask)
        - 3 * segment_rewards(second, ends, batch.mask),
    )


def test_gradcheck() -> None:
    batch = random_batch(seed=3, rows=3, length=5)
    scores, ends = batch.x[0].requires_grad_(), batch.x[1] > 0
    assert torch.autograd.gradcheck(lambda x: segment_rewards(x, ends, batch.mask), (scores,))
    assert torch.autograd.gradcheck(lambda x: segment_score(x, ends, batch.mask), (scores,))


@pytest.mark.usefixtures("no_hook")
@pytest.mark.parametrize("function", [segment_rewards, segment_score])
def test_errors(function: Callable[..., Tensor]) -> None:
    with pytest.raises(ValueError, match=r"ends has shape \(1, 6\).*\(2, 6\)"):
        function(SCORES, ENDS[:1], MASK)
    with pytest.raises(ValueError, match=r"mask has shape \(2, 5\)"):
        function(SCORES, ENDS, MASK[:, :5])
    with pytest.raises(TypeError, match=r"ends is torch.int64.*\.bool\(\)"):
        function(SCORES, ENDS.long(), MASK)
    with pytest.raises(ValueError, match=r"row\(s\) \[1\] of 2"):
        function(SCORES, ENDS, MASK & torch.tensor([[True], [False]]))
