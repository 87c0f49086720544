"""Each method's reward, by hand: what it makes of what its token source pays, the KL apart."""

from __future__ import annotations

import torch

from bench.rl import kl_penalised
from methods.fine_grained_ppo import FineGrainedPPO
from methods.gold_ppo import GoldPPO
from methods.ppo_rlhf import PPORLHF
from methods.segment_ppo import SegmentPPO
from methods.token_ppo import TokenPPO

MASK = torch.tensor([[True, True, False], [True, True, True]])
KL = torch.tensor([[0.1, 0.2, 9.0], [0.0, -0.1, 0.3]])
AT_THE_END = torch.tensor([[0.0, 2.0, 0.0], [0.0, 0.0, -1.0]])  # R = 2, -1
SHARES = torch.tensor([[0.5, 1.5, 0.0], [0.1, -0.2, 0.3]])  # r_t / T of r = 1 3 and .3 -.6 .9


def test_sequence_methods_pay_at_the_last_token() -> None:
    """b = .5: [-.05, 2 - .1, 0] and [0, .05, -1 - .15]."""
    for method in (PPORLHF, FineGrainedPPO, GoldPPO):
        rewards = method(method.Options()).rewards(AT_THE_END, MASK)
        torch.testing.assert_close(rewards, AT_THE_END)
        less = kl_penalised(rewards, KL, MASK, kl_coef=0.5)
        torch.testing.assert_close(less, torch.tensor([[-0.05, 1.9, 0.0], [0.0, 0.05, -1.15]]))


def test_token_ppo_pays_every_token_its_share() -> None:
    """Less .5 KL: [.5 - .05, 1.5 - .1, 0], [.1, -.2 + .05, .3 - .15]."""
    rewards = TokenPPO(TokenPPO.Options()).rewards(SHARES, MASK)
    torch.testing.assert_close(rewards, SHARES)
    less = kl_penalised(rewards, KL, MASK, kl_coef=0.5)
    torch.testing.assert_close(less, torch.tensor([[0.45, 1.4, 0.0], [0.1, -0.15, 0.15]]))


def test_segment_ppo_pays_every_token_its_share_of_the_sentence() -> None:
    """Two sentences, r = 6 over two tokens and 3 over one: r_k / (K len_k) = 1.5 1.5 1.5."""
    paid = torch.tensor([[-1.0, -1.0, 0.0], [1.5, 1.5, 1.5]])
    method = SegmentPPO(SegmentPPO.Options())
    torch.testing.assert_close(method.rewards(paid, MASK), paid)


def test_paid_at_end_moves_the_same_sum_there() -> None:
    """Means 2 and .2 at the last token."""
    method = TokenPPO(TokenPPO.Options(paid_at="end"))
    rewards = method.rewards(SHARES, MASK)
    torch.testing.assert_close(rewards, torch.tensor([[0.0, 2.0, 0.0], [0.0, 0.0, 0.2]]))
    torch.testing.assert_close(rewards.sum(1), SHARES.sum(1))
