"""Losses of policies that learn from given responses, without a rollout. All are minimised."""

from typing import Literal

from jaxtyping import Bool, Float, Int
from torch import Tensor

from bench.rl.checks import (
    check_batch,
    check_float,
    check_not_negative,
    check_rank,
    check_same_shape,
    check_token_tensors,
)
from bench.rl.masking import masked_sum, zero_masked
from bench.rl.preference_losses import bradley_terry_loss


def dpo_loss(
    chosen_log_ratios: Float[Tensor, " B"],
    rejected_log_ratios: Float[Tensor, " B"],
    *,
    beta: float,
    label_smoothing: float = 0.0,
) -> Float[Tensor, ""]:
    """Direct preference optimisation: Bradley-Terry on what the policy itself says it is paid.

    Equation, with ``h = log pi(y|x) - log pi_ref(y|x)`` and ``e = label_smoothing``::

        z = beta (h_w - h_l)
        L = -E[(1 - e) log sigma(z) + e log sigma(-z)]

    Args:
        chosen_log_ratios: (B,) h_w, nats, the sum over the response's tokens.
        rejected_log_ratios: (B,) h_l, likewise.
        beta: reward units a nat, >= 0: how far the policy may go for a preference.
        label_smoothing: e, the share of labels taken to be wrong, in [0, 0.5).

    Returns:
        A scalar in nats: the mean over pairs. log 2 where policy and reference agree.

    Raises:
        ValueError: if the shapes differ, are not (B,), B is 0, or a number is out of range.
        TypeError: if a dtype is not float32 or float64.

    References:
        arXiv:2305.18290, Eq. 7; label smoothing as in `bradley_terry_loss`.
    """
    check_not_negative(beta=beta)
    check_same_shape(chosen_log_ratios=chosen_log_ratios, rejected_log_ratios=rejected_log_ratios)
    check_rank(1, chosen_log_ratios=chosen_log_ratios)
    check_float(chosen_log_ratios=chosen_log_ratios, rejected_log_ratios=rejected_log_ratios)
    return bradley_terry_loss(
        beta * chosen_log_ratios, beta * rejected_log_ratios, label_smoothing=label_smoothing
    )


def tdpo_loss(
    chosen_log_ratios: Float[Tensor, " B"],
    rejected_log_ratios: Float[Tensor, " B"],
    chosen_kl: Float[Tensor, " B"],
    rejected_kl: Float[Tensor, " B"],
    *,
    beta: float,
    alpha: float,
    variant: Literal[1, 2] = 2,
) -> Float[Tensor, ""]:
    """DPO with the divergence of the two responses' states in the comparison.

    Equation, with h as in `dpo_loss` and ``S = sum_t KL(pi_ref(.|s_t) || pi(.|s_t))``::

        TDPO1  z = beta (h_w - h_l - (S_l - S_w))
        TDPO2  z = beta (h_w - h_l - alpha (S_l - sg(S_w)))
        L = -E[log sigma(z)]

    where sg passes no gradient on. TDPO2 with alpha 0 is `dpo_loss`.

    Args:
        chosen_log_ratios: (B,) h_w, nats.
        rejected_log_ratios: (B,) h_l, nats.
        chosen_kl: (B,) S_w, nats, the sum over the response's tokens (`forward_kl`).
        rejected_kl: (B,) S_l, likewise.
        beta: as in `dpo_loss`.
        alpha: weight of the divergences, >= 0; TDPO1 has none.
        variant: 1 or 2.

    Returns:
        A scalar in nats: the mean over pairs.

    Raises:
        ValueError: if the shapes differ, are not (B,), B is 0, or a number is out of range.
        TypeError: if a dtype is not float32 or float64.

    References:
        arXiv:2404.11999, Section 4; `tdpo_loss` of the released code.
    """
    check_not_negative(alpha=alpha)
    if variant not in (1, 2):
        raise ValueError(f"variant must be 1 or 2, is {variant!r}")
    four = {
        "chosen_log_ratios": chosen_log_ratios,
        "rejected_log_ratios": rejected_log_ratios,
        "chosen_kl": chosen_kl,
        "rejected_kl": rejected_kl,
    }
    check_same_shape(**four)
    check_float(**four)
    if variant == 1:
        chosen, rejected = chosen_kl, rejected_kl
    else:
        chosen, rejected = alpha * chosen_kl.detach(), alpha * rejected_kl
    return dpo_loss(chosen_log_ratios + chosen, rejected_log_ratios + rejected, beta=beta)


