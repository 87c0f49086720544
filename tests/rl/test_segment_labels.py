"""Segment classes (fine-grained RLHF), by hand and against a slow reference."""

import math

import pytest
import torch
from hypothesis import given, settings
from torch import Tensor

from bench.rl import (
    segment_label_accuracy,
    segment_label_loss,
    segment_label_rewards,
    segments_with,
)

from . import reference
from .strategies import Batch, batches

# Six tokens, the last of them padding: segments of tokens 0 1, 2 3 and 4.
MASK = torch.tensor([[True, True, True, True, True, False]])
ENDS = torch.tensor([[False, True, False, True, False, True]])
NONE = torch.zeros_like(MASK)


def at(*positions: int) -> Tensor:
    """(1, 6) True there."""
    return torch.tensor([[t in positions for t in range(6)]])


def logits(*values: float) -> Tensor:
    """(1, 6) at the ends 1, 3 and 4; what stands elsewhere means nothing."""
    z = torch.full((1, 6), 50.0, dtype=torch.float64)
    z[0, [1, 3, 4]] = torch.tensor(values, dtype=torch.float64)
    return z.requires_grad_()


@pytest.mark.parametrize(
    ("wrong", "found"),
    [
        ((), ()),
        ((0,), (0, 1)),
        ((1, 2), (0, 1, 2, 3)),  # across a border
        ((4,), (4,)),
        ((5,), ()),  # padding
    ],
)
def test_which_segments_are_marked(wrong: tuple[int, ...], found: tuple[int, ...]) -> None:
    assert torch.equal(segments_with(at(*wrong), ENDS, MASK), at(*found))


def test_by_hand() -> None:
    """p = 3/4, 1/4 and 1/2 without, with and with an error: L = (2 log 4/3 + log 2) / 3."""
    z = logits(math.log(3), -math.log(3), 0.0)
    loss = segment_label_loss(z, at(3, 4), NONE, ENDS, MASK)
    assert loss.item() == pytest.approx((2 * math.log(4 / 3) + math.log(2)) / 3, rel=1e-12)
    (gradient,) = torch.autograd.grad(loss, z)
    # d/dz of the binary cross-entropy: (p - y) / 3.
    expected = torch.tensor([[0, -0.25, 0, 0.25, 0.5, 0]], dtype=torch.float64) / 3
    torch.testing.assert_close(gradient, expected)


def test_a_segment_in_which_nobody_looked_teaches_nothing() -> None:
    """The second has an error of another kind; so has the third, beside one that counts."""
    z = logits(math.log(3), 7.0, 0.0)
    loss = segment_label_loss(z, at(4), at(2, 4), ENDS, MASK)
    assert loss.item() == pytest.approx((math.log(4 / 3) + math.log(2)) / 2, rel=1e-12)
    (gradient,) = torch.autograd.grad(loss, z)
    assert gradient[0, 3] == 0
    nothing = segment_label_loss(z, NONE, MASK, ENDS, MASK)
    assert nothing.item() == 0
    assert not torch.autograd.grad(nothing, z)[0].any()
    assert segment_label_accuracy(z, at(4), at(2, 4), ENDS, MASK).item() == 1  # 0 says: an error
    with pytest.raises(ValueError, match="holds no response"):
        segment_label_loss(z[:0], NONE[:0], NONE[:0], ENDS[:0], MASK[:0])


def test_what_is_paid() -> None:
    paid = segment_label_rewards(logits(2.0, -0.1, 0.0), ENDS, MASK, value=0.3)
    expected = torch.tensor([[0, 0.3, 0, -0.3, -0.3, 0]], dtype=torch.float64)
    torch.testing.assert_close(paid, expected)
    whole = segment_label_rewards(logits(2.0, 2.0, 2.0), at(), MASK, value=0.3)
    torch.testing.assert_close(whole.sum().item(), 0.3)  # one segment; three are paid .9


@settings(max_examples=30, deadline=None)
@given(batches)
def test_reference(batch: Batch) -> None:
    (z, u, w), mask = batch.x, batch.mask
    ends, wrong, hidden = u > 0, w > 1, w < -0.5
    losses, rights = [], []
    paid = segment_label_rewards(z, ends, mask, value=0.5)
    for b in range(len(mask)):
        own, right = [], []
        found = reference.segments(z[b].tolist(), ends[b].tolist(), mask[b].tolist())
        for score, positions in found:
            bad = any(wrong[b, t] for t in positions)
            assert paid[b, positions].tolist() == [
                (0.5 if score > 0 else -0.5) * (t == positions[-1]) for t in positions
            ]
            if bad or not any(hidden[b, t] for t in positions):
                p = 1 / (1 + math.exp(-score))
                own.append(-math.log(1 - p if bad else p))
                right.append((score > 0) != bad)
        losses.append(sum(own) / max(1, len(own)))
        rights.append(sum(right) / max(1, len(right)))
    arguments = z, wrong, hidden, ends, mask
    assert segment_label_loss(*arguments).item() == pytest.approx(sum(losses) / len(losses))
    assert segment_label_accuracy(*arguments).item() == pytest.approx(sum(rights) / len(rights))
