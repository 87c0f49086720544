"""GAE over macro actions."""

import pytest
import torch

from bench.rl import gae, macro_gae

from .strategies import random_batch

SETTINGS = {"gamma": 0.9, "gae_lambda": 0.8}


def test_by_hand() -> None:
    """Two actions of two tokens and one: rewards 1 + 2 and 4, values (0 + 1)/2 and 2.

    A_2 = 4 - 2 = 2; A_1 = 3 + .9 * 2 - .5 + .9 * .8 * 2 = 5.74.
    """
    rewards, values = torch.tensor([[1.0, 2.0, 4.0, 9.0]]), torch.tensor([[0.0, 1.0, 2.0, 9.0]])
    ends = torch.tensor([[False, True, False, False]])
    mask = torch.tensor([[True, True, True, False]])
    advantages, returns = macro_gae(rewards, values, ends, mask, **SETTINGS)
    assert advantages[0].tolist() == pytest.approx([5.74, 5.74, 2.0, 0.0])
    assert returns[0].tolist() == pytest.approx([6.24, 6.24, 4.0, 0.0])


def test_one_token_an_action_is_gae() -> None:
    batch = random_batch(seed=7, rows=4, length=6)
    rewards, values, _ = batch.x
    every = torch.ones_like(batch.mask)
    found = macro_gae(rewards, values, every, batch.mask, **SETTINGS)
    for one, other in zip(found, gae(rewards, values, batch.mask, **SETTINGS), strict=True):
        torch.testing.assert_close(one, other)


def test_one_action_a_response_is_a_bandit() -> None:
    batch = random_batch(seed=8, rows=4, length=6)
    rewards, values, _ = batch.x
    mask = batch.mask
    advantages, returns = macro_gae(rewards, values, torch.zeros_like(mask), mask, **SETTINGS)
    score = rewards.masked_fill(~mask, 0).sum(dim=1, keepdim=True)
    value = values.masked_fill(~mask, 0).sum(dim=1, keepdim=True) / mask.sum(dim=1, keepdim=True)
    torch.testing.assert_close(advantages, (score - value).expand(mask.shape) * mask)
    torch.testing.assert_close(returns, score.expand(mask.shape) * mask)
