"""Rewards of PPO at sequence and token granularity."""

import math
from typing import get_args

import pytest
import torch
from hypothesis import given, settings

from bench.rl import (
    PenaltyMode,
    ScorePosition,
    kl_penalised,
    masked_sum,
    missing_eos_penalty,
    payments,
    place_final_score,
    sequence_rewards,
    token_rewards,
)

from . import reference
from .strategies import Batch, batches, random_batch

KL = torch.tensor([[0.5, 1.0, 9.0], [0.2, 0.4, 0.6]])
MASK = torch.tensor([[True, True, False], [True, True, True]])


def test_sequence_rewards_golden() -> None:
    """R = (2, -1); row 0 ends at its second token, row 1 at its third."""
    out = sequence_rewards(torch.tensor([2.0, -1.0]), MASK)
    torch.testing.assert_close(out, torch.tensor([[0.0, 2.0, 0.0], [0.0, 0.0, -1.0]]))


def test_token_rewards_golden() -> None:
    """As they are, and 0 at padding."""
    scores = torch.tensor([[1.0, -2.0, math.nan], [0.0, 3.0, 1.0]])
    out = token_rewards(scores, MASK)
    torch.testing.assert_close(out, torch.tensor([[1.0, -2.0, 0.0], [0.0, 3.0, 1.0]]))


def test_payments_golden() -> None:
    """At the end 1, two segments 2, a token each 3; nothing 0, and padding counts no more.

    A segment that is paid nothing is none; the same pay on both sides of it is two.
    """
    rows = [[0.0, 0, 5], [2, 2, -1], [1, 2, 3], [0, 0, 0], [1, 0, 1], [4, 4, 4], [3, 9, 3]]
    mask = torch.ones(7, 3, dtype=torch.bool)
    mask[6, 1] = False  # what it leaves out divides nothing
    assert payments(torch.tensor(rows), mask).tolist() == [1, 2, 3, 0, 2, 1, 1]


def test_kl_penalised_golden() -> None:
    """b = 0.1.

    Row 0: 1 - 0.1 * 0.5 = 0.95; -2 - 0.1 * 1 = -2.1; padding 0.
    Row 1: 0 - 0.02 = -0.02; 3 - 0.04 = 2.96; 1 - 0.06 = 0.94.
    """
    rewards = torch.tensor([[1.0, -2.0, 9.0], [0.0, 3.0, 1.0]])
    out = kl_penalised(rewards, KL, MASK, kl_coef=0.1)
    torch.testing.assert_close(out, torch.tensor([[0.95, -2.1, 0.0], [-0.02, 2.96, 0.94]]))
    torch.testing.assert_close(
        kl_penalised(rewards, KL, MASK, kl_coef=0.0), token_rewards(rewards, MASK)
    )


@settings(max_examples=30, deadline=None)
@given(batches)
def test_sequence_rewards_reference(batch: Batch) -> None:
    scores = batch.x[0][:, 0]
    out = sequence_rewards(scores, batch.mask)
    for b, row in enumerate(out.tolist()):
        slow = reference.sequence_rewards(scores[b].item(), batch.mask[b].tolist())
        assert row == pytest.approx(slow, abs=1e-12)


@settings(max_examples=30, deadline=None)
@given(batches)
def test_kl_penalised_reference(batch: Batch) -> None:
    rewards, kl, _ = batch.x
    out = kl_penalised(rewards, kl, batch.mask, kl_coef=0.3)
    for b, row in enumerate(out.tolist()):
        for t, reward in enumerate(row):
            slow = rewards[b, t].item() - 0.3 * kl[b, t].item() if batch.mask[b, t] else 0.0
            assert reward == pytest.approx(slow, abs=1e-12)


@settings(max_examples=30, deadline=None)
@given(batches)
def test_granularities_agree_on_a_score_at_the_last_token(batch: Batch) -> None:
    """The two rewards differ in granularity alone."""
    scores = batch.x[0][:, 0]
    last = [max(t for t, keep in enumerate(row) if keep) for row in batch.mask.tolist()]
    paid = torch.zeros_like(batch.x[0])
    paid[torch.arange(len(last)), last] = scores
    torch.testing.assert_close(
        sequence_rewards(scores, batch.mask), token_rewards(paid, batch.mask)
    )


def test_an_empty_row_is_an_error_for_sequences_and_zero_for_tokens() -> None:
    mask = torch.tensor([[True, True, False], [False, False, False]])
    remedy = "a response's score needs a token to stand on"
    with pytest.raises(ValueError, match=rf"^mask counts .* row\(s\) \[1\] of 2: {remedy}$"):
        sequence_rewards(torch.zeros(2), mask)
    nothing = torch.zeros(12, 1, dtype=torch.bool)
    with pytest.raises(ValueError, match=r"\[0, 1, 2, 3, 4, 5, 6, 7, 8, 9\] of 12"):
        sequence_rewards(torch.zeros(12), nothing)
    assert (token_rewards(KL, mask)[1] == 0).all()