def rrhf_loss(
    scores: Float[Tensor, "B K"],
    ranks: Int[Tensor, "B K"],
    best_logprobs: Float[Tensor, " B"],
    *,
    rank_weight: float = 1.0,
) -> Float[Tensor, ""]:
    """Responses in the order of their likelihoods, and imitation of the best one.

    Equation, with ``p_i`` the mean log-probability of a token of response i::

        L = E[w sum_{(i,j): i above j} max(0, p_j - p_i) - log pi(y_best)]

    the sum running over the pairs of one ranking, the expectation over rankings.

    Args:
        scores: (B, K) p_i, nats a token.
        ranks: (B, K) integers, 0 = best; only their order matters. Equal ranks form no pair.
        best_logprobs: (B,) log pi(y_best), nats: the sum over its tokens, or their mean.
        rank_weight: w, >= 0.

    Returns:
        A scalar in nats.

    Raises:
        ValueError: if the shapes disagree, B is 0, or `rank_weight` is out of range.
        TypeError: if a float tensor is not float32 or float64.

    References:
        arXiv:2304.05302, Section 3 (L_rank + L_ft); `rrhf_loss` and `sft_loss` of the released
        code.
    """
    check_same_shape(scores=scores, ranks=ranks)
    check_rank(2, scores=scores)
    check_rank(1, best_logprobs=best_logprobs)
    check_batch(scores=scores, best_logprobs=best_logprobs)
    check_float(scores=scores, best_logprobs=best_logprobs)
    check_not_negative(rank_weight=rank_weight)
    if scores.shape[0] == 0:
        raise ValueError("the batch holds no ranking: a mean over nothing")
    above = ranks.unsqueeze(2) < ranks.unsqueeze(1)  # (B, K, K): [b, i, j] = i is above j
    behind = (scores.unsqueeze(1) - scores.unsqueeze(2)).clamp(min=0.0)  # p_j - p_i
    order = zero_masked(behind, above).sum(dim=(1, 2))
    return (rank_weight * order - best_logprobs).mean()


def figa_loss(
    chosen_logprobs: Float[Tensor, "B T"],
    chosen_mask: Bool[Tensor, "B T"],
    rejected_logprobs: Float[Tensor, "B U"],
    rejected_mask: Bool[Tensor, "B U"],
    chosen_changed: Bool[Tensor, "B T"],
    rejected_changed: Bool[Tensor, "B U"],
    *,
    learn: float,
    unlearn: float,
    threshold: float,
) -> Float[Tensor, ""]:
    """Imitation of what an edit put in, the opposite of what it took out.

    Equation, over the tokens that the edit changed, N of them on both sides together::

        L = 1/N (-a sum_{put in} log pi(y_t) + b sum_{taken out, -log pi(y_t) <= c} log pi(y_t))

    What is unlikely already is not unlearned further: without c the loss has no lower bound.

    Args:
        chosen_logprobs: (B, T) log pi(y_t) of the edited response, nats.
        chosen_mask: (B, T) True = counts.
        rejected_logprobs: (B, U) of the original response.
        rejected_mask: (B, U) True = counts.
        chosen_changed: (B, T) the tokens that the original has not.
        rejected_changed: (B, U) the tokens that the edit has not.
        learn: a, >= 0.
        unlearn: b, >= 0.
        threshold: c, nats, >= 0.

    Returns:
        A scalar in nats: the mean over the changed tokens; 0 where there are none.

    Raises:
        ValueError: if shapes disagree or a number is negative.
        TypeError: if a dtype is wrong.

    References:
        arXiv:2311.04072 (FIGA), Section 3; the released code, RUCAIBox/FIGA.

    Differences from the released code:
        It divides by the tokens that are left after the threshold, which a batch cut into parts
        does not know. It learns the edit's EOS, changed or not.
    """
    check_batch(chosen_logprobs=chosen_logprobs, rejected_logprobs=rejected_logprobs)
    check_not_negative(learn=learn, unlearn=unlearn, threshold=threshold)
    check_token_tensors(chosen_mask, chosen_logprobs=chosen_logprobs)
    check_token_tensors(rejected_mask, rejected_logprobs=rejected_logprobs)
    check_token_tensors(chosen_changed, chosen_logprobs=chosen_logprobs)
    check_token_tensors(rejected_changed, rejected_logprobs=rejected_logprobs)
    put_in, taken_out = chosen_mask & chosen_changed, rejected_mask & rejected_changed
    likely = rejected_logprobs.detach() >= -threshold
    total = unlearn * masked_sum(rejected_logprobs, taken_out & likely)
    total = total - learn * masked_sum(chosen_logprobs, put_in)
    return total / (put_in.sum() + taken_out.sum()).clamp(min=1)
