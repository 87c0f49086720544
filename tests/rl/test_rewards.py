"""Rewards of PPO at sequence and token granularity."""

import pytest
import torch
from hypothesis import given, settings

from bench.rl import sequence_rewards, token_rewards

from . import reference
from .strategies import Batch, batches, random_batch

KL = torch.tensor([[0.5, 1.0, 9.0], [0.2, 0.4, 0.6]])
MASK = torch.tensor([[True, True, False], [True, True, True]])


def test_sequence_rewards_golden() -> None:
    """b = 0.1, R = (2, -1); row 0 ends at its second token.

    Row 0: -0.1 * 0.5 = -0.05; 2 - 0.1 * 1 = 1.9; padding 0.
    Row 1: -0.02; -0.04; -1 - 0.1 * 0.6 = -1.06.
    """
    out = sequence_rewards(torch.tensor([2.0, -1.0]), KL, MASK, kl_coef=0.1)
    torch.testing.assert_close(out, torch.tensor([[-0.05, 1.9, 0.0], [-0.02, -0.04, -1.06]]))


def test_token_rewards_golden() -> None:
    """b = 0.1.

    Row 0: 1 - 0.05 = 0.95; -2 - 0.1 = -2.1; padding 0.
    Row 1: 0 - 0.02 = -0.02; 3 - 0.04 = 2.96; 1 - 0.06 = 0.94.
    """
    scores = torch.tensor([[1.0, -2.0, 9.0], [0.0, 3.0, 1.0]])
    out = token_rewards(scores, KL, MASK, kl_coef=0.1)
    torch.testing.assert_close(out, torch.tensor([[0.95, -2.1, 0.0], [-0.02, 2.96, 0.94]]))


@settings(max_examples=30, deadline=None)
@given(batches)
def test_sequence_rewards_reference(batch: Batch) -> None:
    scores, kl = batch.x[0][:, 0], batch.x[1]
    out = sequence_rewards(scores, kl, batch.mask, kl_coef=0.3)
    for b, row in enumerate(out.tolist()):
        mask = batch.mask[b].tolist()
        slow = reference.sequence_rewards(scores[b].item(), kl[b].tolist(), mask, 0.3)
        assert row == pytest.approx(slow, abs=1e-12)


@settings(max_examples=30, deadline=None)
@given(batches)
def test_token_rewards_reference(batch: Batch) -> None:
    scores, kl, _ = batch.x
    out = token_rewards(scores, kl, batch.mask, kl_coef=0.3)
    for b, row in enumerate(out.tolist()):
        for t, reward in enumerate(row):
            slow = scores[b, t].item() - 0.3 * kl[b, t].item() if batch.mask[b, t] else 0.0
            assert reward == pytest.approx(slow, abs=1e-12)


@settings(max_examples=30, deadline=None)
@given(batches)
def test_granularities_agree_on_a_score_at_the_last_token(batch: Batch) -> None:
    """The two rewards differ in granularity alone."""
    scores, kl = batch.x[0][:, 0], batch.x[1]
    last = [max(t for t, keep in enumerate(row) if keep) for row in batch.mask.tolist()]
    token_scores = torch.zeros_like(kl)
    token_scores[torch.arange(len(last)), last] = scores
    torch.testing.assert_close(
        sequence_rewards(scores, kl, batch.mask, kl_coef=0.2),
        token_rewards(token_scores, kl, batch.mask, kl_coef=0.2),
    )


def test_an_empty_row_is_an_error_for_sequences_and_zero_for_tokens() -> None:
    mask = torch.tensor([[True, True, False], [False, False, False]])
    with pytest.raises(ValueError, match=r"row\(s\) \[1\] of 2"):
        sequence_rewards(torch.zeros(2), KL, mask, kl_coef=0.1)
    assert (token_rewards(KL, KL, mask, kl_coef=0.1)[1] == 0).all()


@pytest.mark.usefixtures("no_hook")
def test_errors() -> None:
    with pytest.raises(ValueError, match=r"kl has shape \(2, 3\).*scores has shape \(1,\)"):
        sequence_rewards(torch.zeros(1), KL, MASK, kl_coef=0.1)
    with pytest.raises(ValueError, match=r"scores must have 1 dim.*\(2, 3\)"):
        sequence_rewards(KL, KL, MASK, kl_coef=0.1)
    with pytest.raises(ValueError, match=r"\(2, 2\).*\(2, 3\)"):
        token_rewards(KL, KL, MASK[:, :2], kl_coef=0.1)
    with pytest.raises(ValueError, match=r"\(2, 3\).*\(2, 1\)"):
        token_rewards(KL[:, :1], KL, MASK, kl_coef=0.1)
    with pytest.raises(ValueError, match="kl_coef must not be negative"):
        token_rewards(KL, KL, MASK, kl_coef=-0.1)


def test_gradcheck() -> None:
    batch = random_batch(seed=0, rows=2, length=4)
    x = torch.stack(batch.x[:2]).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda x: token_rewards(x[0], x[1], batch.mask, kl_coef=0.1), (x,)
    )
    assert torch.autograd.gradcheck(
        lambda x: sequence_rewards(x[0, :, 0], x[1], batch.mask, kl_coef=0.1), (x,)
    )
