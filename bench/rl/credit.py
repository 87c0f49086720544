"""Shares of a response's score: how credit is spread over its tokens without changing its sum."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from bench.rl.checks import check_token_tensors
from bench.rl.masking import last_counted, zero_masked


def attention_shares(
    attention: Float[Tensor, "B T"], mask: Bool[Tensor, "B T"]
) -> Float[Tensor, "B T"]:
    """Attention weights, renormalised within the response.

    Equation: ``a_t / sum_s a_s``, over counted tokens.

    Args:
        attention: (B, T) weights, not negative; their sum may be less than 1 (the prompt has the
            rest).
        mask: (B, T) True = counts.

    Returns:
        (B, T) shares that sum to 1; 0 where `mask` is False. A response that gets no attention at
        all has its whole share at its last token.

    Raises:
        ValueError: if shapes disagree or a row of `mask` counts nothing (the row is named).
        TypeError: if a dtype is wrong.

    References:
        arXiv:2402.00782 (ABC), Section 3.
    """
    check_token_tensors(mask, attention=attention)
    attention = zero_masked(attention, mask)
    total = attention.sum(dim=1, keepdim=True)
    shares = torch.where(total > 0, attention / total.clamp(min=1e-30), last_counted(mask).float())
    return zero_masked(shares.to(attention.dtype), mask)


def growth_of_mean(
    rewards: Float[Tensor, "B T"], mask: Bool[Tensor, "B T"]
) -> Float[Tensor, "B T"]:
    """By how much each token moves the mean reward of the tokens so far.

    Equation: ``m_t - m_{t-1}`` with ``m_t = (1/t) sum_{s<=t} r_s`` and ``m_0 = 0``, so that

        m_t - m_{t-1} = (r_t - m_{t-1}) / t,        sum_t (m_t - m_{t-1}) = m_T

    A token is paid for being better than those before it. With r_t / T at each token, T itself is
    not known when a token is drawn, and going on with mediocre tokens lowers what the good ones
    before were worth; here the token that dilutes the mean pays for it.

    Args:
        rewards: (B, T) r_t, reward units.
        mask: (B, T) True = counts; counted tokens come before all others.

    Returns:
        (B, T) reward units, a row's sum is its mean; 0 where `mask` is False.

    Raises:
        ValueError: if shapes disagree.
        TypeError: if a dtype is wrong.
    """
    check_token_tensors(mask, rewards=rewards)
    count = mask.cumsum(dim=1).clamp(min=1)
    means = zero_masked(rewards, mask).cumsum(dim=1) / count
    before = torch.nn.functional.pad(means[:, :-1], (1, 0))
    return zero_masked(means - before, mask)
