"""The token-wise preference loss after the first divergence."""

import math

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from bench.rl.preference_losses import bradley_terry_loss, divergence_preference_loss

from . import reference
from .strategies import Batch, batches, random_batch

quick = settings(max_examples=30, deadline=None)
NAN = math.nan
# left-padded with a gap, and right-padded: only the counted tokens' order matters
CHOSEN = torch.tensor([[NAN, 1.0, 2.0, NAN, 3.0]])
CHOSEN_MASK = torch.tensor([[False, True, True, False, True]])
REJECTED, REJECTED_MASK = torch.tensor([[2.0, -1.0, NAN]]), torch.tensor([[True, True, False]])
SIDES = (CHOSEN, CHOSEN_MASK, REJECTED, REJECTED_MASK)


@pytest.mark.parametrize(("first", "expected"), [(0, 0.460000), (1, 0.033368), (2, 0.018150)])
def test_golden(first: int, expected: float) -> None:
    """Chosen (1, 2, 3), rejected (2, -1), which holds its -1: differences -1, 3, 4.

    -log sigma: 1.313262, 0.048587, 0.018150. From 0: 1.379999 / 3; from 1: 0.066737 / 2; from 2,
    where the rejected has ended: the last alone.
    """
    loss = divergence_preference_loss(*SIDES, torch.tensor([first]))
    assert loss.item() == pytest.approx(expected, abs=1e-6)


def test_golden_when_the_chosen_is_shorter() -> None:
    """Sides exchanged, from 1: differences -3 and -4: (3.048587 + 4.018150) / 2 = 3.533368."""
    loss = divergence_preference_loss(
        REJECTED, REJECTED_MASK, CHOSEN, CHOSEN_MASK, torch.tensor([1])
    )
    assert loss.item() == pytest.approx(3.533368, abs=1e-6)


def test_golden_margin_and_smoothing() -> None:
    """From 1, margin 1: z = 2, 3: (0.126928 + 0.048587) / 2 = 0.087758.

    Smoothed by 0.1: 0.9 * 0.126928 + 0.1 * 2.126928 = 0.326928 and
    0.9 * 0.048587 + 0.1 * 3.048587 = 0.348587, mean 0.337758.
    """
    first, margins = torch.tensor([1]), torch.tensor([1.0])
    loss = divergence_preference_loss(*SIDES, first, margins=margins)
    assert loss.item() == pytest.approx(0.087758, abs=1e-6)
    loss = divergence_preference_loss(*SIDES, first, margins=margins, label_smoothing=0.1)
    assert loss.item() == pytest.approx(0.337758, abs=1e-6)


@pytest.mark.parametrize("none", [-1, 3, 100])
def test_a_pair_that_does_not_diverge_adds_no_term(none: int) -> None:
    """Beside a pair of 0.033368, whether it says so by -1 or by an index past both ends."""
    two = [x.expand(2, -1) for x in SIDES]
    scores = two[0].clone().requires_grad_()
    loss = divergence_preference_loss(scores, *two[1:], torch.tensor([1, none]))
    torch.autograd.backward(loss)
    assert loss.item() == pytest.approx(0.033368, abs=1e-6)
    assert scores.grad is not None
    assert (scores.grad[0, [2, 4]] != 0).all()
    assert (scores.grad[1] == 0).all()
    with pytest.raises(ValueError, match="no pair of 1 diverges: drop identical pairs"):
        divergence_preference_loss(*SIDES, torch.tensor([none]))


def test_an_empty_side_scores_zero() -> None:
    """Differences (1, 2, 3) against nothing: (0.313262 + 0.126928 + 0.048587) / 3 = 0.162926."""
    loss = divergence_preference_loss(
        CHOSEN, CHOSEN_MASK, REJECTED, torch.zeros_like(REJECTED_MASK), torch.tensor([0])
    )
    assert loss.item() == pytest.approx(0.162926, abs=1e-6)


