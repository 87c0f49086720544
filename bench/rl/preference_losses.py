"""Losses of reward models: pairs, rankings, and pairs of token scores. All are minimised."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import logsigmoid

from bench.rl.checks import (
    check_batch,
    check_float,
    check_label_smoothing,
    check_rank,
    check_same_shape,
    check_token_tensors,
)
from bench.rl.masking import masked_mean, masked_sum, zero_masked


def _negative_log_likelihood(
    z: Float[Tensor, "*shape"], label_smoothing: float
) -> Float[Tensor, "*shape"]:
    """``-(1-e) log sigma(z) - e log sigma(-z)``, by ``log sigma(-z) = log sigma(z) - z``."""
    return -logsigmoid(z) + label_smoothing * z


def _less_margins(
    differences: Float[Tensor, "B *rest"], margins: Float[Tensor, " B"] | None
) -> Float[Tensor, "B *rest"]:
    """Subtract each pair's margin, if there are any, from all that the pair has."""
    if margins is None:
        return differences
    check_rank(1, margins=margins)
    check_batch(rewards=differences, margins=margins)
    check_float(margins=margins)
    return differences - margins.view(-1, *(1,) * (differences.ndim - 1))


def _mean_over_pairs(
    differences: Float[Tensor, " B"],
    margins: Float[Tensor, " B"] | None,
    label_smoothing: float,
) -> Float[Tensor, ""]:
    """Mean loss of the pairs; raises ValueError on an empty batch (its mean is NaN)."""
    check_label_smoothing(label_smoothing)
    if differences.shape[0] == 0:
        raise ValueError("the batch holds no pair: a mean over nothing")
    return _negative_log_likelihood(_less_margins(differences, margins), label_smoothing).mean()


def bradley_terry_loss(
    chosen_scores: Float[Tensor, " B"],
    rejected_scores: Float[Tensor, " B"],
    *,
    margins: Float[Tensor, " B"] | None = None,
    label_smoothing: float = 0.0,
) -> Float[Tensor, ""]:
    """Negative log-likelihood that the chosen response is preferred.

    Equation, with ``z = R_w - R_l - m`` and ``e = label_smoothing``:

        L = -E[(1 - e) log sigma(z) + e log sigma(-z)]

    Args:
        chosen_scores: (B,) R_w, reward units.
        rejected_scores: (B,) R_l, reward units.
        margins: (B,) m, reward units: by how much the chosen one must win; None: 0.
        label_smoothing: e, the share of labels taken to be wrong, in [0, 0.5).

    Returns:
        A scalar in nats: the mean over pairs. log 2 where a model cannot tell the two apart and
        no margin is asked.

    Raises:
        ValueError: if the shapes differ, are not (B,), B is 0, or `label_smoothing` is out of
            range.
        TypeError: if a dtype is not float32 or float64.

    References:
        arXiv:2406.02756, Section 2 (sequence-level reward model); arXiv:2203.02155, Eq. 1, K = 2;
        the margin: arXiv:2307.09288 (Llama 2), Eq. 2; label smoothing: E. Mitchell, "A note on DPO
        with noisy preferences & relationship to IPO" (2023), which writes it for DPO.
    """
    check_same_shape(chosen_scores=chosen_scores, rejected_scores=rejected_scores)
    check_rank(1, chosen_scores=chosen_scores)
    check_float(chosen_scores=chosen_scores, rejected_scores=rejected_scores)
    return _mean_over_pairs(chosen_scores - rejected_scores, margins, label_smoothing)


