"""GAE, whitening, explained variance."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.rl.advantages import explained_variance, gae, whiten

from . import reference
from .strategies import Batch, batches, random_batch

quick = settings(max_examples=30, deadline=None)
ADVANTAGES, RETURNS = [3.8696, 3.43, 1.5], [4.3696, 4.43, 3.0]


@pytest.mark.parametrize(
    "columns", [[0, 1, 2], [1, 2, 3], [2, 3, 4], [0, 2, 4]], ids=["right", "both", "left", "inside"]
)
def test_gae_golden(columns: list[int]) -> None:
    """Rewards (1, 2, 3), values (0.5, 1, 1.5), gamma 0.9, lambda 0.8: gamma lambda = 0.72.

    delta_3 = 3 + 0 - 1.5 = 1.5; delta_2 = 2 + 0.9 * 1.5 - 1 = 2.35;
    delta_1 = 1 + 0.9 * 1 - 0.5 = 1.4.
    A_3 = 1.5; A_2 = 2.35 + 0.72 * 1.5 = 3.43; A_1 = 1.4 + 0.72 * 3.43 = 3.8696.
    Returns A + V = 4.3696, 4.43, 3.0. Padding of 100 stands around or between the three.
    """
    rewards, values = torch.full((2, 1, 5), 100.0)
    rewards[0, columns], values[0, columns] = torch.tensor([[1.0, 2.0, 3.0], [0.5, 1.0, 1.5]])
    mask = torch.zeros(1, 5, dtype=torch.bool)
    mask[0, columns] = True
    advantages, returns = gae(rewards, values, mask, gamma=0.9, gae_lambda=0.8)
    torch.testing.assert_close(advantages[0, columns], torch.tensor(ADVANTAGES))
    torch.testing.assert_close(returns[0, columns], torch.tensor(RETURNS))
    assert (advantages[~mask] == 0).all()
    assert (returns[~mask] == 0).all()


@quick
@given(batches, st.floats(0, 1), st.floats(0, 1))
def test_gae_reference(batch: Batch, gamma: float, gae_lambda: float) -> None:
    rewards, values, _ = batch.x
    advantages, returns = gae(rewards, values, batch.mask, gamma=gamma, gae_lambda=gae_lambda)
    for b in range(len(rewards)):
        row = (rewards[b].tolist(), values[b].tolist(), batch.mask[b].tolist())
        slow_advantages, slow_returns = reference.gae(*row, gamma, gae_lambda)
        assert advantages[b].tolist() == pytest.approx(slow_advantages, abs=1e-10)
        assert returns[b].tolist() == pytest.approx(slow_returns, abs=1e-10)


@quick
@given(batches)
def test_gae_ends_of_lambda(batch: Batch) -> None:
    """lambda 1, gamma 1: returns are the rewards to go, whatever the values (arXiv Eq. 18)."""
    rewards, values, _ = batch.x
    _, returns = gae(rewards, values, batch.mask, gamma=1.0, gae_lambda=1.0)
    counted = rewards.masked_fill(~batch.mask, 0.0)
    to_go = counted.flip(1).cumsum(1).flip(1).masked_fill(~batch.mask, 0.0)
    torch.testing.assert_close(returns, to_go)
    advantages, _ = gae(rewards, values, batch.mask, gamma=0.0, gae_lambda=1.0)
    torch.testing.assert_close(advantages, (rewards - values).masked_fill(~batch.mask, 0.0))


@quick
@given(batches, st.floats(-5, 5))
def test_gae_is_linear(batch: Batch, scale: float) -> None:
    rewards, values, _ = batch.x
    plain = gae(rewards, values, batch.mask, gamma=0.9, gae_lambda=0.8)
    scaled = gae(scale * rewards, scale * values, batch.mask, gamma=0.9, gae_lambda=0.8)
    for left, right in zip(scaled, plain, strict=True):
        torch.testing.assert_close(left, scale * right)


def test_gae_of_an_empty_row_is_zero() -> None:
    """The row beside it is not touched."""
    rewards, values = torch.randn(2, 2, 4)
    mask = torch.tensor([[True] * 4, [False] * 4])
    both = gae(rewards, values, mask, gamma=0.9, gae_lambda=0.8)
    alone = gae(rewards[:1], values[:1], mask[:1], gamma=0.9, gae_lambda=0.8)
    for left, right in zip(both, alone, strict=True):
        assert (left[1] == 0).all()
        assert torch.equal(left[:1], right)


def test_gae_of_no_tokens_is_empty() -> None:
    x, mask = torch.zeros(2, 0), torch.zeros(2, 0, dtype=torch.bool)
    assert all(out.shape == (2, 0) for out in gae(x, x, mask, gamma=1.0, gae_lambda=1.0))


def test_whiten_golden() -> None:
    """Counted: 1, 2, 3, over two rows. Mean 2, variance (1 + 0 + 1)/3 = 2/3, 1/sqrt = 1.224745.

    Shifted: -1.224745, 0, 1.224745. Not shifted: 2 is added: 0.775255, 2, 3.224745.
    (With the sample variance, 1, the outer two would be -1 and 1.)
    """
    x = torch.tensor([[1.0, 2.0], [3.0, 50.0]])
    mask = torch.tensor([[True, True], [True, False]])
    expected = torch.tensor([[-1.224745, 0.0], [1.224745, 0.0]])
    torch.testing.assert_close(whiten(x, mask), expected, rtol=0, atol=1e-6)
    expected = torch.tensor([[0.775255, 2.0], [3.224745, 0.0]])
    torch.testing.assert_close(whiten(x, mask, shift_mean=False), expected, rtol=0, atol=1e-6)


def test_whiten_unbiased_golden() -> None:
    """Counted: 1, 2, 3. Variance (1 + 0 + 1)/(3 - 1) = 1: -1, 0, 1; with the mean kept 1, 2, 3."""
    x = torch.tensor([[1.0, 2.0], [3.0, 50.0]])
    mask = torch.tensor([[True, True], [True, False]])
    out = whiten(x, mask, unbiased=True)
    torch.testing.assert_close(out, torch.tensor([[-1.0, 0.0], [1.0, 0.0]]))
    out = whiten(x, mask, shift_mean=False, unbiased=True)
    torch.testing.assert_close(out, torch.tensor([[1.0, 2.0], [3.0, 0.0]]))


@pytest.mark.parametrize("unbiased", [True, False])
@pytest.mark.parametrize("shift_mean", [True, False])
@quick
@given(batch=batches)
def test_whiten_reference(shift_mean: bool, unbiased: bool, batch: Batch) -> None:
    x = batch.x[0]
    out = whiten(x, batch.mask, shift_mean=shift_mean, unbiased=unbiased)
    slow = reference.whiten(x[batch.mask].tolist(), shift_mean, unbiased)
    assert out[batch.mask].tolist() == pytest.approx(slow, abs=1e-9)


@quick
@given(batches, st.floats(0.1, 100), st.floats(-100, 100))
def test_whitened_has_mean_0_and_variance_1_at_any_scale(
    batch: Batch, scale: float, offset: float
) -> None:
    x = batch.x[0]
    if batch.mask.sum() < 2 or reference.variance(x[batch.mask].tolist()) < 1e-2:
        return
    out = whiten(scale * x + offset, batch.mask)[batch.mask].tolist()
    assert math.fsum(out) / len(out) == pytest.approx(0.0, abs=1e-9)
    assert reference.variance(out) == pytest.approx(1.0, abs=1e-3)
    kept = whiten(scale * x + offset, batch.mask, shift_mean=False)[batch.mask]
    torch.testing.assert_close(kept.mean(), (scale * x + offset)[batch.mask].mean())


@pytest.mark.parametrize("unbiased", [True, False])
def test_whiten_without_spread(unbiased: bool) -> None:
    """Equal elements, a single one too: 0 or their mean; nothing counted: 0; never NaN."""
    x, mask = torch.full((1, 3), 4.0), torch.tensor([[True, True, False]])
    one = torch.tensor([[False, True, False]])
    assert whiten(x, mask, unbiased=unbiased).tolist() == [[0.0, 0.0, 0.0]]
    kept = whiten(x, mask, shift_mean=False, unbiased=unbiased)
    assert kept.tolist() == [[4.0, 4.0, 0.0]]
    assert whiten(x, one, unbiased=unbiased).tolist() == [[0.0, 0.0, 0.0]]
    assert whiten(x, one, shift_mean=False, unbiased=unbiased).tolist() == [[0.0, 4.0, 0.0]]
    assert whiten(x, torch.zeros_like(mask), unbiased=unbiased).tolist() == [[0.0, 0.0, 0.0]]


def test_explained_variance_golden() -> None:
    """Returns (1, 2, 3): variance 2/3. Values (1, 2, 2): residuals (0, 0, 1), mean 1/3.

    Their variance is (1/9 + 1/9 + 4/9) / 3 = 2/9, so 1 - (2/9)/(2/3) = 1 - 1/3 = 2/3.
    Values that are the returns: 1. Values that are constant: 0. Values (3, 2, 1): residuals
    (-2, 0, 2), variance 8/3, so 1 - 4 = -3.
    """
    returns = torch.tensor([[1.0, 2.0, 3.0, 9.0]])
    mask = torch.tensor([[True, True, True, False]])
    for values, expected in [
        ([1.0, 2.0, 2.0, 0.0], 2 / 3),
        ([1.0, 2.0, 3.0, 0.0], 1.0),
        ([5.0, 5.0, 5.0, 0.0], 0.0),
        ([3.0, 2.0, 1.0, 0.0], -3.0),
    ]:
        out = explained_variance(torch.tensor([values]), returns, mask)
        assert out.item() == pytest.approx(expected, abs=1e-6)


@quick
@given(batches)
def test_explained_variance_reference(batch: Batch) -> None:
    values, returns, _ = batch.x
    out = explained_variance(values, returns, batch.mask).item()
    total = reference.variance(returns[batch.mask].tolist())
    if batch.mask.sum() < 2:
        assert math.isnan(out)
    elif total > 1e-3:
        slow = 1 - reference.variance((returns - values)[batch.mask].tolist()) / total
        assert out == pytest.approx(slow, rel=1e-9, abs=1e-9)


def test_explained_variance_of_nothing_is_nan() -> None:
    """Nothing counted; or returns that do not vary, whatever the values do."""
    x = torch.randn(1, 3)
    every = torch.ones(1, 3, dtype=torch.bool)
    assert explained_variance(x, torch.full((1, 3), 2.0), every).isnan()
    assert explained_variance(x, x, torch.zeros(1, 3, dtype=torch.bool)).isnan()


def test_gradcheck() -> None:
    batch = random_batch(seed=1, rows=2, length=5)
    x = torch.stack(batch.x[:2]).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda x: gae(x[0], x[1], batch.mask, gamma=0.9, gae_lambda=0.8), (x,)
    )
    assert torch.autograd.gradcheck(lambda x: whiten(x[0], batch.mask), (x,))
    assert torch.autograd.gradcheck(lambda x: explained_variance(x[0], x[1], batch.mask), (x,))


@pytest.mark.usefixtures("no_hook")
def test_errors() -> None:
    x, mask = torch.zeros(2, 3), torch.ones(2, 3, dtype=torch.bool)
    with pytest.raises(ValueError, match=r"values has shape \(2, 1\).*\(2, 3\)"):
        gae(x, x[:, :1], mask, gamma=1.0, gae_lambda=1.0)
    with pytest.raises(ValueError, match="gamma must lie in"):
        gae(x, x, mask, gamma=1.1, gae_lambda=1.0)
    with pytest.raises(ValueError, match="gae_lambda must lie in"):
        gae(x, x, mask, gamma=1.0, gae_lambda=-0.1)
    with pytest.raises(ValueError, match="2 dimensions"):
        whiten(x[0], mask[0])
    with pytest.raises(ValueError, match=r"\(1, 3\).*\(2, 3\)"):
        explained_variance(x, x, mask[:1])
