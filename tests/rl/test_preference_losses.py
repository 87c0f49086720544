"""Losses of reward models."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.rl.preference_losses import bradley_terry_loss, token_preference_loss

from . import reference
from .strategies import Batch, batches, random_batch

quick = settings(max_examples=30, deadline=None)
smoothings = st.sampled_from([0.0, 0.1, 0.49])
LOG_2 = math.log(2)
CHOSEN, REJECTED = torch.tensor([[1.0, 2.0, 3.0, 90.0]]), torch.tensor([[2.0, -1.0, 90.0]])
CHOSEN_MASK = torch.tensor([[True, True, True, False]])
REJECTED_MASK = torch.tensor([[True, True, False]])
CHOSEN_CHANGED = torch.tensor([[False, True, False, True]])
REJECTED_CHANGED = torch.tensor([[False, True, False]])


def test_bradley_terry_golden() -> None:
    """Margins 3 - 3 = 0 and 2 - 1 = 1.

    -log sigma(0) = ln 2 = 0.693147; -log sigma(1) = ln(1 + e^-1) = 0.313262; mean 0.503205.
    """
    loss = bradley_terry_loss(torch.tensor([3.0, 2.0]), torch.tensor([3.0, 1.0]))
    assert loss.item() == pytest.approx(0.503205, abs=1e-6)


def test_bradley_terry_margin_and_smoothing_golden() -> None:
    """The same pairs, R_w - R_l = 0 and 1.

    Margins (1, 0.5): z = -1 and 0.5; (1.313262 + 0.474077) / 2 = 0.893669.
    Smoothing 0.1: ln 2 either way; 0.9 * 0.313262 + 0.1 * 1.313262 = 0.413262; mean 0.553205.
    Both: 0.9 * 1.313262 + 0.1 * 0.313262 = 1.213262; 0.9 * 0.474077 + 0.1 * 0.974077 = 0.524077;
    mean 0.868669.
    """
    pair = torch.tensor([3.0, 2.0]), torch.tensor([3.0, 1.0])
    margins = torch.tensor([1.0, 0.5])
    loss = bradley_terry_loss(*pair, margins=margins)
    assert loss.item() == pytest.approx(0.893669, abs=1e-6)
    loss = bradley_terry_loss(*pair, label_smoothing=0.1)
    assert loss.item() == pytest.approx(0.553205, abs=1e-6)
    loss = bradley_terry_loss(*pair, margins=margins, label_smoothing=0.1)
    assert loss.item() == pytest.approx(0.868669, abs=1e-6)


@quick
@given(batches, smoothings)
def test_bradley_terry_reference(batch: Batch, label_smoothing: float) -> None:
    chosen, rejected, margins = (x[:, 0] for x in batch.x)
    slow = [
        reference.smoothed(w - r - m, label_smoothing)
        for w, r, m in zip(chosen.tolist(), rejected.tolist(), margins.tolist(), strict=True)
    ]
    loss = bradley_terry_loss(chosen, rejected, margins=margins, label_smoothing=label_smoothing)
    assert loss.item() == pytest.approx(math.fsum(slow) / len(slow), abs=1e-12)


@quick
@given(batches, st.floats(-5, 5), smoothings)
def test_bradley_terry_properties(batch: Batch, offset: float, label_smoothing: float) -> None:
    """Blind to a common offset; a margin is an offset of the chosen; the order is immaterial."""
    chosen, rejected, margins = (x[:, 0] for x in batch.x)
    loss = bradley_terry_loss(chosen, rejected, margins=margins, label_smoothing=label_smoothing)
    for same in (
        ((chosen + offset, rejected + offset), margins),
        ((chosen - margins, rejected), None),
        ((chosen.flip(0), rejected.flip(0)), margins.flip(0)),
    ):
        again = bradley_terry_loss(*same[0], margins=same[1], label_smoothing=label_smoothing)
        torch.testing.assert_close(again, loss)


def test_smoothing_puts_the_minimum_at_its_log_odds() -> None:
    """e = 0.1: the gradient is 0 where sigma(z) = 0.9, at z = ln 9; without smoothing, nowhere."""
    z = torch.tensor([math.log(9)], dtype=torch.float64, requires_grad=True)
    zero = torch.zeros(1, dtype=torch.float64)
    (smooth,) = torch.autograd.grad(bradley_terry_loss(z, zero, label_smoothing=0.1), z)
    (plain,) = torch.autograd.grad(bradley_terry_loss(z, zero), z)
    assert smooth.item() == pytest.approx(0.0, abs=1e-12)
    assert plain.item() == pytest.approx(-0.1)


def test_bradley_terry_far_margins_stay_finite() -> None:
    """Margin 1000: loss 0; -1000: loss 1000."""
    far, zero = torch.tensor([1000.0]), torch.tensor([0.0])
    assert bradley_terry_loss(far, zero).item() == 0.0
    assert bradley_terry_loss(zero, far).item() == 1000.0


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


def test_token_preference_margin_and_smoothing_golden() -> None:
    """Eq. 3, R(tau_w) - R(tau_l) = 1.5: with margin 0.5, z = 1: 0.313262; smoothed 0.413262.

    (0.9 * 0.313262 + 0.1 * 1.313262.)
    """
    sides, margins = (CHOSEN, CHOSEN_MASK, REJECTED, REJECTED_MASK), torch.tensor([0.5])
    loss = token_preference_loss(*sides, margins=margins)
    assert loss.item() == pytest.approx(0.313262, abs=1e-6)
    loss = token_preference_loss(*sides, margins=margins, label_smoothing=0.1)
    assert loss.item() == pytest.approx(0.413262, abs=1e-6)


@pytest.mark.parametrize("changed", [False, True])
@quick
@given(
    first=batches,
    seed=st.integers(0, 2**31),
    length=st.integers(1, 6),
    label_smoothing=smoothings,
)
def test_token_preference_reference(
    changed: bool, first: Batch, seed: int, length: int, label_smoothing: float
) -> None:
    """The two sides have lengths of their own."""
    second = random_batch(seed, rows=len(first.mask), length=length)
    marks = [b.x[1] > 0 if changed else torch.ones_like(b.mask) for b in (first, second)]
    given_marks = marks if changed else []
    margins = first.x[2][:, 0]
    loss = token_preference_loss(
        *(first.x[0], first.mask, second.x[0], second.mask, *given_marks),
        margins=margins,
        label_smoothing=label_smoothing,
    )
    slow = []
    for b in range(len(first.mask)):
        won, lost = (
            reference.response_reward(x.x[0][b].tolist(), x.mask[b].tolist(), mark[b].tolist())
            for x, mark in zip((first, second), marks, strict=True)
        )
        slow.append(reference.smoothed(won - lost - margins[b].item(), label_smoothing))
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
    extras = {"margins": batch.x[2][:, 0], "label_smoothing": 0.1}
    assert torch.autograd.gradcheck(lambda x: bradley_terry_loss(x[0, :, 0], x[1, :, 0]), (x,))
    assert torch.autograd.gradcheck(
        lambda x: bradley_terry_loss(x[0, :, 0], x[1, :, 0], **extras), (x,)
    )
    assert torch.autograd.gradcheck(lambda x: token_preference_loss(x[0], mask, x[1], mask), (x,))
    assert torch.autograd.gradcheck(
        lambda x: token_preference_loss(x[0], mask, x[1], mask, changed, changed, **extras), (x,)
    )


def test_nothing_to_compare_is_an_error() -> None:
    empty = torch.zeros(0)
    with pytest.raises(ValueError, match=r"^the batch holds no pair: a mean over nothing$"):
        bradley_terry_loss(empty, empty)


@pytest.mark.parametrize("label_smoothing", [-0.1, 0.5, math.nan])
def test_smoothing_out_of_range_is_an_error(label_smoothing: float) -> None:
    pair = torch.zeros(2), torch.ones(2)
    sides = (CHOSEN, CHOSEN_MASK, REJECTED, REJECTED_MASK)
    with pytest.raises(ValueError, match=rf"label_smoothing .*\[0, 0.5\), is {label_smoothing}"):
        bradley_terry_loss(*pair, label_smoothing=label_smoothing)
    with pytest.raises(ValueError, match="label_smoothing"):
        token_preference_loss(*sides, label_smoothing=label_smoothing)


@pytest.mark.usefixtures("no_hook")
def test_errors() -> None:
    with pytest.raises(ValueError, match=r"\(1,\).*\(2,\)"):
        bradley_terry_loss(torch.zeros(2), torch.zeros(1))
    with pytest.raises(ValueError, match=r"1 dimensions.*\(2, 1\)"):
        bradley_terry_loss(torch.zeros(2, 1), torch.zeros(2, 1))
    with pytest.raises(ValueError, match=r"margins must have 1 dimensions.*\(2, 1\)"):
        bradley_terry_loss(torch.zeros(2), torch.zeros(2), margins=torch.zeros(2, 1))
    with pytest.raises(ValueError, match=r"margins has shape \(1,\).*\(2,\).*batch sizes"):
        bradley_terry_loss(torch.zeros(2), torch.zeros(2), margins=torch.zeros(1))
    with pytest.raises(TypeError, match=r"margins is torch\.int64"):
        bradley_terry_loss(torch.zeros(2), torch.zeros(2), margins=torch.ones(2).long())
    with pytest.raises(ValueError, match=r"\(2, 3\).*\(1, 4\).*batch sizes"):
        token_preference_loss(
            CHOSEN, CHOSEN_MASK, REJECTED.expand(2, 3), REJECTED_MASK.expand(2, 3)
        )
    with pytest.raises(
        ValueError, match=r"^give both changed masks \(Eq. 4\) or neither \(Eq. 3\)$"
    ):
        token_preference_loss(CHOSEN, CHOSEN_MASK, REJECTED, REJECTED_MASK, CHOSEN_CHANGED)
    with pytest.raises(ValueError, match=r"\(1, 3\).*\(1, 4\)"):
        token_preference_loss(
            CHOSEN, CHOSEN_MASK, REJECTED, REJECTED_MASK, REJECTED_CHANGED, REJECTED_CHANGED
        )
