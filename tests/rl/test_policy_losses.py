"""PPO's policy and value losses."""

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.rl.masking import masked_mean
from bench.rl.policy_losses import ppo_policy_loss, ppo_value_loss, ratio_statistics

from . import reference
from .strategies import Batch, batches, random_batch

Loss = Callable[..., torch.Tensor]
quick = settings(max_examples=30, deadline=None)


def test_policy_loss_golden() -> None:
    """Ratios (1.5, 0.5 | 1.5, 0.5), advantages (1, 1 | -1, -1), clip range 0.2, one padded token.

    min(1.5, 1.2) = 1.2; min(0.5, 0.8) = 0.5; min(-1.5, -1.2) = -1.5; min(-0.5, -0.8) = -0.8.
    Sum -0.6, mean -0.15, loss 0.15. Unclipped: 1.5 + 0.5 - 1.5 - 0.5 = 0.
    """
    logprobs = torch.tensor([[1.5, 0.5, 7.0], [1.5, 0.5, 7.0]]).log()
    advantages = torch.tensor([[1.0, 1.0, 7.0], [-1.0, -1.0, 7.0]])
    mask = torch.tensor([[True, True, False], [True, True, False]])
    old = torch.zeros_like(logprobs)
    loss = ppo_policy_loss(logprobs, old, advantages, mask, clip_range=0.2)
    assert loss.item() == pytest.approx(0.15)
    loss = ppo_policy_loss(logprobs, old, advantages, mask, clip_range=math.inf)
    assert loss.item() == pytest.approx(0.0, abs=1e-6)


def test_value_loss_golden() -> None:
    """Clip range 0.2; (V, V_old, R) = (1, 0.5, 0.6), (0.6, 1, 0.5), (1.1, 1, 2), one padded token.

    (1 - 0.6)^2 = 0.16, clipped (0.7 - 0.6)^2 = 0.01: 0.16.
    (0.6 - 0.5)^2 = 0.01, clipped (0.8 - 0.5)^2 = 0.09: 0.09.
    (1.1 - 2)^2 = 0.81, not clipped: 0.81.
    Sum 1.06, mean 0.353333, half 0.176667. Unclipped: (0.16 + 0.01 + 0.81) / 6 = 0.163333.
    """
    values = torch.tensor([[1.0, 0.6, 1.1, 50.0]])
    old = torch.tensor([[0.5, 1.0, 1.0, 0.0]])
    returns = torch.tensor([[0.6, 0.5, 2.0, 0.0]])
    mask = torch.tensor([[True, True, True, False]])
    loss = ppo_value_loss(values, old, returns, mask, clip_range=0.2)
    assert loss.item() == pytest.approx(0.176667, abs=1e-6)
    loss = ppo_value_loss(values, old, returns, mask, clip_range=math.inf)
    assert loss.item() == pytest.approx(0.163333, abs=1e-6)


@quick
@given(batches, st.floats(0.01, 0.5))
def test_reference(batch: Batch, clip_range: float) -> None:
    a, b, c = (x[batch.mask].tolist() for x in batch.x)
    policy = ppo_policy_loss(*batch.x, batch.mask, clip_range=clip_range).item()
    value = ppo_value_loss(*batch.x, batch.mask, clip_range=clip_range).item()
    assert policy == pytest.approx(reference.policy_loss(a, b, c, clip_range), abs=1e-10)
    assert value == pytest.approx(reference.value_loss(a, b, c, clip_range), abs=1e-10)


def test_ratio_statistics_golden() -> None:
    """Ratios 1.5, 0.5, 1.1, clip range 0.2, one padded token; old log-probabilities -1.

    Out of range: 1.5 and 0.5, 2/3. Mean 3.1/3 = 1.033333. Greatest 1.5.
    rho - 1 - ln rho: 0.5 - 0.405465 = 0.094535; -0.5 + 0.693147 = 0.193147;
    0.1 - 0.095310 = 0.004690; mean 0.292372/3 = 0.097457.
    Deviations 0.466667, -0.533333, 0.066667; squares sum to 0.506667, /3 = 0.168889; root 0.410961.
    """
    old = torch.full((1, 4), -1.0)
    logprobs = torch.tensor([[1.5, 0.5, 1.1, 7.0]]).log() + old
    mask = torch.tensor([[True, True, True, False]])
    out = ratio_statistics(logprobs, old, mask, clip_range=0.2)
    golden = {
        "clip_fraction": 2 / 3,
        "approx_kl": 0.097457,
        "ratio_mean": 1.033333,
        "ratio_max": 1.5,
        "ratio_std": 0.410961,
    }
    assert {name: x.item() for name, x in out.items()} == pytest.approx(golden, abs=1e-6)
    assert all(x.shape == () for x in out.values())


@quick
@given(batches, st.floats(0.01, 0.5))
def test_ratio_statistics_reference(batch: Batch, clip_range: float) -> None:
    new, old, _ = batch.x
    out = ratio_statistics(new, old, batch.mask, clip_range=clip_range)
    counted = new[batch.mask].tolist(), old[batch.mask].tolist()
    slow = reference.ratio_statistics(*counted, clip_range)
    assert {name: x.item() for name, x in out.items()} == pytest.approx(slow, abs=1e-10)


