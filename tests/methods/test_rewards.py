"""Each method's reward, by hand."""

from __future__ import annotations

import torch

from methods.fine_grained_ppo import FineGrainedPPO
from methods.gold_ppo import GoldPPO
from methods.ppo_rlhf import PPORLHF
from methods.segment_ppo import SegmentPPO
from methods.token_ppo import TokenPPO

MASK = torch.tensor([[True, True, False], [True, True, True]])
KL = torch.tensor([[0.1, 0.2, 9.0], [0.0, -0.1, 0.3]])
SEQUENCE = (PPORLHF, FineGrainedPPO, GoldPPO)


def test_sequence_methods_pay_at_the_last_token() -> None:
    """b = .5, R = 2, -1: [-.05, 2 - .1, 0] and [0, .05, -1 - .15]."""
    expected = torch.tensor([[-0.05, 1.9, 0.0], [0.0, 0.05, -1.15]])
    for method in SEQUENCE:
        rewards = method(method.Options()).rewards(torch.tensor([2.0, -1.0]), KL, MASK, kl_coef=0.5)
        torch.testing.assert_close(rewards, expected)


TOKEN_SCORES = torch.tensor([[1.0, 3.0, 7.0], [0.3, -0.6, 0.9]])


def test_token_ppo_pays_every_token_its_share() -> None:
    """Divided by T = 2 and 3, less .5 KL: [.5 - .05, 1.5 - .1, 0], [.1, -.2 + .05, .3 - .15]."""
    method = TokenPPO(TokenPPO.Options())
    expected = torch.tensor([[0.45, 1.4, 0.0], [0.1, -0.15, 0.15]])
    torch.testing.assert_close(method.rewards(TOKEN_SCORES, KL, MASK, kl_coef=0.5), expected)


def test_segment_ppo_pays_every_token_its_share_of_the_sentence() -> None:
    """Two sentences, r = 6 over two tokens and 3 over one: r_k / (K len_k) = 1.5 1.5 1.5.

    The model gives them times T = 3; a response of one sentence, r = -2 over 2 tokens: -1 -1.
    """
    scores = torch.tensor([[-2.0, -2.0, 7.0], [4.5, 4.5, 4.5]])
    method = SegmentPPO(SegmentPPO.Options())
    expected = torch.tensor([[-1.05, -1.1, 0.0], [1.5, 1.55, 1.35]])
    torch.testing.assert_close(method.rewards(scores, KL, MASK, kl_coef=0.5), expected)


def test_granularity_sequence_moves_the_same_sum_to_the_end() -> None:
    """Means 2 and .2 at the last token."""
    method = TokenPPO(TokenPPO.Options(granularity="sequence"))
    rewards = method.rewards(TOKEN_SCORES, KL, MASK, kl_coef=0.0)
    torch.testing.assert_close(rewards, torch.tensor([[0.0, 2.0, 0.0], [0.0, 0.0, 0.2]]))
    dense = TokenPPO(TokenPPO.Options()).rewards(TOKEN_SCORES, KL, MASK, kl_coef=0.0)
    torch.testing.assert_close(rewards.sum(1), dense.sum(1))
