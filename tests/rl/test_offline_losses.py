"""Losses of policies that learn without a rollout: by hand, by slow references, by gradient."""

import math
from collections.abc import Callable
from typing import Any, Literal

import pytest
import torch
from torch import Tensor

from bench.rl import dpo_loss, figa_loss, forward_kl, rrhf_loss, tdpo_loss

from . import reference
from .strategies import random_batch


def row(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_dpo_by_hand() -> None:
    """beta .1, h_w - h_l = 5 and -10: softplus(-.5) = .474077, softplus(1) = 1.313262.

    Their mean: .893669. Smoothed by .1: .9 * .474077 + .1 * .974077 = .524077.
    """
    chosen, rejected = row(2.0, -4.0), row(-3.0, 6.0)
    assert dpo_loss(chosen, rejected, beta=0.1).item() == pytest.approx(0.893669, abs=1e-6)
    loss = dpo_loss(chosen[:1], rejected[:1], beta=0.1, label_smoothing=0.1)
    assert loss.item() == pytest.approx(0.524077, abs=1e-6)


def test_dpo_begins_at_log_2_and_its_gradient_is_the_papers() -> None:
    """Section 4: -beta sigma(r_l - r_w) on h_w, the opposite on h_l; divided by the two pairs."""
    zero = row(0.0, 0.0)
    assert dpo_loss(zero, zero, beta=0.3).item() == pytest.approx(math.log(2))
    chosen, rejected = row(1.0, -2.0).requires_grad_(), row(0.5, 3.0).requires_grad_()
    loss = dpo_loss(chosen, rejected, beta=0.3)
    up, down = torch.autograd.grad(loss, (chosen, rejected))
    expected = -0.3 * torch.sigmoid(0.3 * (rejected - chosen)) / 2
    torch.testing.assert_close(up, expected.detach())
    torch.testing.assert_close(down, -expected.detach())


def test_tdpo_by_hand() -> None:
    """beta .1, h 2 and -3, S 1 and 4. TDPO2, alpha .5: .1 (5 - .5 * 3) = .35; TDPO1: .1 (5 - 3)."""
    arguments = row(2.0), row(-3.0), row(1.0), row(4.0)
    two = tdpo_loss(*arguments, beta=0.1, alpha=0.5)
    assert two.item() == pytest.approx(math.log1p(math.exp(-0.35)))
    one = tdpo_loss(*arguments, beta=0.1, alpha=9.0, variant=1)
    assert one.item() == pytest.approx(math.log1p(math.exp(-0.2)))


def test_tdpo_without_alpha_is_dpo() -> None:
    x = torch.randn(4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    leaves = x.requires_grad_()
    ours = tdpo_loss(*leaves, beta=0.2, alpha=0.0)
    plain = dpo_loss(leaves[0], leaves[1], beta=0.2)
    assert torch.equal(ours, plain)
    found, expected = (torch.autograd.grad(loss, leaves)[0] for loss in (ours, plain))
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


@pytest.mark.parametrize(("variant", "passes"), [(1, True), (2, False)])
def test_which_tdpo_learns_at_the_chosen_responses_states(
    variant: Literal[1, 2], passes: bool
) -> None:
    """A step down never lets the rejected response's states diverge further."""
    kl = [row(1.0, 2.0).requires_grad_() for _ in range(2)]
    h = row(0.5, -0.5)
    chosen, rejected = torch.autograd.grad(
        tdpo_loss(h, -h, *kl, beta=0.1, alpha=0.5, variant=variant), kl, allow_unused=True
    )
    assert (rejected > 0).all()
    assert (chosen is not None) == passes
    if passes:
        assert (chosen < 0).all()


@pytest.mark.usefixtures("no_hook")
def test_tdpo_has_two_variants() -> None:
    h = row(0.0)
    with pytest.raises(ValueError, match="variant must be 1 or 2, is 3"):
        tdpo_loss(h, h, h, h, beta=0.1, alpha=0.5, variant=3)  # type: ignore[arg-type]


def test_rrhf_by_hand() -> None:
    """p = -1, -2, -.5 ranked so: only the third is likelier than what is above it.

    Hinge: (-.5 + 1) + (-.5 + 2) = 2; twice that and the best one's 6 nats: 10. A second ranking in
    order costs 1 nat: mean 5.5.
    """
    scores = torch.tensor([[-1.0, -2.0, -0.5], [-1.0, -2.0, -3.0]])
    ranks = torch.tensor([[0, 1, 2], [0, 1, 2]])
    loss = rrhf_loss(scores, ranks, torch.tensor([-6.0, -1.0]), rank_weight=2.0)
    assert loss.item() == pytest.approx(5.5)


def test_rrhf_compares_no_equal_ranks() -> None:
    scores = torch.tensor([[-3.0, -1.0, -2.0]])
    best = torch.zeros(1)
    assert rrhf_loss(scores, torch.tensor([[0, 0, 0]]), best).item() == 0.0
    loss = rrhf_loss(scores, torch.tensor([[0, 0, 1]]), best)
    assert loss.item() == pytest.approx(1.0)  # p_3 - p_1; the second is likelier than the third


def test_figa_by_hand() -> None:
    """Put in: -log pi = 2; taken out: .5 and .7, of which the second is over the threshold.

    (1 * 2 - .5 * .5) / 3 = .583333; what was changed by neither, or is padding, counts nowhere.
    """
    mask = torch.tensor([[True, True, True, False]])
    chosen, rejected = row(-2.0, -9.0, -9.0, -9.0)[None], row(-0.5, -0.7, -0.1, -0.1)[None]
    put_in = torch.tensor([[True, False, False, True]])
    taken_out = torch.tensor([[True, True, False, True]])
    loss = figa_loss(
        chosen, mask, rejected, mask, put_in, taken_out, learn=1.0, unlearn=0.5, threshold=0.6
    )
    assert loss.item() == pytest.approx(1.75 / 3)


def test_figa_raises_what_was_put_in_and_lowers_what_was_taken_out_where_it_is_likely() -> None:
    mask = torch.ones(1, 2, dtype=torch.bool)
    chosen, rejected = (
        row(-1.0, -0.1)[None].requires_grad_(),
        row(-1.0, -0.1)[None].requires_grad_(),
    )
    loss = figa_loss(
        chosen, mask, rejected, mask, mask, mask, learn=1.0, unlearn=0.5, threshold=0.6
    )
    up, down = torch.autograd.grad(loss, (chosen, rejected))
    assert up.tolist() == [[-0.25, -0.25]]
    assert down.tolist() == [[0.0, 0.125]]


def test_figa_of_edits_that_change_nothing_is_0() -> None:
    x, mask, none = row(-1.0, -2.0)[None], torch.ones(1, 2).bool(), torch.zeros(1, 2).bool()
    assert (
        figa_loss(x, mask, x, mask, none, none, learn=1.0, unlearn=1.0, threshold=1.0).item() == 0.0
    )


def test_forward_kl_by_hand() -> None:
    """Reference (1/2, 1/2), policy (1/4, 3/4): 1/2 log 2 + 1/2 log 2/3 = 1/2 log 4/3."""
    policy = row(1.0, 3.0).log()[None, None]
    reference_logits = row(5.0, 5.0)[None, None]
    kl = forward_kl(policy, reference_logits)
    assert kl.item() == pytest.approx(0.5 * math.log(4 / 3))
    assert forward_kl(policy, policy).item() == 0.0


def test_what_the_reference_never_draws_has_no_part_in_the_divergence() -> None:
    logits = row(1.0, 2.0, 7.0)[None, None].requires_grad_()
    ref_logits = row(1.0, 2.0, -math.inf)[None, None]
    kl = forward_kl(logits, ref_logits)
    (gradient,) = torch.autograd.grad(kl.sum(), logits)
    assert torch.isfinite(kl).all()
    assert torch.isfinite(gradient).all()
    both = forward_kl(ref_logits, ref_logits)
    assert both.item() == 0.0


@pytest.mark.parametrize("seed", range(4))
def test_against_slow_references(seed: int) -> None:
    """Plain Python, pair by pair, token by token."""
    batch = random_batch(seed=seed, rows=3, length=5)
    (x, y, w), mask = batch.x, batch.mask
    h, g, s, v = x[:, 0], y[:, 0], x[:, 1].abs(), y[:, 1].abs()
    columns = [t.tolist() for t in (h, g, s, v)]
    slow = [
        reference.softplus(-0.3 * (a - b - 0.7 * (d - c)))
        for a, b, c, d in zip(*columns, strict=True)
    ]
    loss = tdpo_loss(h, g, s, v, beta=0.3, alpha=0.7)
    assert loss.item() == pytest.approx(sum(slow) / 3, abs=1e-12)

    ranks = torch.randint(3, x.shape, generator=torch.Generator().manual_seed(seed))
    total = 0.0
    for p, r, best in zip(x.tolist(), ranks.tolist(), h.tolist(), strict=True):
        hinge = sum(max(0.0, p[j] - p[i]) for i in range(5) for j in range(5) if r[i] < r[j])
        total += 1.5 * hinge - best
    loss = rrhf_loss(x, ranks, h, rank_weight=1.5)
    assert loss.item() == pytest.approx(total / 3, abs=1e-12)

    chosen, rejected, new, gone = -x.abs(), -y.abs(), w > 0, w < 0.3
    sides = zip(*(t.flatten().tolist() for t in (chosen, rejected, mask, new, gone)), strict=True)
    total, n = 0.0, 0
    for a, b, counts, is_new, is_gone in sides:
        n += counts * (is_new + is_gone)
        total -= a if counts and is_new else 0.0
        total += 0.5 * b if counts and is_gone and -b <= 0.6 else 0.0
    loss = figa_loss(chosen, mask, rejected, mask, new, gone, learn=1.0, unlearn=0.5, threshold=0.6)
    assert loss.item() == pytest.approx(total / max(1, n), abs=1e-12)

    logits = torch.randn(2, 1, 1, 7, dtype=torch.float64) * 3
    own, ref = (reference.log_softmax(side.flatten().tolist()) for side in logits)
    slow_kl = sum(math.exp(b) * (b - a) for a, b in zip(own, ref, strict=True))
    assert forward_kl(*logits).item() == pytest.approx(slow_kl, abs=1e-12)


FULL = torch.ones(2, 3, dtype=torch.bool)
GRADIENTS: dict[str, tuple[Callable[..., Tensor], list[Tensor]]] = {
    "dpo": (lambda a, b: dpo_loss(a, b, beta=0.4), [row(1.0, 2.0), row(0.3, -2.0)]),
    "tdpo 1": (
        lambda *x: tdpo_loss(*x, beta=0.4, alpha=0.5, variant=1),
        [row(1.0, 2.0), row(0.3, -2.0), row(0.2, 0.4), row(1.0, 0.1)],
    ),
    "rrhf": (
        lambda p, best: rrhf_loss(p, torch.tensor([[0, 1, 2], [1, 0, 1]]), best, rank_weight=2.0),
        [torch.tensor([[-1.0, -0.2, -3.0], [-1.5, -2.0, -0.7]]).double(), row(-4.0, -5.0)],
    ),
    "figa": (
        lambda a, b: figa_loss(a, FULL, b, FULL, FULL, FULL, learn=1.0, unlearn=0.5, threshold=0.6),
        [-torch.rand(2, 3, dtype=torch.float64), -torch.rand(2, 3, dtype=torch.float64)],
    ),
    "forward_kl": (forward_kl, list(torch.randn(2, 1, 2, 5, dtype=torch.float64))),
}


@pytest.mark.parametrize("name", GRADIENTS)
def test_gradients_are_those_of_finite_differences(name: str) -> None:
    function, inputs = GRADIENTS[name]
    torch.manual_seed(0)
    leaves = tuple(x.clone().requires_grad_() for x in inputs)
    check: Any = torch.autograd.gradcheck
    assert check(function, leaves)
