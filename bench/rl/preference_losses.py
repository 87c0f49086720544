"""Losses of reward models: pairs, rankings, and pairs of token scores. All are minimised."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import logsigmoid

from bench.rl.checks import (
    check_batch,
    check_float,
    check_rank,
    check_same_shape,
    check_token_tensors,
)
from bench.rl.masking import masked_sum


def _mean_negative_log_sigmoid(margins: Float[Tensor, " B"]) -> Float[Tensor, ""]:
    """``mean_b -log sigma(margin_b)``; raises ValueError on an empty batch (its mean is NaN)."""
    if margins.shape[0] == 0:
        raise ValueError("the batch holds no pair: a mean over nothing")
    return -logsigmoid(margins).mean()


def bradley_terry_loss(
    chosen_scores: Float[Tensor, " B"], rejected_scores: Float[Tensor, " B"]
) -> Float[Tensor, ""]:
    """Negative log-likelihood that the chosen response is preferred.

    Equation: ``L = -E[log sigma(R_w - R_l)]``.

    Args:
        chosen_scores: (B,) R_w, reward units.
        rejected_scores: (B,) R_l, reward units.

    Returns:
        A scalar in nats: the mean over pairs. log 2 where a model cannot tell the two apart.

    Raises:
        ValueError: if the shapes differ, are not (B,), or B is 0.
        TypeError: if a dtype is not float32 or float64.

    References:
        arXiv:2406.02756, Section 2 (sequence-level reward model); arXiv:2203.02155, Eq. 1, K = 2.
    """
    check_same_shape(chosen_scores=chosen_scores, rejected_scores=rejected_scores)
    check_rank(1, chosen_scores=chosen_scores)
    check_float(chosen_scores=chosen_scores, rejected_scores=rejected_scores)
    return _mean_negative_log_sigmoid(chosen_scores - rejected_scores)


def ranking_loss(scores: Float[Tensor, "B K"], ranks: Int[Tensor, "B K"]) -> Float[Tensor, ""]:
    """K-wise ranking loss: every ordered pair of a ranking in one pass.

    Equation: ``L = -1/C(K,2) E[log sigma(r_w - r_l)]``, the sum running over the pairs (w, l) of
    one ranking with w ranked above l, the expectation over rankings.

    Args:
        scores: (B, K) reward units.
        ranks: (B, K) integers, 0 = best; only their order matters. Equal ranks form no pair.

    Returns:
        A scalar in nats: the mean over a ranking's pairs, then over the rankings that have one.

    Raises:
        ValueError: if the shapes differ, are not (B, K), or no ranking has a pair.
        TypeError: if `scores` is not float32 or float64.

    References:
        arXiv:2203.02155 (InstructGPT), Eq. 1.

    Differences from the paper:
        Ties: the paper drops them without saying by what it then divides; here a ranking divides
        by the pairs it has, and one without any is left out of the mean.
    """
    check_same_shape(scores=scores, ranks=ranks)
    check_rank(2, scores=scores)
    check_float(scores=scores)
    pairs = ranks.unsqueeze(2) < ranks.unsqueeze(1)  # (B, K, K): [b, i, j] = i is above j
    margins = scores.unsqueeze(2) - scores.unsqueeze(1)  # (B, K, K)
    counts = pairs.sum(dim=(1, 2))  # (B,)
    rankings = int((counts > 0).sum())
    if rankings == 0:
        raise ValueError(f"no ranking of {ranks.shape[0]} has a pair: all its ranks are equal")
    sums = torch.where(pairs, -logsigmoid(margins), 0.0).sum(dim=(1, 2))
    return (sums / counts.clamp(min=1)).sum() / rankings


def _response_reward(
    scores: Float[Tensor, "B T"], mask: Bool[Tensor, "B T"], changed: Bool[Tensor, "B T"] | None
) -> Float[Tensor, " B"]:
    """``(1/T) sum_t r_t`` over counted (and changed) tokens; T counts all; 0 for an empty row."""
    kept = mask if changed is None else mask & changed
    return masked_sum(scores, kept, dim=1) / mask.sum(dim=1).clamp(min=1)


def token_preference_loss(
    chosen_scores: Float[Tensor, "B T"],
    chosen_mask: Bool[Tensor, "B T"],
    rejected_scores: Float[Tensor, "B U"],
    rejected_mask: Bool[Tensor, "B U"],
    chosen_changed: Bool[Tensor, "B T"] | None = None,
    rejected_changed: Bool[Tensor, "B U"] | None = None,
) -> Float[Tensor, ""]:
    """Preference loss of a token-level reward model, ``R(tau) = (1/T) sum_t r_t`` (Eq. 1).

    Equations, T_w and T_l the full lengths of the two responses::

        Eq. 3  L = -E[log sigma((1/T_w) sum_t    r_t^w - (1/T_l) sum_t    r_t^l)]
        Eq. 4  L = -E[log sigma((1/T_w) sum_{U1} r_t^w - (1/T_l) sum_{U1} r_t^l)]

    Eq. 4 (with the changed masks) sums over the tokens that the edit changed, U1, but still
    divides by the full length.

    Args:
        chosen_scores: (B, T) r_t of the chosen (edited) response, reward units.
        chosen_mask: (B, T) True = counts.
        rejected_scores: (B, U) r_t of the rejected (original) response; U need not equal T.
        rejected_mask: (B, U) True = counts.
        chosen_changed: (B, T) U1 of the chosen response; what `chosen_mask` leaves out stays out.
        rejected_changed: (B, U) U1 of the rejected response; given with `chosen_changed`.

    Returns:
        A scalar in nats: the mean over pairs. A side on which nothing counts (a pure insertion
        has no changed token in the original) has reward 0; a pair of two such sides adds log 2
        and no gradient.

    Raises:
        ValueError: if shapes disagree, B is 0, or only one changed mask is given.
        TypeError: if a dtype is wrong.

    References:
        arXiv:2406.02756, Eqs. 1, 3 and 4.

    Differences from the paper:
        U1 is defined there by comparing index by index, which needs equal lengths; the caller
        passes masks by alignment (`bench.editing.align_edit`), so that an insertion does not mark
        all that follows it.
    """
    check_token_tensors(chosen_mask, chosen_scores=chosen_scores)
    check_token_tensors(rejected_mask, rejected_scores=rejected_scores)
    check_batch(chosen_scores=chosen_scores, rejected_scores=rejected_scores)
    if (chosen_changed is None) != (rejected_changed is None):
        raise ValueError("give both changed masks (Eq. 4) or neither (Eq. 3)")
    if chosen_changed is not None and rejected_changed is not None:
        check_token_tensors(chosen_changed, chosen_scores=chosen_scores)
        check_token_tensors(rejected_changed, rejected_scores=rejected_scores)
    chosen_reward = _response_reward(chosen_scores, chosen_mask, chosen_changed)
    rejected_reward = _response_reward(rejected_scores, rejected_mask, rejected_changed)
    return _mean_negative_log_sigmoid(chosen_reward - rejected_reward)
