"""What PPO is paid at each token, from a source's scores to the rewards that GAE reads.

`sequence_rewards` and `token_rewards` differ in nothing but the granularity of the score; with all
of a row's score on its last counted token they give the same rewards (a test holds this). Then, in
this order: `missing_eos_penalty` and `place_final_score` say what a response without an EOS is
worth and at which position the score at its end is paid, and `kl_penalised` takes the KL penalty
off, once and for every method alike.
"""

from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from bench.rl.checks import (
    check_batch,
    check_float,
    check_mask,
    check_not_negative,
    check_rank,
    check_rows,
    check_token_tensors,
)
from bench.rl.masking import last_counted, zero_masked

PenaltyMode = Literal["subtract", "replace"]
ScorePosition = Literal["last", "eos", "first_pad"]


def sequence_rewards(
    scores: Float[Tensor, " B"],
    mask: Bool[Tensor, "B T"],
    kl: None = None,
    kl_coef: None = None,
) -> Float[Tensor, "B T"]:
    """Rewards when the whole response carries one score.

    Equation: ``[0, ..., 0, R]`` with ``R = r(x, y)``.

    Args:
        scores: (B,) R, reward units.
        mask: (B, T) True = counts. R is paid at a row's last counted position.
        kl: no longer taken, nor is `kl_coef`; the call that gives one is told of `kl_penalised`.
        kl_coef: see `kl`.

    Returns:
        (B, T) reward units, without a KL penalty; 0 where `mask` is False.

    Raises:
        ValueError: if shapes disagree or a row of `mask` counts nothing (the row is named).
        TypeError: if a dtype is wrong, or a KL is given.

    References:
        arXiv:2406.02756, Section 2 (sequence-level PPO).
    """
    _refuse_kl("sequence_rewards(scores, mask)", kl, kl_coef)
    check_rank(1, scores=scores)
    check_float(scores=scores)
    check_rank(2, mask=mask)
    check_mask(mask=mask)
    check_batch(scores=scores, mask=mask)
    return zero_masked(scores.unsqueeze(1).expand(mask.shape), last_counted(mask))


def token_rewards(
    paid: Float[Tensor, "B T"],
    mask: Bool[Tensor, "B T"],
    kl: None = None,
    kl_coef: None = None,
) -> Float[Tensor, "B T"]:
    """Rewards when each token carries its own.

    Equation: ``[r_1, ..., r_T]``.

    Args:
        paid: (B, T) what each token is paid, reward units; a share r_t / T where a row is to sum
            to the R(tau) of Eq. 1.
        mask: (B, T) True = counts.
        kl: no longer taken, as of `sequence_rewards`.
        kl_coef: see `kl`.

    Returns:
        (B, T) reward units, without a KL penalty; 0 where `mask` is False. A row that counts
        nothing is all 0.

    Raises:
        ValueError: if shapes disagree.
        TypeError: if a dtype is wrong, or a KL is given.

    References:
        arXiv:2406.02756, Section 2 (token-level PPO).
    """
    _refuse_kl("token_rewards(paid, mask)", kl, kl_coef)
    check_token_tensors(mask, paid=paid)
    return zero_masked(paid, mask)


def payments(paid: Float[Tensor, "B T"], mask: Bool[Tensor, "B T"]) -> Float[Tensor, " B"]:
    """How many rewards a response has: the granularity, as it is paid.

    Equation: the number of t with r_t != 0 and r_t != r_{t-1}, counted positions alone. One score
    at the end is 1, a reward that is spread over each of K segments K, one a token T.

    Args:
        paid: (B, T) what each token is paid, reward units.
        mask: (B, T) True = counts. What it leaves out stands between no two tokens.

    Returns:
        (B,) numbers from 0 to T.

    Raises:
        ValueError: if shapes disagree.
        TypeError: if a dtype is wrong.
    """
    check_token_tensors(mask, paid=paid)
    columns = torch.arange(mask.shape[1], device=mask.device).where(mask, -1)
    latest = columns.cummax(dim=1).values
    before = torch.cat([torch.full_like(latest[:, :1], -1), latest[:, :-1]], dim=1)
    previous = paid.gather(1, before.clamp(min=0)).masked_fill(before < 0, 0.0)
    return (mask & (paid != 0) & (paid != previous)).sum(dim=1).to(paid.dtype)


def _refuse_kl(call: str, *given: object) -> None:
    """Answer an old call, (scores, kl, mask, kl_coef): by place, its mask is given as `kl`."""
    if any(argument is not None for argument in given):
        raise TypeError(
            f"{call} takes no KL: take it off what that gives, with "
            "kl_penalised(rewards, kl, mask, kl_coef=...), unless the trainer does it"
        )