def ranking_loss(
    scores: Float[Tensor, "B K"], ranks: Int[Tensor, "B K"], *, label_smoothing: float = 0.0
) -> Float[Tensor, ""]:
    """K-wise ranking loss: every ordered pair of a ranking in one pass.

    Equation, with ``z = r_w - r_l`` and ``e = label_smoothing``:

        L = -1/C(K,2) E[sum_{(w,l)} (1 - e) log sigma(z) + e log sigma(-z)]

    the sum running over the pairs (w, l) of one ranking with w ranked above l, the expectation
    over rankings.

    Args:
        scores: (B, K) reward units.
        ranks: (B, K) integers, 0 = best; only their order matters. Equal ranks form no pair.
        label_smoothing: e, the share of orders taken to be wrong, in [0, 0.5).

    Returns:
        A scalar in nats: the mean over a ranking's pairs, then over the rankings that have one.

    Raises:
        ValueError: if the shapes differ, are not (B, K), no ranking has a pair, or
            `label_smoothing` is out of range.
        TypeError: if `scores` is not float32 or float64.

    References:
        arXiv:2203.02155 (InstructGPT), Eq. 1; label smoothing as in `bradley_terry_loss`.

    Differences from the paper:
        Ties: the paper drops them without saying by what it then divides; here a ranking divides
        by the pairs it has, and one without any is left out of the mean.
    """
    check_same_shape(scores=scores, ranks=ranks)
    check_rank(2, scores=scores)
    check_float(scores=scores)
    check_label_smoothing(label_smoothing)
    pairs = ranks.unsqueeze(2) < ranks.unsqueeze(1)  # (B, K, K): [b, i, j] = i is above j
    differences = scores.unsqueeze(2) - scores.unsqueeze(1)  # (B, K, K)
    counts = pairs.sum(dim=(1, 2))  # (B,)
    rankings = int((counts > 0).sum())
    if rankings == 0:
        raise ValueError(f"no ranking of {ranks.shape[0]} has a pair: all its ranks are equal")
    losses = _negative_log_likelihood(differences, label_smoothing)
    sums = zero_masked(losses, pairs).sum(dim=(1, 2))
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
    *,
    margins: Float[Tensor, " B"] | None = None,
    label_smoothing: float = 0.0,
) -> Float[Tensor, ""]:
    """Preference loss of a token-level reward model, ``R(tau) = (1/T) sum_t r_t`` (Eq. 1).

    Equations, T_w and T_l the full lengths of the two responses:

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
        margins: (B,) by how much R(tau_w) must exceed R(tau_l), reward units; None: 0.
        label_smoothing: share of labels taken to be wrong, in [0, 0.5); both keywords as in
            `bradley_terry_loss`.

    Returns:
        A scalar in nats: the mean over pairs. A side on which nothing counts (a pure insertion
        has no changed token in the original) has reward 0; a pair of two such sides adds log 2
        (without a margin) and no gradient.

    Raises:
        ValueError: if shapes disagree, B is 0, only one changed mask is given, or
            `label_smoothing` is out of range.
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
    return _mean_over_pairs(chosen_reward - rejected_reward, margins, label_smoothing)


def _held_scores(
    scores: Float[Tensor, "B T"], mask: Bool[Tensor, "B T"], length: int
) -> Float[Tensor, "B N"]:
    """Counted scores of each row, closed up to the left; its last one again up to `length`."""
    order = mask.argsort(dim=1, descending=True, stable=True)
    counted = zero_masked(scores, mask).gather(1, order)
    last = mask.sum(dim=1, keepdim=True).clamp(min=1) - 1  # (B, 1)
    positions = torch.arange(length, device=scores.device)
    return counted.gather(1, torch.minimum(positions, last))


def divergence_preference_loss(
    chosen_scores: Float[Tensor, "B T"],
    chosen_mask: Bool[Tensor, "B T"],
    rejected_scores: Float[Tensor, "B U"],
    rejected_mask: Bool[Tensor, "B U"],
    first_divergence: Int[Tensor, " B"],
    *,
    margins: Float[Tensor, " B"] | None = None,
    label_smoothing: float = 0.0,
) -> Float[Tensor, ""]:
    """Token-wise preference loss from the first differing token on.

    Equation, d the first position at which the two responses differ, N = max(T_w, T_l):

        L = -E[ 1/(N - d) sum_{t=d}^{N-1} log sigma(r_t^w - r_t^l - m) ]

    with positions counted from 0 over a response's counted tokens, and each log sigma smoothed by
    `label_smoothing` as in `bradley_terry_loss`.

    Args:
        chosen_scores: (B, T) r_t of the chosen response, reward units.
        chosen_mask: (B, T) True = counts.
        rejected_scores: (B, U) r_t of the rejected response; U need not equal T.
        rejected_mask: (B, U) True = counts.
        first_divergence: (B,) integers, d: an index into a response's *counted* tokens. -1, or
            one at or past the end of both: the responses are the same.
        margins: (B,) m, reward units: by how much each token must win; None: 0.
        label_smoothing: share of labels taken to be wrong, in [0, 0.5).

    Returns:
        A scalar in nats: the mean over a pair's positions, then over the pairs that diverge.

    Raises:
        ValueError: if shapes disagree, no pair of the batch diverges, or `label_smoothing` is out
            of range.
        TypeError: if a dtype is wrong.

    References:
        arXiv:2308.01320 (DeepSpeed-Chat): `RewardModel.forward` of its code.

    Differences from DeepSpeed-Chat:
        Past the end of the shorter response it compares with the scores that the model gives to
        padding; here with the score at the shorter one's last counted token (0 if it has none). A
        pair that does not diverge adds one term there, of log 2 without gradient, and none here.
    """
    check_token_tensors(chosen_mask, chosen_scores=chosen_scores)
    check_token_tensors(rejected_mask, rejected_scores=rejected_scores)
    check_rank(1, first_divergence=first_divergence)
    check_batch(
        chosen_scores=chosen_scores,
        rejected_scores=rejected_scores,
        first_divergence=first_divergence,
    )
    check_label_smoothing(label_smoothing)
    length = max(chosen_scores.shape[1], rejected_scores.shape[1])
    differences = _held_scores(chosen_scores, chosen_mask, length) - _held_scores(
        rejected_scores, rejected_mask, length
    )
    ends = torch.maximum(chosen_mask.sum(dim=1), rejected_mask.sum(dim=1))  # (B,)
    diverges = (first_divergence >= 0) & (first_divergence < ends)
    pairs = int(diverges.sum())
    if pairs == 0:
        raise ValueError(
            f"no pair of {len(ends)} diverges: drop identical pairs before they make a batch"
        )
    positions = torch.arange(length, device=ends.device)
    counted = (positions >= first_divergence.unsqueeze(1)) & (positions < ends.unsqueeze(1))
    losses = _negative_log_likelihood(_less_margins(differences, margins), label_smoothing)
    return masked_mean(losses, counted & diverges.unsqueeze(1), dim=1).sum() / pairs
