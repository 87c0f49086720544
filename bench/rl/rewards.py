"""What PPO is paid at each token: the reward model's scores less the KL penalty.

The two functions differ in nothing but the granularity of the score; with all of a row's score on
its last counted token they give the same rewards (a test holds this).
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from bench.rl.checks import (
    check_batch,
    check_float,
    check_not_negative,
    check_rank,
    check_token_tensors,
)
from bench.rl.masking import zero_masked


def _last_counted(mask: Bool[Tensor, "B T"]) -> Bool[Tensor, "B T"]:
    """Mark each row's last counted position.

    Raises:
        ValueError: naming the first rows in which nothing counts.
    """
    empty = (~mask.any(dim=1)).nonzero().flatten().tolist()
    if empty:
        raise ValueError(
            f"mask counts nothing in row(s) {empty[:10]} of {mask.shape[0]}: "
            "a sequence score needs a token to stand on"
        )
    positions = torch.arange(mask.shape[1], device=mask.device)
    last = torch.where(mask, positions, -1).amax(dim=1, keepdim=True)
    return positions == last


def sequence_rewards(
    scores: Float[Tensor, " B"],
    kl: Float[Tensor, "B T"],
    mask: Bool[Tensor, "B T"],
    *,
    kl_coef: float,
) -> Float[Tensor, "B T"]:
    """Rewards when the whole response carries one score.

    Equation: ``[-b KL_1, ..., -b KL_{T-1}, R - b KL_T]`` with ``R = r(x, y)``, ``b = kl_coef``.

    Args:
        scores: (B,) R, reward units.
        kl: (B, T) KL estimate at each token, nats.
        mask: (B, T) True = counts. T of the equation is a row's last counted position.
        kl_coef: b, reward units per nat, >= 0.

    Returns:
        (B, T) reward units; 0 where `mask` is False.

    Raises:
        ValueError: if shapes disagree, a row of `mask` counts nothing (the row is named), or
            `kl_coef` is negative.
        TypeError: if a dtype is wrong.

    References:
        arXiv:2406.02756, Section 2 (sequence-level PPO); the penalty of arXiv:2203.02155, Eq. 2.
    """
    check_rank(1, scores=scores)
    check_batch(scores=scores, kl=kl)
    check_float(scores=scores)
    check_token_tensors(mask, kl=kl)
    check_not_negative(kl_coef=kl_coef)
    penalties = zero_masked(-kl_coef * kl, mask)
    return penalties + zero_masked(scores.unsqueeze(1).expand_as(kl), _last_counted(mask))


def token_rewards(
    token_scores: Float[Tensor, "B T"],
    kl: Float[Tensor, "B T"],
    mask: Bool[Tensor, "B T"],
    *,
    kl_coef: float,
) -> Float[Tensor, "B T"]:
    """Rewards when each token carries its own score.

    Equation: ``[r_1 - b KL_1, ..., r_T - b KL_T]`` with ``b = kl_coef``.

    Args:
        token_scores: (B, T) r_t, reward units.
        kl: (B, T) KL estimate at each token, nats.
        mask: (B, T) True = counts.
        kl_coef: b, reward units per nat, >= 0.

    Returns:
        (B, T) reward units; 0 where `mask` is False. A row that counts nothing is all 0.

    Raises:
        ValueError: if shapes disagree or `kl_coef` is negative.
        TypeError: if a dtype is wrong.

    References:
        arXiv:2406.02756, Section 2 (token-level PPO).

    Differences from the paper:
        None here. The scores sum to T times the R(tau) of Eq. 1, which is their mean: the caller
        decides whether to normalise, and records the reward mass either way.
    """
    check_token_tensors(mask, token_scores=token_scores, kl=kl)
    check_not_negative(kl_coef=kl_coef)
    return zero_masked(token_scores - kl_coef * kl, mask)
