"""Segments as two classes, with an error and without: the loss that learns them, and their pay."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from bench.rl.checks import (
    check_batch,
    check_float,
    check_mask,
    check_same_shape,
    check_token_tensors,
)
from bench.rl.masking import zero_masked
from bench.rl.segments import segment_numbers


def segments_with(
    marked: Bool[Tensor, "B T"], ends: Bool[Tensor, "B T"], mask: Bool[Tensor, "B T"]
) -> Bool[Tensor, "B T"]:
    """Which tokens are in a segment of which at least one token is marked.

    What is marked across a border marks both segments.

    Args:
        marked: (B, T) True = in an error, say; a mark that `mask` leaves out is none.
        ends: (B, T) True = the last token of a segment. A row's last counted token ends one
            whether or not it is marked.
        mask: (B, T) True = counts.

    Returns:
        (B, T); False where `mask` is.

    Raises:
        ValueError: if shapes disagree or a row of `mask` counts nothing (the row is named).
        TypeError: if a dtype is wrong.
    """
    check_same_shape(marked=marked, mask=mask)
    check_mask(marked=marked)
    number, _ = segment_numbers(ends, mask)
    hits = torch.zeros_like(number).scatter_add(1, number, (marked & mask).long())
    return (hits > 0).gather(1, number) & mask


def segment_label_loss(
    logits: Float[Tensor, "B T"],
    wrong: Bool[Tensor, "B T"],
    hidden: Bool[Tensor, "B T"],
    ends: Bool[Tensor, "B T"],
    mask: Bool[Tensor, "B T"],
) -> Float[Tensor, ""]:
    """Cross-entropy of each segment's class with whether there is an error in it.

    Equation, with ``p_k = sigma(z_k)`` the probability that segment k of K is without error::

        L = E[(1/K) sum_k -y_k log p_k - (1 - y_k) log(1 - p_k)]

    y_k is 0 where a token of segment k is in an error, else 1. A segment that has a token in
    `hidden` and none in an error is left out of the mean: nobody looked for an error there.

    Args:
        logits: (B, T) z; z_k is the one at the end of segment k.
        wrong: (B, T) True = the token is in an error.
        hidden: (B, T) True = an error would not have been marked here.
        ends: (B, T) True = the last token of a segment, as in `segments_with`.
        mask: (B, T) True = counts.

    Returns:
        A scalar in nats: the mean over responses, each the mean over its segments; one of which no
        segment counts adds 0. With every logit 0 and no other of those it is log 2.

    Raises:
        ValueError: if shapes disagree, B is 0, or a row of `mask` counts nothing.
        TypeError: if a dtype is wrong.

    References:
        arXiv:2306.01693 (fine-grained RLHF), Section 4.2; the released code,
        allenai/FineGrainedRLHF, `create_rel_fact_rm_files.py` for what is left out.

    Differences from the paper:
        Every response weighs the same; there, every segment of the batch does.
    """
    check_batch(logits=logits)
    if logits.shape[0] == 0:
        raise ValueError("the batch holds no response: a mean over nothing")
    counted, bad = _counted(wrong, hidden, ends, mask)
    check_token_tensors(mask, logits=logits)
    z = zero_masked(logits, counted)
    losses = binary_cross_entropy_with_logits(z, (~bad).to(z.dtype), reduction="none")
    return (zero_masked(losses, counted).sum(dim=1) / counted.sum(dim=1).clamp(min=1)).mean()


def segment_label_accuracy(
    logits: Float[Tensor, "B T"],
    wrong: Bool[Tensor, "B T"],
    hidden: Bool[Tensor, "B T"],
    ends: Bool[Tensor, "B T"],
    mask: Bool[Tensor, "B T"],
) -> Float[Tensor, ""]:
    """Share of the segments on whose class the logit's sign is right.

    Arguments and errors as of `segment_label_loss`, and as there the mean over responses of the
    mean over segments; a response of which no segment counts adds 0.
    """
    check_batch(logits=logits)
    counted, bad = _counted(wrong, hidden, ends, mask)
    check_token_tensors(mask, logits=logits)
    right = ((logits > 0) != bad) & counted
    return (right.sum(dim=1) / counted.sum(dim=1).clamp(min=1)).to(logits.dtype).mean()


def _counted(wrong: Tensor, hidden: Tensor, ends: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """(B, T) True = the end of a segment that counts; and True = in a segment with an error."""
    bad = segments_with(wrong, ends, mask)
    unknown = segments_with(hidden, ends, mask) & ~bad
    return segment_numbers(ends, mask)[1] & ~unknown, bad


def segment_label_rewards(
    logits: Float[Tensor, "B T"],
    ends: Bool[Tensor, "B T"],
    mask: Bool[Tensor, "B T"],
    *,
    value: float,
) -> Float[Tensor, "B T"]:
    """What the last token of a segment is paid for the segment's class.

    Equation, t the last token of segment k: ``r_t = v if z_k > 0 else -v``, and 0 elsewhere.

    A row without error sums to K v: more segments are paid more.

    Args:
        logits: (B, T) z; z_k is the one at the end of segment k.
        ends: (B, T) True = the last token of a segment, as in `segments_with`.
        mask: (B, T) True = counts.
        value: v, reward units.

    Returns:
        (B, T) reward units, without a KL penalty.

    Raises:
        ValueError: if shapes disagree or a row of `mask` counts nothing.
        TypeError: if a dtype is wrong.

    References:
        arXiv:2306.01693 (fine-grained RLHF), Section 2; the released code,
        tasks/qa_feedback/training/reward.py. At z = 0 it pays -v, too.
    """
    _, ends = segment_numbers(ends, mask)
    check_token_tensors(mask, logits=logits)
    check_float(logits=logits)
    paid = torch.where(logits > 0, value, -value).to(logits.dtype)
    return zero_masked(paid, ends)
