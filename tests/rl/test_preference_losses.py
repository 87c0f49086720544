"""Losses of reward models."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from bench.rl import bradley_terry_loss, ranking_loss, token_preference_loss

from . import reference
from .strategies import Batch, batches, random_batch

quick = settings(max_examples=30, deadline=None)
LOG_2 = math.log(2)
CHOSEN, REJECTED = torch.tensor([[1.0, 2.0, 3.0, 90.0]]), torch.tensor([[2.0, -1.0, 90.0]])
CHOSEN_MASK = torch.tensor([[True, True, True, False]])
REJECTED_MASK = torch.tensor([[True, True, False]])
CHOSEN_CHANGED = torch.tensor([[False, True, False, True]])
REJECTED_CHANGED = torch.tensor([[False, True, False]])


def softplus(x: float) -> float:
    """-log sigma(-x)."""
    return reference.softplus(x)


def test_bradley_terry_golden() -> None:
    """Margins 3 - 3 = 0 and 2 - 1 = 1.

    -log sigma(0) = ln 2 = 0.693147; -log sigma(1) = ln(1 + e^-1) = 0.313262; mean 0.503205.
    """
    loss = bradley_terry_loss(torch.tensor([3.0, 2.0]), torch.tensor([3.0, 1.0]))
    assert loss.item() == pytest.approx(0.503205, abs=1e-6)


@quick
@given(batches)
def test_bradley_terry_reference(batch: Batch) -> None:
    chosen, rejected = batch.x[0][:, 0], batch.x[1][:, 0]
    pairs = list(zip(chosen.tolist(), rejected.tolist(), strict=True))
    slow = math.fsum(softplus(lose - win) for win, lose in pairs) / len(pairs)
    assert bradley_terry_loss(chosen, rejected).item() == pytest.approx(slow, abs=1e-12)


def test_bradley_terry_far_margins_stay_finite() -> None:
    """Margin 1000: loss 0; -1000: loss 1000."""
    far, zero = torch.tensor([1000.0]), torch.tensor([0.0])
    assert bradley_terry_loss(far, zero).item() == 0.0
    assert bradley_terry_loss(zero, far).item() == 1000.0


def test_ranking_golden() -> None:
    """Scores (2, 1, 0) throughout; softplus(-1) = 0.313262, softplus(-2) = 0.126928.

    Ranks (0, 1, 2): pairs with margins 1, 2, 1: (0.313262 + 0.126928 + 0.313262) / 3 = 0.251151.
    Ranks (0, 1, 1): margins 1, 2: (0.313262 + 0.126928) / 2 = 0.220095.
    Ranks (1, 1, 1): no pair, left out. Mean of the first two: 0.235623.
    """
    scores = torch.tensor([[2.0, 1.0, 0.0]]).expand(3, 3)
    ranks = torch.tensor([[0, 1, 2], [0, 1, 1], [1, 1, 1]])
    assert ranking_loss(scores[:1], ranks[:1]).item() == pytest.approx(0.251151, abs=1e-6)
    assert ranking_loss(scores[1:2], ranks[1:2]).item() == pytest.approx(0.220095, abs=1e-6)
    assert ranking_loss(scores, ranks).item() == pytest.approx(0.235623, abs=1e-6)


@st.composite
def rankings(draw: st.DrawFn) -> tuple[Tensor, Tensor]:
    """Scores and ranks, with ties, at least one pair among them."""
    rows, k = draw(st.integers(1, 4)), draw(st.integers(2, 5))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    ranks = torch.randint(3, (rows, k), generator=generator)
    ranks[0, :2] = torch.tensor([1, 0])
    return torch.randn(rows, k, generator=generator, dtype=torch.float64), ranks


@quick
@given(rankings())
def test_ranking_reference(ranking: tuple[Tensor, Tensor]) -> None:
    scores, ranks = ranking
    slow = reference.ranking_loss(scores.tolist(), ranks.tolist())
    assert ranking_loss(scores, ranks).item() == pytest.approx(slow, abs=1e-12)


@quick
@given(rankings(), st.data())
def test_ranking_properties(ranking: tuple[Tensor, Tensor], data: st.DataObject) -> None:
    """Blind to the order of responses, to an offset of scores, and to the spacing of ranks."""
    scores, ranks = ranking
    order = data.draw(st.permutations(range(scores.shape[1])))
    loss = ranking_loss(scores, ranks)
    torch.testing.assert_close(ranking_loss(scores[:, order], ranks[:, order]), loss)
    torch.testing.assert_close(ranking_loss(scores + 3.0, 7 * ranks), loss)


@quick
@given(batches)
def test_ranking_of_two_is_bradley_terry(batch: Batch) -> None:
    chosen, rejected = batch.x[0][:, 0], batch.x[1][:, 0]
    ranks = torch.tensor([[0, 1]]).expand(len(chosen), 2)
    torch.testing.assert_close(
        ranking_loss(torch.stack([chosen, rejected], 1), ranks),
        bradley_terry_loss(chosen, rejected),
    )


def test_token_preference_golden_eq_3() -> None:
    """Chosen (1, 2, 3), rejected (2, -1): means 6/3 = 2 and 1/2, margin 1.5.

    -log sigma(1.5) = ln(1 + e^-1.5) = ln 1.223130 = 0.201413.
    """
    loss = token_preference_loss(CHOSEN, CHOSEN_MASK, REJECTED, REJECTED_MASK)
    assert loss.item() == pytest.approx(0.201413, abs=1e-6)


def test_token_preference_golden_eq_4() -> None:
    """Changed: the chosen's 2 and the rejected's -1, divided by the full lengths 3 and 2.

    Margin 2/3 - (-1/2) = 7/6; ln(1 + e^(-7/6)) = ln 1.311403 = 0.271098. Padding marked as
    changed still does not count.
    """
    loss = token_preference_loss(
        CHOSEN, CHOSEN_MASK, REJECTED, REJECTED_MASK, CHOSEN_CHANGED, REJECTED_CHANGED
    )
    assert loss.item() == pytest.approx(0.271098, abs=1e-6)


@pytest.mark.parametrize("changed", [False, True])
@quick
@given(first=batches, seed=st.integers(0, 2**31), length=st.integers(1, 6))
def test_token_preference_reference(changed: bool, first: Batch, seed: int, length: int) -> None:
    """The two sides have lengths of their own."""
    second = random_batch(seed, rows=len(first.mask), length=length)
    marks = [b.x[1] > 0 if changed else torch.ones_like(b.mask) for b in (first, second)]
    given_marks = marks if changed else []
    loss = token_preference_loss(first.x[0], first.mask, second.x[0], second.mask, *given_marks)
    slow = [
        reference.token_preference(
            (first.x[0][b].tolist(), first.mask[b].tolist(), marks[0][b].tolist()),
            (second.x[0][b].tolist(), second.mask[b].tolist(), marks[1][b].tolist()),
        )
        for b in range(len(first.mask))
    ]
    assert loss.item() == pytest.approx(math.fsum(slow) / len(slow), abs=1e-12)


@quick
@given(batches)
def test_all_changed_is_eq_3(batch: Batch) -> None:
    every = torch.ones_like(batch.mask)
    chosen, rejected, _ = batch.x
    torch.testing.assert_close(
        token_preference_loss(chosen, batch.mask, rejected, batch.mask, every, every),
        token_preference_loss(chosen, batch.mask, rejected, batch.mask),
    )


def test_sides_on_which_nothing_counts_have_reward_zero() -> None:
    """Golden: rejected empty, margin 2 - 0; both without a change: ln 2 and no gradient."""
    nothing = torch.zeros_like(REJECTED_MASK)
    loss = token_preference_loss(CHOSEN, CHOSEN_MASK, REJECTED, nothing)
    assert loss.item() == pytest.approx(math.log1p(math.exp(-2)))
    scores = CHOSEN.clone().requires_grad_()
    unchanged = torch.zeros_like(CHOSEN_MASK)
    loss = token_preference_loss(scores, CHOSEN_MASK, REJECTED, REJECTED_MASK, unchanged, nothing)
    torch.autograd.backward(loss)
    assert loss.item() == pytest.approx(LOG_2)
    assert scores.grad is not None
    assert (scores.grad == 0).all()


def test_gradient_raises_the_chosen_and_lowers_the_rejected() -> None:
    chosen, rejected = CHOSEN.clone().requires_grad_(), REJECTED.clone().requires_grad_()
    torch.autograd.backward(token_preference_loss(chosen, CHOSEN_MASK, rejected, REJECTED_MASK))
    assert chosen.grad is not None
    assert rejected.grad is not None
    assert (chosen.grad[CHOSEN_MASK] < 0).all()
    assert (rejected.grad[REJECTED_MASK] > 0).all()


def test_gradcheck() -> None:
    batch = random_batch(seed=2, rows=3, length=4)
    x = torch.stack(batch.x[:2]).requires_grad_()
    mask, changed = batch.mask, batch.x[2] > 0
    ranks = torch.tensor([[0, 1, 2, 2], [3, 1, 0, 2], [1, 1, 1, 1]])
    assert torch.autograd.gradcheck(lambda x: bradley_terry_loss(x[0, :, 0], x[1, :, 0]), (x,))
    assert torch.autograd.gradcheck(lambda x: ranking_loss(x[0], ranks), (x,))
    assert torch.autograd.gradcheck(lambda x: token_preference_loss(x[0], mask, x[1], mask), (x,))
    assert torch.autograd.gradcheck(
        lambda x: token_preference_loss(x[0], mask, x[1], mask, changed, changed), (x,)
    )


def test_nothing_to_compare_is_an_error() -> None:
    empty = torch.zeros(0)
    with pytest.raises(ValueError, match="no pair"):
        bradley_terry_loss(empty, empty)
    with pytest.raises(ValueError, match="no ranking of 2 has a pair"):
        ranking_loss(torch.zeros(2, 3), torch.ones(2, 3, dtype=torch.long))


@pytest.mark.usefixtures("no_hook")
def test_errors() -> None:
    with pytest.raises(ValueError, match=r"\(1,\).*\(2,\)"):
        bradley_terry_loss(torch.zeros(2), torch.zeros(1))
    with pytest.raises(ValueError, match=r"1 dimensions.*\(2, 1\)"):
        bradley_terry_loss(torch.zeros(2, 1), torch.zeros(2, 1))
    with pytest.raises(ValueError, match=r"ranks has shape \(1, 3\).*\(2, 3\)"):
        ranking_loss(torch.zeros(2, 3), torch.zeros(1, 3, dtype=torch.long))
    with pytest.raises(ValueError, match=r"\(2, 3\).*\(1, 4\).*batch sizes"):
        token_preference_loss(
            CHOSEN, CHOSEN_MASK, REJECTED.expand(2, 3), REJECTED_MASK.expand(2, 3)
        )
    with pytest.raises(ValueError, match="both changed masks"):
        token_preference_loss(CHOSEN, CHOSEN_MASK, REJECTED, REJECTED_MASK, CHOSEN_CHANGED)
    with pytest.raises(ValueError, match=r"\(1, 3\).*\(1, 4\)"):
        token_preference_loss(
            CHOSEN, CHOSEN_MASK, REJECTED, REJECTED_MASK, REJECTED_CHANGED, REJECTED_CHANGED
        )
