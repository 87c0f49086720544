"""Advantages of macro actions: several tokens that count as one decision."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from bench.rl.advantages import gae
from bench.rl.checks import check_token_tensors
from bench.rl.masking import zero_masked
from bench.rl.segments import segment_numbers


def macro_gae(
    rewards: Float[Tensor, "B T"],
    values: Float[Tensor, "B T"],
    ends: Bool[Tensor, "B T"],
    mask: Bool[Tensor, "B T"],
    *,
    gamma: float,
    gae_lambda: float,
) -> tuple[Float[Tensor, "B T"], Float[Tensor, "B T"]]:
    """Generalised advantage estimation in which a step is a macro action.

    Equations, for macro action j of the tokens t in M_j, then `gae` over j::

        r_j = sum_{t in M_j} r_t        V_j = (1/|M_j|) sum_{t in M_j} V_t

    Every token of M_j gets A_j as its advantage and A_j + V_j as its return.

    Args:
        rewards: (B, T) reward units.
        values: (B, T) predicted return at each token, reward units.
        ends: (B, T) True = the last token of a macro action; a row's last counted token ends one
            whether or not it is marked.
        mask: (B, T) True = counts.
        gamma: discount per macro action, in [0, 1].
        gae_lambda: lambda, in [0, 1].

    Returns:
        (advantages, returns), each (B, T) in reward units, 0 where `mask` is False. With every
        token marked they are those of `gae`.

    Raises:
        ValueError: if shapes disagree, a row of `mask` counts nothing, or `gamma` or `gae_lambda`
            lies outside [0, 1].
        TypeError: if a dtype is wrong.

    References:
        arXiv:2410.02743 (MA-RLHF), Section 3; values by "equal" of ernie-research/MA-RLHF.

    Differences from the paper:
        The released code takes the mean of a macro action's rewards, too, and so divides R and the
        KL by its length; here rewards are summed, as in the paper's definition.
    """
    check_token_tensors(mask, rewards=rewards, values=values)
    number, last = segment_numbers(ends, mask)  # (B, T): j from 0 on; True at the last of each
    zeros = torch.zeros_like(rewards)  # (B, T): as many macro actions as tokens at most
    macro_rewards = zeros.scatter_add(1, number, zero_masked(rewards, mask))
    lengths = zeros.scatter_add(1, number, mask.to(rewards.dtype))
    sums = zeros.scatter_add(1, number, zero_masked(values, mask))
    there = zeros.scatter_add(1, number, last.to(rewards.dtype)) > 0
    macro_values = sums / lengths.clamp(min=1.0)
    advantages, returns = gae(
        macro_rewards, macro_values, there, gamma=gamma, gae_lambda=gae_lambda
    )
    spread = (x.gather(1, number) for x in (advantages, returns))
    first, second = (zero_masked(x, mask) for x in spread)
    return first, second
