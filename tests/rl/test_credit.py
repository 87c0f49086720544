"""Shares of a score: by attention, and by the growth of a mean."""

import pytest
import torch

from bench.rl import attention_shares, growth_of_mean, masked_mean, masked_sum

from .strategies import random_batch


def test_attention_by_hand() -> None:
    """.1 and .3 of all attention are on the response: a quarter and three quarters of it."""
    attention = torch.tensor([[0.1, 0.3, 0.9], [0.0, 0.0, 0.0]])
    mask = torch.tensor([[True, True, False], [True, True, True]])
    shares = attention_shares(attention, mask)
    torch.testing.assert_close(shares[0], torch.tensor([0.25, 0.75, 0.0]))
    assert shares[1].tolist() == [0.0, 0.0, 1.0]  # nobody looked: all of it at the end


def test_attention_sums_to_one() -> None:
    batch = random_batch(seed=4, rows=5, length=7)
    shares = attention_shares(batch.x[0].abs(), batch.mask)
    torch.testing.assert_close(masked_sum(shares, batch.mask, dim=1), torch.ones(5).double())


def test_growth_by_hand() -> None:
    """Rewards 2, 0, 4: means 2, 1, 2, so 2, -1 and +1: the token that dilutes is charged."""
    rewards = torch.tensor([[2.0, 0.0, 4.0, 7.0]])
    mask = torch.tensor([[True, True, True, False]])
    assert growth_of_mean(rewards, mask).tolist() == [[2.0, -1.0, 1.0, 0.0]]


def test_growth_sums_to_the_mean_and_an_average_token_gets_nothing() -> None:
    batch = random_batch(seed=5, rows=5, length=7)
    growth = growth_of_mean(batch.x[0], batch.mask)
    torch.testing.assert_close(
        masked_sum(growth, batch.mask, dim=1), masked_mean(batch.x[0], batch.mask, dim=1)
    )
    same = growth_of_mean(torch.full((1, 4), 3.0), torch.ones(1, 4, dtype=torch.bool))
    assert same.tolist() == [[3.0, 0.0, 0.0, 0.0]]


def test_one_token_gets_all_of_it() -> None:
    one = torch.ones(1, 1, dtype=torch.bool)
    assert growth_of_mean(torch.tensor([[5.0]]), one).item() == 5.0
    assert attention_shares(torch.tensor([[0.2]]), one).item() == pytest.approx(1.0)
