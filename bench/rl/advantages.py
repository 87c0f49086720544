"""From rewards and values to advantages and returns."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from bench.rl.checks import check_token_tensors, check_unit_interval
from bench.rl.masking import masked_mean, masked_sum, zero_masked

_EPSILON = 1e-8


def _next_values(values: Float[Tensor, "B T"], mask: Bool[Tensor, "B T"]) -> Float[Tensor, "B T"]:
    """Value of the next counted position after each position; 0 where there is none."""
    length = values.shape[1]
    positions = torch.arange(length, device=values.device).expand_as(values)
    counted_from_here = torch.where(mask, positions, length).flip(1).cummin(dim=1).values.flip(1)
    padded = torch.nn.functional.pad(values, (0, 1))  # position `length` holds the 0
    following = torch.nn.functional.pad(counted_from_here, (0, 1), value=length)[:, 1:]
    return padded.gather(1, following)


def gae(
    rewards: Float[Tensor, "B T"],
    values: Float[Tensor, "B T"],
    mask: Bool[Tensor, "B T"],
    *,
    gamma: float,
    gae_lambda: float,
) -> tuple[Float[Tensor, "B T"], Float[Tensor, "B T"]]:
    """Generalised advantage estimation over the counted tokens of each response.

    With t running over the *counted* positions of a row, and ``V_{n+1} = A_{n+1} = 0`` behind its
    last one:

        delta_t = r_t + gamma V_{t+1} - V_t
        A_t     = delta_t + gamma lambda A_{t+1}   ( = sum_l (gamma lambda)^l delta_{t+l} )
        return_t = A_t + V_t

    Positions that do not count are skipped, wherever they stand: a row gives what it would give
    with them cut out.

    Args:
        rewards: (B, T) reward units.
        values: (B, T) predicted return at each token, reward units.
        mask: (B, T) True = counts.
        gamma: discount per token, in [0, 1].
        gae_lambda: lambda, in [0, 1]; 0 = one-step TD error, 1 = Monte Carlo return less value.

    Returns:
        (advantages, returns), each (B, T) in reward units, 0 where `mask` is False.

    Raises:
        ValueError: if shapes disagree, or `gamma` or `gae_lambda` lies outside [0, 1].
        TypeError: if a dtype is wrong.

    References:
        arXiv:1506.02438, Eq. 16.

    Differences from the paper:
        Every response is an episode that ends at its last counted token: a response cut off by
        the length limit does not bootstrap from a value behind it.
    """
    check_token_tensors(mask, rewards=rewards, values=values)
    check_unit_interval(gamma=gamma, gae_lambda=gae_lambda)
    values = zero_masked(values, mask)
    deltas = zero_masked(rewards + gamma * _next_values(values, mask) - values, mask)
    # a skipped position has delta 0 and decay 1, so it hands the running sum on unchanged
    decays = torch.ones_like(deltas).masked_fill(mask, gamma * gae_lambda)
    running = deltas.new_zeros(deltas.shape[0])  # (B,)
    columns = []
    for delta, decay in zip(reversed(deltas.unbind(1)), reversed(decays.unbind(1)), strict=True):
        running = torch.addcmul(delta, decay, running)
        columns.append(running)
    stacked = torch.stack(columns[::-1], dim=1) if columns else deltas
    advantages = zero_masked(stacked, mask)
    return advantages, advantages + values


def _masked_variance(
    x: Float[Tensor, "B T"], mask: Bool[Tensor, "B T"], *, unbiased: bool = False
) -> Float[Tensor, ""]:
    """Return the variance of the n counted elements, over n or n - 1; 0 where n is 0 or 1."""
    squares = (x - masked_mean(x, mask)).square()
    degrees_of_freedom = mask.sum() - (1 if unbiased else 0)
    return masked_sum(squares, mask) / degrees_of_freedom.clamp(min=1)


def whiten(
    x: Float[Tensor, "B T"],
    mask: Bool[Tensor, "B T"],
    *,
    shift_mean: bool = True,
    unbiased: bool = False,
) -> Float[Tensor, "B T"]:
    """Scale the counted elements to variance 1, and shift them to mean 0 if asked.

    Equation: ``(x - mean) / sqrt(var + 1e-8) [+ mean if not shift_mean]``, mean and variance over
    all n counted tokens of the batch: ``var = sum (x - mean)^2 / n``, or ``/ (n - 1)`` if
    `unbiased`.

    Args:
        x: (B, T), any unit.
        mask: (B, T) True = counts.
        shift_mean: whether the mean goes to 0; if not, it stays what it was.
        unbiased: whether the variance is the sample's, over n - 1. A single element has variance
            0 either way.

    Returns:
        (B, T) without unit, 0 where `mask` is False. Equal elements (a single one too) become 0,
        or their own mean with ``shift_mean=False``.

    Raises:
        ValueError: if shapes disagree.
        TypeError: if a dtype is wrong.

    References:
        `whiten` of openai/lm-human-preferences, which goes with arXiv:1909.08593 (population
        variance, over padding as well); `masked_whiten` of TRL (``unbiased=True``).

    Differences from TRL:
        A single counted element gives 0 (or itself), where TRL's correction n / (n - 1) divides
        by zero.
    """
    check_token_tensors(mask, x=x)
    x = zero_masked(x, mask)
    mean = masked_mean(x, mask)
    variance = _masked_variance(x, mask, unbiased=unbiased)
    whitened = (x - mean) * torch.rsqrt(variance + _EPSILON)
    return zero_masked(whitened if shift_mean else whitened + mean, mask)


def explained_variance(
    values: Float[Tensor, "B T"], returns: Float[Tensor, "B T"], mask: Bool[Tensor, "B T"]
) -> Float[Tensor, ""]:
    """Share of the returns' variance that the values predict.

    Equation: ``1 - Var[returns - values] / Var[returns]``, population variances over the counted
    tokens. 1 = perfect, 0 = no better than a constant, negative = worse than a constant. A
    constant offset of the values goes unnoticed.

    Args:
        values: (B, T) predictions, reward units.
        returns: (B, T) targets, reward units.
        mask: (B, T) True = counts.

    Returns:
        A scalar without unit, <= 1; NaN where the returns do not vary (or nothing counts).

    Raises:
        ValueError: if shapes disagree.
        TypeError: if a dtype is wrong.
    """
    check_token_tensors(mask, values=values, returns=returns)
    values, returns = zero_masked(values, mask), zero_masked(returns, mask)
    total = _masked_variance(returns, mask)
    unexplained = _masked_variance(returns - values, mask)
    return torch.where(total > 0, 1.0 - unexplained / total, torch.nan)