def test_ratio_statistics_of_a_policy_that_has_not_moved() -> None:
    """Exactly 0 and 1, at a clip range of 0 as well: a ratio of 1 is not out of it."""
    x, mask = torch.randn(2, 3, requires_grad=True), torch.ones(2, 3, dtype=torch.bool)
    out = ratio_statistics(x, x.detach().clone(), mask, clip_range=0.0)
    assert [v.item() for v in out.values()] == [0.0, 0.0, 1.0, 1.0, 0.0]
    assert not any(v.requires_grad for v in out.values())
    out = ratio_statistics(x, x, torch.zeros_like(mask), clip_range=0.2)
    assert [v.item() for v in out.values()] == [0.0] * 5


@quick
@given(batches)
def test_first_step_is_the_policy_gradient(batch: Batch) -> None:
    """At pi = pi_old the gradient is that of -mean A_t log pi, clipping or not: -A_t / n."""
    logprobs, _, advantages = batch.x
    leaf = logprobs.clone().requires_grad_()
    torch.autograd.backward(ppo_policy_loss(leaf, logprobs, advantages, batch.mask, clip_range=0.2))
    expected = (-advantages / batch.mask.sum()).masked_fill(~batch.mask, 0.0)
    assert leaf.grad is not None
    torch.testing.assert_close(leaf.grad, expected)


@quick
@given(batches, st.floats(0.1, 10))
def test_scale(batch: Batch, scale: float) -> None:
    """The policy loss is linear in a positive scale of A; the value loss quadratic in all."""
    logprobs, old, advantages = batch.x
    plain = ppo_policy_loss(logprobs, old, advantages, batch.mask, clip_range=0.2)
    scaled = ppo_policy_loss(logprobs, old, scale * advantages, batch.mask, clip_range=0.2)
    torch.testing.assert_close(scaled, scale * plain)
    plain = ppo_value_loss(*batch.x, batch.mask, clip_range=0.2)
    a, b, c = (scale * x for x in batch.x)
    scaled = ppo_value_loss(a, b, c, batch.mask, clip_range=scale * 0.2)
    torch.testing.assert_close(scaled, scale**2 * plain)


@quick
@given(batches)
def test_clipping_is_pessimistic(batch: Batch) -> None:
    """A clipped loss is never below the unclipped one, and that is the plain formula."""
    logprobs, old, advantages = batch.x
    for loss in (ppo_policy_loss, ppo_value_loss):
        clipped = loss(*batch.x, batch.mask, clip_range=0.2)
        assert clipped >= loss(*batch.x, batch.mask, clip_range=math.inf) - 1e-12
    torch.testing.assert_close(
        ppo_policy_loss(*batch.x, batch.mask, clip_range=math.inf),
        -masked_mean((logprobs - old).exp() * advantages, batch.mask),
    )


def test_beyond_the_clip_range_no_gradient_pushes_on() -> None:
    """A ratio already past 1 + e with A > 0, and one past 1 - e with A < 0, stand still."""
    logprobs = torch.tensor([[1.5, 0.5, 1.5, 0.5]]).log().requires_grad_()
    advantages = torch.tensor([[1.0, -1.0, -1.0, 1.0]])
    mask = torch.ones(1, 4, dtype=torch.bool)
    torch.autograd.backward(
        ppo_policy_loss(logprobs, torch.zeros(1, 4), advantages, mask, clip_range=0.2)
    )
    assert logprobs.grad is not None
    # the last two: d/dlogprob of -ratio * A / 4
    torch.testing.assert_close(logprobs.grad, torch.tensor([[0.0, 0.0, 1.5 / 4, -0.5 / 4]]))


@pytest.mark.parametrize("loss", [ppo_policy_loss, ppo_value_loss])
def test_gradcheck(loss: Loss) -> None:
    for seed in range(3):
        batch = random_batch(seed=seed, rows=3, length=4)
        x = torch.stack(batch.x).requires_grad_()
        assert torch.autograd.gradcheck(
            lambda x, mask=batch.mask: loss(x[0], x[1], x[2], mask, clip_range=0.2), (x,)
        )


@pytest.mark.parametrize("loss", [ppo_policy_loss, ppo_value_loss])
def test_nothing_counts_gives_zero(loss: Loss) -> None:
    x = torch.randn(1, 3)
    assert loss(x, x, x, torch.zeros(1, 3, dtype=torch.bool), clip_range=0.2).item() == 0.0


@pytest.mark.usefixtures("no_hook")
@pytest.mark.parametrize("loss", [ppo_policy_loss, ppo_value_loss])
def test_errors(loss: Loss) -> None:
    x, mask = torch.zeros(2, 3), torch.ones(2, 3, dtype=torch.bool)
    with pytest.raises(ValueError, match=r"\(2, 1\).*\(2, 3\)"):
        loss(x, x, x[:, :1], mask, clip_range=0.2)
    with pytest.raises(ValueError, match=r"mask has shape \(1, 3\).*\(2, 3\)"):
        loss(x, x, x, mask[:1], clip_range=0.2)
    with pytest.raises(ValueError, match="clip_range must not be negative"):
        loss(x, x, x, mask, clip_range=-0.2)


@pytest.mark.usefixtures("no_hook")
def test_ratio_statistics_errors() -> None:
    x, mask = torch.zeros(2, 3), torch.ones(2, 3, dtype=torch.bool)
    with pytest.raises(ValueError, match=r"old_logprobs has shape \(2, 1\).*\(2, 3\)"):
        ratio_statistics(x, x[:, :1], mask, clip_range=0.2)
    with pytest.raises(ValueError, match="clip_range must not be negative"):
        ratio_statistics(x, x, mask, clip_range=-0.2)