def kl_penalised(
    rewards: Float[Tensor, "B T"],
    kl: Float[Tensor, "B T"],
    mask: Bool[Tensor, "B T"],
    *,
    kl_coef: float,
) -> Float[Tensor, "B T"]:
    """Take the KL penalty off the rewards.

    Equation: ``r_t - b KL_t`` with ``b = kl_coef``.

    Args:
        rewards: (B, T) r_t, reward units.
        kl: (B, T) KL estimate at each token, nats; 0 where a reward is paid and no token was drawn.
        mask: (B, T) True = counts.
        kl_coef: b, reward units per nat, >= 0.

    Returns:
        (B, T) reward units; 0 where `mask` is False.

    Raises:
        ValueError: if shapes disagree or `kl_coef` is negative.
        TypeError: if a dtype is wrong.

    References:
        arXiv:2203.02155, Eq. 2; the "- b KL_t" of arXiv:2406.02756, Section 2.
    """
    check_token_tensors(mask, rewards=rewards, kl=kl)
    check_not_negative(kl_coef=kl_coef)
    return zero_masked(rewards - kl_coef * kl, mask)


def missing_eos_penalty(
    scores: Float[Tensor, "B T"],
    mask: Bool[Tensor, "B T"],
    finished: Bool[Tensor, " B"],
    *,
    penalty: float,
    mode: PenaltyMode,
) -> Float[Tensor, "B T"]:
    """Penalise responses that the length limit cut off.

    Equations, for a row that is not finished, T its last counted position, p = `penalty`:

        subtract  [r_1, ..., r_{T-1}, r_T - p]
        replace   [0,   ..., 0,       -p]

    Args:
        scores: (B, T) reward units; a score for the whole response stands at position T.
        mask: (B, T) True = counts.
        finished: (B,) True = the response ended by itself, with an EOS.
        penalty: p, reward units, >= 0.
        mode: whether the penalty comes off the score or takes its place.

    Returns:
        (B, T) reward units; finished rows are unchanged; 0 where `mask` is False.

    Raises:
        ValueError: if shapes disagree, a row of `mask` counts nothing (the row is named),
            `penalty` is negative, or `mode` is unknown.
        TypeError: if a dtype is wrong.

    References:
        "subtract" is `missing_eos_penalty` of TRL; "replace" is `penalty_reward_value` (-1, hence
        p = 1) of openai/lm-human-preferences, arXiv:1909.08593, and of arXiv:2403.17031 (tldr).
    """
    check_token_tensors(mask, scores=scores)
    check_rows(mask, finished=finished)
    check_not_negative(penalty=penalty)
    if mode not in ("subtract", "replace"):
        raise ValueError(f"mode must be subtract or replace, is {mode!r}")
    unfinished = ~finished.unsqueeze(1)  # (B, 1)
    scores = zero_masked(scores, mask)
    if mode == "replace":
        scores = scores.masked_fill(unfinished, 0.0)
    return torch.where(last_counted(mask) & unfinished, scores - penalty, scores)


def place_final_score(
    scores: Float[Tensor, "B T"],
    mask: Bool[Tensor, "B T"],
    finished: Bool[Tensor, " B"],
    position: ScorePosition,
) -> tuple[Float[Tensor, "B T"], Bool[Tensor, "B T"]]:
    """Choose where the score that stands on the last counted token is paid.

        last       there
        eos        there if that token is an EOS, nowhere otherwise
        first_pad  one column further right, if there is one, and otherwise there

    Args:
        scores: (B, T) reward units.
        mask: (B, T) True = counts.
        finished: (B,) True = the last counted token is an EOS; read by "eos" only.
        position: where to pay.

    Returns:
        (scores, state_mask), each (B, T): the scores in reward units, 0 where `state_mask` is
        False; and the positions that rewards, values and GAE count, which are those of `mask` and,
        for "first_pad", the pad that a score moved to.

    Raises:
        ValueError: if shapes disagree, a row of `mask` counts nothing (the row is named), or
            `position` is unknown.
        TypeError: if a dtype is wrong.

    References:
        "first_pad" is PPO in TRL 1.12 (`sequence_lengths_p1`), which took it from the code of
        arXiv:2403.17031 (tldr).
    """
    check_token_tensors(mask, scores=scores)
    check_rows(mask, finished=finished)
    if position not in ("last", "eos", "first_pad"):
        raise ValueError(f"position must be last, eos or first_pad, is {position!r}")
    scores, last = zero_masked(scores, mask), last_counted(mask)
    if position == "last":
        return scores, mask
    if position == "eos":
        return scores.masked_fill(last & ~finished.unsqueeze(1), 0.0), mask
    pad = torch.nn.functional.pad(last, (1, -1))  # (B, T): one column right of `last`
    moved = torch.nn.functional.pad(scores, (1, -1))
    leaves = last & pad.any(dim=1, keepdim=True)
    return torch.where(pad, moved, scores.masked_fill(leaves, 0.0)), mask | pad
