"""PPO's clipped losses, both minimised, and statistics of the ratios that they clip."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from bench.rl.checks import check_not_negative, check_token_tensors
from bench.rl.kl import kl_estimate
from bench.rl.masking import masked_mean, zero_masked


def ppo_policy_loss(
    logprobs: Float[Tensor, "B T"],
    old_logprobs: Float[Tensor, "B T"],
    advantages: Float[Tensor, "B T"],
    mask: Bool[Tensor, "B T"],
    *,
    clip_range: float,
) -> Float[Tensor, ""]:
    """Clipped surrogate objective, negated.

    Equation, with ``rho_t = pi(a_t | s_t) / pi_old(a_t | s_t)`` and ``e = clip_range``:

        L = -mean_t min(rho_t A_t, clip(rho_t, 1 - e, 1 + e) A_t)

    Args:
        logprobs: (B, T) of the policy being trained, nats.
        old_logprobs: (B, T) of the policy that drew the tokens, nats.
        advantages: (B, T) A_t, held constant by the caller (no gradient).
        mask: (B, T) True = counts.
        clip_range: e, >= 0; ``math.inf`` switches the clipping off.

    Returns:
        A scalar: the mean over all counted tokens of the batch, 0 if nothing counts.

    Raises:
        ValueError: if shapes disagree or `clip_range` is negative.
        TypeError: if a dtype is wrong.

    References:
        arXiv:1707.06347, Eq. 7 (a maximised objective there: hence the sign).
    """
    check_token_tensors(mask, logprobs=logprobs, old_logprobs=old_logprobs, advantages=advantages)
    check_not_negative(clip_range=clip_range)
    # masked before exp: an overflow at padding would make its gradient 0 * inf = NaN
    ratios = zero_masked(logprobs - old_logprobs, mask).exp()
    clipped = ratios.clamp(1.0 - clip_range, 1.0 + clip_range)
    advantages = zero_masked(advantages, mask)
    return -masked_mean(torch.minimum(ratios * advantages, clipped * advantages), mask)


def ppo_value_loss(
    values: Float[Tensor, "B T"],
    old_values: Float[Tensor, "B T"],
    returns: Float[Tensor, "B T"],
    mask: Bool[Tensor, "B T"],
    *,
    clip_range: float,
) -> Float[Tensor, ""]:
    """Clipped squared error of the value function.

    Equation, with ``e = clip_range``:

        L = 0.5 mean_t max((V_t - R_t)^2, (clip(V_t, V_old_t - e, V_old_t + e) - R_t)^2)

    Args:
        values: (B, T) V_t of the value function being trained, reward units.
        old_values: (B, T) V_old_t when the rollout was made, reward units.
        returns: (B, T) R_t, reward units.
        mask: (B, T) True = counts.
        clip_range: e, reward units, >= 0; ``math.inf`` switches the clipping off.

    Returns:
        A scalar, squared reward units: the mean over all counted tokens of the batch, 0 if
        nothing counts.

    Raises:
        ValueError: if shapes disagree or `clip_range` is negative.
        TypeError: if a dtype is wrong.

    References:
        arXiv:1707.06347, Eq. 9 (its L^VF).

    Differences from the paper:
        The paper's L^VF is the plain square without the factor 0.5; clipping and factor follow
        openai/baselines and openai/lm-human-preferences.
    """
    check_token_tensors(mask, values=values, old_values=old_values, returns=returns)
    check_not_negative(clip_range=clip_range)
    values, old_values, returns = (zero_masked(x, mask) for x in (values, old_values, returns))
    clipped = torch.clamp(values, old_values - clip_range, old_values + clip_range)
    squares = torch.maximum((values - returns).square(), (clipped - returns).square())
    return 0.5 * masked_mean(squares, mask)


def ratio_statistics(
    logprobs: Float[Tensor, "B T"],
    old_logprobs: Float[Tensor, "B T"],
    mask: Bool[Tensor, "B T"],
    *,
    clip_range: float,
) -> dict[str, Float[Tensor, ""]]:
    """How far the policy has moved from the one that drew the tokens.

    With ``rho_t = pi(a_t | s_t) / pi_old(a_t | s_t)`` and all means over the counted tokens:

        clip_fraction = mean_t [|rho_t - 1| > clip_range]
        approx_kl     = mean_t (rho_t - 1 - log rho_t)      k3 estimate of KL(pi_old || pi), nats
        ratio_mean    = mean_t rho_t                        1 in expectation
        ratio_max     = max_t rho_t
        ratio_std     = sqrt(mean_t (rho_t - ratio_mean)^2)

    Args:
        logprobs: (B, T) of the policy being trained, nats.
        old_logprobs: (B, T) of the policy that drew the tokens, nats.
        mask: (B, T) True = counts.
        clip_range: that of `ppo_policy_loss`, >= 0.

    Returns:
        The five scalars by name, without gradient; all 0 if nothing counts.

    Raises:
        ValueError: if shapes disagree or `clip_range` is negative.
        TypeError: if a dtype is wrong.

    References:
        approx_kl: J. Schulman, "Approximating KL Divergence" (2020),
        http://joschu.net/blog/kl-approx.html.

    Differences from TRL:
        clip_fraction counts every ratio out of range, as openai/baselines does; TRL counts those
        whose loss the clipping raises, which leaves out a ratio on the side that A_t pulls back.
    """
    check_token_tensors(mask, logprobs=logprobs, old_logprobs=old_logprobs)
    check_not_negative(clip_range=clip_range)
    logprobs, old_logprobs = (zero_masked(x.detach(), mask) for x in (logprobs, old_logprobs))
    ratios = (logprobs - old_logprobs).exp()
    mean = masked_mean(ratios, mask)
    outside = ((ratios - 1.0).abs() > clip_range).to(ratios.dtype)
    return {
        "clip_fraction": masked_mean(outside, mask),
        "approx_kl": masked_mean(kl_estimate(old_logprobs, logprobs, "k3"), mask),
        "ratio_mean": mean,
        "ratio_max": zero_masked(ratios, mask).amax(),
        "ratio_std": masked_mean((ratios - mean).square(), mask).sqrt(),
    }
