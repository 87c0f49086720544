"""Granularity between response and token: one score a segment (a sentence, say)."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from bench.rl.checks import check_mask, check_rank, check_same_shape, check_token_tensors
from bench.rl.masking import last_counted, masked_mean, zero_masked


def segment_numbers(
    ends: Bool[Tensor, "B T"], mask: Bool[Tensor, "B T"]
) -> tuple[Int[Tensor, "B T"], Bool[Tensor, "B T"]]:
    """Which segment each token is in.

    Args:
        ends: (B, T) True = the last token of a segment. A row's last counted token ends one
            whether or not it is marked; a mark that `mask` leaves out is none.
        mask: (B, T) True = counts.

    Returns:
        (B, T) numbers from 0 on, which mean nothing where `mask` is False; and (B, T) True = a
        segment's last token.

    Raises:
        ValueError: if shapes disagree or a row of `mask` counts nothing (the row is named).
        TypeError: if a dtype is wrong.
    """
    check_rank(2, mask=mask)
    check_same_shape(mask=mask, ends=ends)
    check_mask(mask=mask, ends=ends)
    ends = ends & mask | last_counted(mask)
    return ends.cumsum(dim=1) - ends.long(), ends  # the marks before t


def segment_score(
    scores: Float[Tensor, "B T"], ends: Bool[Tensor, "B T"], mask: Bool[Tensor, "B T"]
) -> Float[Tensor, " B"]:
    """Score of a response whose K segments are scored one by one.

    Equation: ``R = (1/K) sum_k r_k``, with r_k the score at the end of segment k.

    Args:
        scores: (B, T) reward units; only those at the ends of segments are read.
        ends: (B, T) True = the last token of a segment. A row's last counted token ends one
            whether or not it is marked; a mark that `mask` leaves out is none.
        mask: (B, T) True = counts.

    Returns:
        (B,) reward units. With no marks, the score at the last token; with all, the mean score.

    Raises:
        ValueError: if shapes disagree or a row of `mask` counts nothing (the row is named).
        TypeError: if a dtype is wrong.

    References:
        arXiv:2306.01693 (fine-grained RLHF), Section 2: a reward model that scores each segment.

    Differences from the paper:
        The mean takes the place of the sum, so that a response's score does not grow with the
        number of its sentences.
    """
    check_token_tensors(mask, scores=scores)
    return masked_mean(scores, segment_numbers(ends, mask)[1], dim=1)


def segment_rewards(
    scores: Float[Tensor, "B T"], ends: Bool[Tensor, "B T"], mask: Bool[Tensor, "B T"]
) -> Float[Tensor, "B T"]:
    """Spread each segment's score evenly over the segment's tokens.

    Equation, for each token t of segment k of length len_k, one of K:

        r_t = r_k / (K len_k)        so that sum_t r_t = (1/K) sum_k r_k

    Args:
        scores: (B, T) reward units; r_k is the one at the end of segment k.
        ends: (B, T) True = the last token of a segment, as in `segment_score`.
        mask: (B, T) True = counts. len_k counts the counted tokens alone.

    Returns:
        (B, T) reward units, without a KL penalty; 0 where `mask` is False. A row sums to its
        `segment_score`.

    Raises:
        ValueError: if shapes disagree or a row of `mask` counts nothing (the row is named).
        TypeError: if a dtype is wrong.

    References:
        arXiv:2306.01693 (fine-grained RLHF), Section 2: rewards by segment.

    Differences from the paper:
        It pays r_k at the segment's last token and the sum over segments; here r_k is spread over
        the segment and divided by K, so that every granularity pays a response the same mass.
    """
    segment, ends = segment_numbers(ends, mask)
    check_token_tensors(mask, scores=scores)
    zeros = torch.zeros_like(scores)
    scores_by_segment = zeros.scatter_add(1, segment, zero_masked(scores, ends))
    lengths = zeros.scatter_add(1, segment, mask.to(scores.dtype))
    segments = ends.sum(dim=1, keepdim=True)  # (B, 1): K
    spread = scores_by_segment / (segments * lengths.clamp(min=1.0))
    return zero_masked(spread.gather(1, segment), mask)


def segment_places(
    ends: Bool[Tensor, "B T"], mask: Bool[Tensor, "B T"]
) -> tuple[Float[Tensor, "B T"], Float[Tensor, "B 1"]]:
    """Where in the response each token's segment stands.

    Equation: ``p = k / K`` for each token of segment k of K, from 1 on.

    Args:
        ends: (B, T) True = the last token of a segment, as in `segment_score`.
        mask: (B, T) True = counts.

    Returns:
        p (B, T) in (0, 1], 1 where `mask` is False; and K (B, 1).

    Raises:
        ValueError: if shapes disagree or a row of `mask` counts nothing (the row is named).
        TypeError: if a dtype is wrong.

    References:
        arXiv:2501.02790, Section 3.3.
    """
    number, ends = segment_numbers(ends, mask)
    count = ends.sum(dim=1, keepdim=True).float()
    return torch.where(mask, (number + 1) / count, 1.0), count