@pytest.mark.usefixtures("no_hook")
def test_errors() -> None:
    with pytest.raises(ValueError, match=r"mask has shape \(2, 3\).*scores has shape \(1,\)"):
        sequence_rewards(torch.zeros(1), MASK)
    with pytest.raises(ValueError, match=r"scores must have 1 dim.*\(2, 3\)"):
        sequence_rewards(KL, MASK)
    with pytest.raises(TypeError, match=r"needs torch\.bool"):
        sequence_rewards(torch.zeros(2), MASK.long())
    with pytest.raises(ValueError, match=r"\(2, 2\).*\(2, 3\)"):
        token_rewards(KL, MASK[:, :2])
    with pytest.raises(ValueError, match=r"\(2, 3\).*\(2, 1\)"):
        kl_penalised(KL[:, :1], KL, MASK, kl_coef=0.1)
    with pytest.raises(ValueError, match="kl_coef must not be negative"):
        kl_penalised(KL, KL, MASK, kl_coef=-0.1)


@pytest.mark.usefixtures("no_hook")
@pytest.mark.parametrize("function", [sequence_rewards, token_rewards])
def test_the_call_with_a_kl_that_these_had_once_fails_loudly(function) -> None:
    scores = KL[:, 0] if function is sequence_rewards else KL
    for args, kwargs in (
        ((scores, KL, MASK), {"kl_coef": 0.1}),
        ((scores, KL, MASK, 0.1), {}),
        ((scores,), {"kl": KL, "mask": MASK}),
        ((scores, MASK), {"kl_coef": 0.1}),
    ):
        said = rf"^{function.__name__}\(\w+, mask\) takes no KL: .* with kl_penalised\(.*does it$"
        with pytest.raises(TypeError, match=said):
            function(*args, **kwargs)
    with pytest.raises(TypeError):  # positional: the KL stands where the mask does
        function(scores, KL)


def test_gradcheck() -> None:
    batch = random_batch(seed=0, rows=2, length=4)
    x = torch.stack(batch.x[:2]).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda x: kl_penalised(token_rewards(x[0], batch.mask), x[1], batch.mask, kl_coef=0.1), (x,)
    )
    assert torch.autograd.gradcheck(lambda x: sequence_rewards(x[0, :, 0], batch.mask), (x,))


SCORES = torch.tensor([[1.0, 2.0, math.nan], [3.0, 4.0, 5.0]])
SECOND_UNFINISHED = torch.tensor([True, False])


def test_missing_eos_penalty_golden() -> None:
    """Penalty 1.5; row 1, of scores (3, 4, 5), was cut off; row 0 stays.

    Subtract: (3, 4, 3.5). Replace: (0, 0, -1.5). With row 0 cut off instead: its last counted
    token is the second: (1, 0.5), or (0, -1.5).
    """
    golden: dict[PenaltyMode, list[list[list[float]]]] = {
        "subtract": [[[1.0, 2.0, 0.0], [3.0, 4.0, 3.5]], [[1.0, 0.5, 0.0], [3.0, 4.0, 5.0]]],
        "replace": [[[1.0, 2.0, 0.0], [0.0, 0.0, -1.5]], [[0.0, -1.5, 0.0], [3.0, 4.0, 5.0]]],
    }
    for mode, (second, first) in golden.items():
        out = missing_eos_penalty(SCORES, MASK, SECOND_UNFINISHED, penalty=1.5, mode=mode)
        assert out.tolist() == second
        out = missing_eos_penalty(SCORES, MASK, ~SECOND_UNFINISHED, penalty=1.5, mode=mode)
        assert out.tolist() == first


@settings(max_examples=30, deadline=None)
@given(batches)
def test_missing_eos_penalty_reference(batch: Batch) -> None:
    """Row by row; a penalty of 0 subtracts nothing, but still replaces."""
    scores, finished = batch.x[0], batch.x[1][:, 0] > 0
    outs = {
        (mode, p): missing_eos_penalty(scores, batch.mask, finished, penalty=p, mode=mode)
        for mode in get_args(PenaltyMode)
        for p in (0.0, 0.7)
    }
    for b, mask in enumerate(batch.mask.tolist()):
        for (mode, penalty), out in outs.items():
            slow = reference.missing_eos(
                scores[b].tolist(), mask, bool(finished[b]), penalty, replace=mode == "replace"
            )
            assert out[b].tolist() == pytest.approx(slow, abs=1e-12)


