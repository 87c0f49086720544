"""Token classes (TLCR), by hand and against a slow reference."""

import math

import pytest
import torch

from bench.rl import token_label_loss, token_label_rewards

from .strategies import random_batch

MASK = torch.tensor([[True, True, False]])
NONE = torch.zeros(1, 3, dtype=torch.bool)


def logits(*values: float) -> torch.Tensor:
    return torch.tensor([values], dtype=torch.float64)


def test_by_hand() -> None:
    """A new token with p = 3/4 and an old one with p = 1/2; one that was taken out, p = 1/4.

    L = (1/2) (-log 3/4 + log 2) + (1/1) (-log(1 - 1/4)); the token that is padding counts nowhere.
    """
    chosen, rejected = logits(math.log(3), 0.0, 9.0), logits(-math.log(3), 9.0, 9.0)
    new = torch.tensor([[True, False, True]])
    gone = torch.tensor([[True, False, False]])
    one = torch.tensor([[True, False, False]])
    loss = token_label_loss(chosen, MASK, rejected, one, new, gone)
    expected = 0.5 * (math.log(4 / 3) + math.log(2)) + math.log(4 / 3)
    assert loss.item() == pytest.approx(expected, rel=1e-12)


def test_nothing_known_costs_two_bits_and_nothing_changed_pulls_to_the_middle() -> None:
    zero = torch.zeros(1, 3, dtype=torch.float64, requires_grad=True)
    loss = token_label_loss(zero, MASK, zero, MASK, MASK, MASK)
    assert loss.item() == pytest.approx(2 * math.log(2))
    sure = logits(2.0, -3.0, 0.0).requires_grad_()
    (gradient,) = torch.autograd.grad(token_label_loss(sure, MASK, sure, MASK, NONE, NONE), sure)
    assert (gradient.sign() == sure.detach().sign()).all()  # of descent: towards 0


def test_a_step_down_the_loss_raises_new_tokens_and_lowers_those_taken_out() -> None:
    chosen = torch.zeros(1, 3, dtype=torch.float64, requires_grad=True)
    rejected = torch.zeros(1, 3, dtype=torch.float64, requires_grad=True)
    loss = token_label_loss(chosen, MASK, rejected, MASK, MASK, MASK)
    up, down = torch.autograd.grad(loss, (chosen, rejected))
    assert (up[MASK] < 0).all()
    assert (down[MASK] > 0).all()


@pytest.mark.parametrize("softmaxes", [1, 2])
def test_against_softmax_written_out(softmaxes: int) -> None:
    """The released code: softmax of a two-class head, once more in its cross-entropy."""
    batch = random_batch(seed=1, rows=4, length=6)
    (z, u, w), mask = batch.x, batch.mask
    new, gone = w > 0, w < -0.5
    total = 0.0
    for side, changed, label in ((z, new, 1.0), (u, gone, 0.0)):
        for row in range(4):
            losses = []
            for t in range(6):
                if mask[row, t]:
                    classes = torch.stack([side[row, t], torch.zeros((), dtype=torch.float64)])
                    for _ in range(softmaxes):
                        classes = classes.softmax(0)
                    y = label if changed[row, t] else 0.5
                    losses.append(-y * classes[0].log() - (1 - y) * classes[1].log())
            total += torch.stack(losses).mean().item() / 4
    loss = token_label_loss(z, mask, u, mask, new, gone, softmaxes=softmaxes)
    assert loss.item() == pytest.approx(total, rel=1e-12)
    paid = token_label_rewards(z, mask, softmaxes=softmaxes)
    classes = torch.stack([z, torch.zeros_like(z)], dim=-1)
    for _ in range(softmaxes):
        classes = classes.softmax(-1)
    expected = (2 * classes[..., 0] - 1).masked_fill(~mask, 0.0)
    torch.testing.assert_close(paid, expected)


def test_two_softmaxes_bound_the_reward() -> None:
    paid = token_label_rewards(logits(50.0, -50.0, 0.0), MASK, softmaxes=2)
    assert paid[0, :2].tolist() == pytest.approx([math.tanh(0.5), -math.tanh(0.5)])


def test_gradcheck_and_errors() -> None:
    batch = random_batch(seed=2, rows=3, length=5)
    x = [tensor.requires_grad_() for tensor in batch.x[:2]]
    changed = batch.x[2] > 0
    assert torch.autograd.gradcheck(
        lambda a, b: token_label_loss(a, batch.mask, b, batch.mask, changed, changed, softmaxes=2),
        x,
    )
    with pytest.raises(ValueError, match="softmaxes must be 1 or 2, is 3"):
        token_label_rewards(x[0], batch.mask, softmaxes=3)
    empty = torch.zeros(0, 3)
    nothing = torch.zeros(0, 3, dtype=torch.bool)
    with pytest.raises(ValueError, match="holds no pair"):
        token_label_loss(empty, nothing, empty, nothing, nothing, nothing)
