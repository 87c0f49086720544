"""Tokens as two classes, better and worse: the loss that learns them, and what they are paid."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from bench.rl.checks import check_batch, check_float, check_token_tensors
from bench.rl.masking import masked_mean, zero_masked


def _repeated(logits: Float[Tensor, "B T"], softmaxes: int) -> Float[Tensor, "B T"]:
    """The logit of the better class after all softmaxes but the last.

    A softmax over (z, 0) gives (p, 1 - p) with p = sigma(z); another one over these two has the
    logit ``p - (1 - p) = 2 sigma(z) - 1 = tanh(z / 2)``.
    """
    if softmaxes not in (1, 2):
        raise ValueError(f"softmaxes must be 1 or 2, is {softmaxes!r}")
    return logits if softmaxes == 1 else torch.tanh(logits / 2)


def token_label_loss(
    chosen_logits: Float[Tensor, "B T"],
    chosen_mask: Bool[Tensor, "B T"],
    rejected_logits: Float[Tensor, "B U"],
    rejected_mask: Bool[Tensor, "B U"],
    chosen_changed: Bool[Tensor, "B T"],
    rejected_changed: Bool[Tensor, "B U"],
    *,
    softmaxes: int = 1,
) -> Float[Tensor, ""]:
    """Cross-entropy of each token's class with what the edit did to it.

    Equation, with ``p_t = sigma(z_t)`` the probability that token t is of the better class::

        L = E[(1/T_w) sum_t H(y_t^w, p_t^w) + (1/T_l) sum_t H(y_t^l, p_t^l)]
        H(y, p) = -y log p - (1 - y) log(1 - p)

    y is 1 for a token that the edit put in (the chosen side), 0 for one that it took out (the
    rejected side), and 1/2 for one that it left alone, on either side.

    Args:
        chosen_logits: (B, T) z_t of the edited response.
        chosen_mask: (B, T) True = counts.
        rejected_logits: (B, U) z_t of the original response.
        rejected_mask: (B, U) True = counts.
        chosen_changed: (B, T) the tokens that the original has not.
        rejected_changed: (B, U) the tokens that the edit has not.
        softmaxes: 1, or 2 as in the authors' released code.

    Returns:
        A scalar in nats: the mean over pairs. With every logit 0 it is 2 log 2.

    Raises:
        ValueError: if shapes disagree, B is 0, or `softmaxes` is neither 1 nor 2.
        TypeError: if a dtype is wrong.

    References:
        arXiv:2407.16574 (TLCR), Section 3.2; the released code, EsYoon7/RLHF-TLCR.
    """
    check_batch(chosen_logits=chosen_logits, rejected_logits=rejected_logits)
    if chosen_logits.shape[0] == 0:
        raise ValueError("the batch holds no pair: a mean over nothing")
    sides = (
        (chosen_logits, chosen_mask, chosen_changed, 1.0),
        (rejected_logits, rejected_mask, rejected_changed, 0.0),
    )
    total = chosen_logits.new_zeros(())
    for logits, mask, changed, label in sides:
        check_token_tensors(mask, logits=logits)
        check_token_tensors(changed, logits=logits)
        z = _repeated(zero_masked(logits, mask), softmaxes)
        labels = torch.where(changed, label, 0.5).to(z.dtype)
        losses = binary_cross_entropy_with_logits(z, labels, reduction="none")
        total = total + masked_mean(losses, mask, dim=1).mean()
    return total


def token_label_rewards(
    logits: Float[Tensor, "B T"], mask: Bool[Tensor, "B T"], *, softmaxes: int = 1
) -> Float[Tensor, "B T"]:
    """What a token is paid for its class.

    Equation: ``r_t = 2 p_t - 1 = tanh(z_t / 2)``, between -1 and 1; of two softmaxes
    ``tanh(tanh(z_t / 2) / 2)``, between -.462 and .462.

    Args:
        logits: (B, T) z_t.
        mask: (B, T) True = counts.
        softmaxes: as in `token_label_loss`.

    Returns:
        (B, T) reward units; 0 where `mask` is False.

    Raises:
        ValueError: if shapes disagree or `softmaxes` is neither 1 nor 2.
        TypeError: if a dtype is wrong.

    References:
        arXiv:2407.16574 (TLCR), Section 3.3.
    """
    check_token_tensors(mask, logits=logits)
    check_float(logits=logits)
    return torch.tanh(_repeated(zero_masked(logits, mask), softmaxes) / 2)