@quick
@given(
    batch=batches,
    seed=st.integers(0, 2**31),
    length=st.integers(1, 40),
    first=st.lists(st.integers(-1, 12), min_size=4, max_size=4),
    label_smoothing=st.sampled_from([0.0, 0.1]),
)
def test_reference(
    batch: Batch, seed: int, length: int, first: list[int], label_smoothing: float
) -> None:
    """Long rows too: up to 16 elements, torch's unstable sort happens to keep their order."""
    other, rows = random_batch(seed, len(batch.mask), length), len(batch.mask)
    margins = batch.x[2][:, 0]
    means = []
    for b in range(rows):
        chosen, rejected = (
            reference.counted(side.x[0][b].tolist(), side.mask[b].tolist())
            for side in (batch, other)
        )
        terms = reference.divergence_terms(chosen, rejected, first[b], margins[b].item())
        if terms:
            losses = [reference.smoothed(z, label_smoothing) for z in terms]
            means.append(math.fsum(losses) / len(losses))
    assume(means)
    loss = divergence_preference_loss(
        *(batch.x[0], batch.mask, other.x[0], other.mask, torch.tensor(first[:rows])),
        margins=margins,
        label_smoothing=label_smoothing,
    )
    assert loss.item() == pytest.approx(math.fsum(means) / len(means), abs=1e-12)


@quick
@given(batches)
def test_responses_of_one_token_are_bradley_terry(batch: Batch) -> None:
    chosen, rejected = batch.x[0][:, :1], batch.x[1][:, :1]
    every, start = torch.ones_like(chosen).bool(), torch.zeros(len(chosen), dtype=torch.long)
    torch.testing.assert_close(
        divergence_preference_loss(chosen, every, rejected, every, start),
        bradley_terry_loss(chosen[:, 0], rejected[:, 0]),
    )


def test_gradcheck() -> None:
    """Rows that diverge at their first and second token, and one that does not."""
    batch = random_batch(seed=2, rows=3, length=4)
    other = random_batch(seed=4, rows=3, length=3)
    first = torch.tensor([0, 1, -1])
    chosen, rejected = batch.x[0].requires_grad_(), other.x[0].requires_grad_()
    assert torch.autograd.gradcheck(
        lambda x, y: divergence_preference_loss(x, batch.mask, y, other.mask, first),
        (chosen, rejected),
    )
    assert torch.autograd.gradcheck(
        lambda x, y: divergence_preference_loss(
            x, batch.mask, y, other.mask, first, margins=batch.x[2][:, 0], label_smoothing=0.1
        ),
        (chosen, rejected),
    )


@pytest.mark.usefixtures("no_hook")
def test_errors() -> None:
    first = torch.tensor([1])
    with pytest.raises(ValueError, match=r"chosen_scores has shape \(1, 5\).*\(1, 3\)|mask has"):
        divergence_preference_loss(CHOSEN, REJECTED_MASK, REJECTED, REJECTED_MASK, first)
    with pytest.raises(ValueError, match=r"mask has shape \(1, 5\).*rejected_scores.*\(1, 3\)"):
        divergence_preference_loss(CHOSEN, CHOSEN_MASK, REJECTED, CHOSEN_MASK, first)
    with pytest.raises(ValueError, match=r"first_divergence must have 1 dim.*\(1, 1\)"):
        divergence_preference_loss(*SIDES, first[None])
    with pytest.raises(ValueError, match=r"first_divergence has shape \(2,\).*\(1, 5\).*batch"):
        divergence_preference_loss(*SIDES, torch.tensor([1, 1]))
    with pytest.raises(ValueError, match=r"margins has shape \(2,\).*batch"):
        divergence_preference_loss(*SIDES, first, margins=torch.zeros(2))
    with pytest.raises(ValueError, match=r"label_smoothing .* is 0.5"):
        divergence_preference_loss(*SIDES, first, label_smoothing=0.5)