def test_place_final_score_golden() -> None:
    """Row 0, (1, 2) and a pad behind, ended by itself; row 1, (3, 4, 5), was cut off.

    last: nothing moves. eos: row 1's 5 is not paid. first_pad: row 0's 2 moves to the pad, which
    now counts; row 1 has no pad, and its 5 stays.
    """
    scores, state_mask = place_final_score(SCORES, MASK, SECOND_UNFINISHED, "last")
    assert scores.tolist() == [[1.0, 2.0, 0.0], [3.0, 4.0, 5.0]]
    assert torch.equal(state_mask, MASK)
    scores, state_mask = place_final_score(SCORES, MASK, SECOND_UNFINISHED, "eos")
    assert scores.tolist() == [[1.0, 2.0, 0.0], [3.0, 4.0, 0.0]]
    assert torch.equal(state_mask, MASK)
    for finished in (SECOND_UNFINISHED, ~SECOND_UNFINISHED):
        scores, state_mask = place_final_score(SCORES, MASK, finished, "first_pad")
        assert scores.tolist() == [[1.0, 0.0, 2.0], [3.0, 4.0, 5.0]]
        assert state_mask.tolist() == [[True, True, True], [True, True, True]]


@settings(max_examples=30, deadline=None)
@given(batches)
def test_place_final_score_reference(batch: Batch) -> None:
    scores, finished = batch.x[0], batch.x[1][:, 0] > 0
    for position in get_args(ScorePosition):
        placed, state_mask = place_final_score(scores, batch.mask, finished, position)
        for b, mask in enumerate(batch.mask.tolist()):
            slow = reference.place_final_score(
                scores[b].tolist(), mask, bool(finished[b]), position
            )
            assert (placed[b].tolist(), state_mask[b].tolist()) == slow


@settings(max_examples=30, deadline=None)
@given(batches)
def test_score_on_the_first_pad_keeps_its_mass_and_its_gradient(batch: Batch) -> None:
    """Rows sum to what they did; garbage at padding reaches neither score nor gradient."""
    leaf = batch.x[0].masked_fill(~batch.mask, math.inf).requires_grad_()
    finished = torch.zeros(len(batch.mask), dtype=torch.bool)
    placed, state_mask = place_final_score(leaf, batch.mask, finished, "first_pad")
    torch.testing.assert_close(placed.sum(1), masked_sum(leaf, batch.mask, dim=1))
    assert (placed[~state_mask] == 0).all()
    torch.autograd.backward(placed.sum())
    assert leaf.grad is not None
    assert torch.equal(leaf.grad, batch.mask.double())


@pytest.mark.usefixtures("no_hook")
def test_end_of_response_errors() -> None:
    finished = SECOND_UNFINISHED
    empty = MASK & torch.tensor([[True], [False]])

    def penalise(mask: torch.Tensor, finished: torch.Tensor) -> torch.Tensor:
        return missing_eos_penalty(SCORES, mask, finished, penalty=1.0, mode="subtract")

    def place(mask: torch.Tensor, finished: torch.Tensor) -> torch.Tensor:
        return place_final_score(SCORES, mask, finished, "last")[0]

    for function in (penalise, place):
        with pytest.raises(ValueError, match=r"mask has shape \(1, 3\).*\(2, 3\)"):
            function(MASK[:1], finished)
        with pytest.raises(ValueError, match=r"finished must have 1 dim.*\(2, 1\)"):
            function(MASK, finished[:, None])
        with pytest.raises(ValueError, match=r"finished has shape \(1,\).*\(2, 3\).*batch"):
            function(MASK, finished[:1])
        with pytest.raises(TypeError, match=r"finished is torch.int64.*\.bool\(\)"):
            function(MASK, finished.long())
        with pytest.raises(ValueError, match=r"row\(s\) \[1\] of 2"):
            function(empty, finished)
    with pytest.raises(ValueError, match="penalty must not be negative, is -1"):
        missing_eos_penalty(SCORES, MASK, finished, penalty=-1.0, mode="subtract")
    with pytest.raises(ValueError, match="mode must be subtract or replace, is 'add'"):
        missing_eos_penalty(SCORES, MASK, finished, penalty=1.0, mode="add")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="position must be last, eos or first_pad, is 'first'"):
        place_final_score(SCORES, MASK, finished, "first")  # type: ignore[arg-type]


def test_end_of_response_gradcheck() -> None:
    batch = random_batch(seed=1, rows=3, length=4)
    finished, scores = batch.x[1][:, 0] > 0, batch.x[0].requires_grad_()
    for mode in get_args(PenaltyMode):
        assert torch.autograd.gradcheck(
            lambda x, mode=mode: missing_eos_penalty(
                x, batch.mask, finished, penalty=0.5, mode=mode
            ),
            (scores,),
        )
    for position in get_args(ScorePosition):
        assert torch.autograd.gradcheck(
            lambda x, position=position: place_final_score(x, batch.mask, finished, position)[0],
            (scores,),
        )
