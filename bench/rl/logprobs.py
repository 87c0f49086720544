"""Log-probabilities and entropy of a categorical policy."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from bench.rl.checks import check_rank


def log_softmax(logits: Float[Tensor, "B T V"]) -> Float[Tensor, "B T V"]:
    """Log-softmax in float32, or in float64 where the logits are float64."""
    dtype = torch.promote_types(logits.dtype, torch.float32)
    return torch.log_softmax(logits, dim=-1, dtype=dtype)


def token_logprobs(
    logits: Float[Tensor, "B T V"], tokens: Int[Tensor, "B T"]
) -> Float[Tensor, "B T"]:
    """Log-probability of each token under the policy.

    Equation: ``log pi(a_t | s_t) = logits_t[a_t] - log sum_v exp(logits_t[v])``.

    Args:
        logits: (B, T, V), any float dtype; ``logits[:, t]`` predicts ``tokens[:, t]`` (the caller
            shifts). Already divided by the sampling temperature, if any.
        tokens: (B, T) token ids in [0, V), at padded positions too (any valid id will do there).

    Returns:
        (B, T) in nats, <= 0; float32 for half-precision logits, else the dtype of `logits`.

    Raises:
        ValueError: if `logits` is not (B, T, V) or `tokens` not (B, T).
    """
    check_rank(3, logits=logits)
    if tokens.shape != logits.shape[:2]:
        raise ValueError(
            f"tokens has shape {tuple(tokens.shape)}, but logits has shape {tuple(logits.shape)}"
        )
    return log_softmax(logits).gather(-1, tokens.long().unsqueeze(-1)).squeeze(-1)


def entropy(logits: Float[Tensor, "B T V"]) -> Float[Tensor, "B T"]:
    """Entropy of the next-token distribution.

    Equation: ``H_t = -sum_v pi(v | s_t) log pi(v | s_t)``.

    Args:
        logits: (B, T, V), any float dtype; -inf marks a token that cannot be drawn.

    Returns:
        (B, T) in nats, in [0, log V]; float32 for half-precision logits, else the dtype of
        `logits`.

    Raises:
        ValueError: if `logits` is not (B, T, V).
    """
    check_rank(3, logits=logits)
    logprobs = log_softmax(logits)
    # 0 log 0 = 0, in the gradient as well
    finite = logprobs.masked_fill(logprobs == -torch.inf, 0.0)
    return -(logprobs.exp() * finite).sum(-1)
