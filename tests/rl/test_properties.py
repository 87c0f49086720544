"""Properties that every masked function has, whatever it computes."""

import inspect

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from bench import rl

from .strategies import (
    ALL,
    DIFFERENTIABLE,
    PER_TOKEN,
    ROW_FUNCTIONS,
    TOKEN_MEANS,
    Batch,
    batches,
    random_batch,
)

quick = settings(max_examples=12, deadline=None)


def with_garbage(batch: Batch, garbage: float) -> tuple[Tensor, ...]:
    """The batch's tensors with `garbage` wherever nothing counts."""
    return tuple(x.masked_fill(~batch.mask, garbage) for x in batch.x)


def assert_same(actual: tuple[Tensor, ...], expected: tuple[Tensor, ...]) -> None:
    """Compare outputs up to the order of summation."""
    for left, right in zip(actual, expected, strict=True):
        torch.testing.assert_close(left, right, rtol=1e-9, atol=1e-9, equal_nan=True)


@pytest.mark.parametrize("name", [n for n in rl.__all__ if inspect.isfunction(getattr(rl, n))])
def test_every_function_that_takes_a_mask_is_here(name: str) -> None:
    masked = any(p.endswith("mask") for p in inspect.signature(getattr(rl, name)).parameters)
    assert masked == any(entry.startswith(name) for entry in ALL)


@pytest.mark.parametrize("garbage", [1e30, -1e30, float("inf"), float("nan")])
@pytest.mark.parametrize("name", ALL)
@settings(max_examples=5, deadline=None)
@given(batch=batches)
def test_what_does_not_count_changes_no_result(name: str, garbage: float, batch: Batch) -> None:
    """Not in the last bit: masked positions are replaced before anything is computed."""
    clean = ALL[name](with_garbage(batch, 0.0), batch.mask)
    dirty = ALL[name](with_garbage(batch, garbage), batch.mask)
    for left, right in zip(clean, dirty, strict=True):
        torch.testing.assert_close(left, right, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("garbage", [1e30, float("inf"), float("nan")])
@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_what_does_not_count_reaches_no_gradient(name: str, garbage: float) -> None:
    """Gradients are finite everywhere, and 0 at positions that do not count."""
    batch = random_batch(seed=3, rows=3, length=6)
    leaves = tuple(x.requires_grad_() for x in with_garbage(batch, garbage))
    torch.autograd.backward(torch.stack([out.sum() for out in ALL[name](leaves, batch.mask)]).sum())
    for leaf in leaves:
        if leaf.grad is not None:
            assert torch.isfinite(leaf.grad).all()
            assert (leaf.grad[~batch.mask] == 0).all()


@pytest.mark.parametrize("name", PER_TOKEN)
@quick
@given(batch=batches)
def test_uncounted_positions_get_zero(name: str, batch: Batch) -> None:
    for out in PER_TOKEN[name](batch.x, batch.mask):
        assert (out[~batch.mask] == 0).all()


@pytest.mark.parametrize("name", ALL)
@quick
@given(batch=batches, data=st.data())
def test_padding_may_stand_anywhere(name: str, batch: Batch, data: st.DataObject) -> None:
    """Columns that do not count, put left, right or between, change nothing that counts."""
    length = batch.mask.shape[1]
    width = length + data.draw(st.integers(1, 4))
    columns = sorted(data.draw(st.permutations(range(width)))[:length])
    mask = torch.zeros(batch.mask.shape[0], width, dtype=torch.bool)
    mask[:, columns] = batch.mask
    spread = tuple(torch.full(mask.shape, 7.0, dtype=torch.float64) for _ in batch.x)
    for target, x in zip(spread, batch.x, strict=True):
        target[:, columns] = x
    wide = ALL[name](spread, mask)
    assert_same(
        tuple(out[:, columns] if name in PER_TOKEN else out for out in wide),
        ALL[name](batch.x, batch.mask),
    )


@pytest.mark.parametrize("name", ALL)
@quick
@given(batch=batches, data=st.data())
def test_order_of_the_batch_is_immaterial(name: str, batch: Batch, data: st.DataObject) -> None:
    order = data.draw(st.permutations(range(batch.mask.shape[0])))
    shuffled = ALL[name](tuple(x[order] for x in batch.x), batch.mask[order])
    plain = ALL[name](batch.x, batch.mask)
    assert_same(shuffled, tuple(out[order] if out.dim() else out for out in plain))


@pytest.mark.parametrize("name", ROW_FUNCTIONS)
@quick
@given(batch=batches)
def test_rows_do_not_see_each_other(name: str, batch: Batch) -> None:
    """A batch of 4 gives what four batches of 1 give."""
    whole = ROW_FUNCTIONS[name](batch.x, batch.mask)
    for row in range(batch.mask.shape[0]):
        one = slice(row, row + 1)
        alone = ROW_FUNCTIONS[name](tuple(x[one] for x in batch.x), batch.mask[one])
        assert_same(alone, tuple(out[one] for out in whole))


@pytest.mark.parametrize("name", TOKEN_MEANS)
@quick
@given(batch=batches)
def test_token_means_add_up_over_micro_batches(name: str, batch: Batch) -> None:
    """Micro-batches weighted by their counted tokens give the loss of the whole batch."""
    counts = batch.mask.sum(1).double()
    parts = [
        TOKEN_MEANS[name](tuple(x[r : r + 1] for x in batch.x), batch.mask[r : r + 1])[0]
        for r in range(len(counts))
    ]
    total = (torch.stack(parts) * counts).sum() / counts.sum()
    assert_same((total,), TOKEN_MEANS[name](batch.x, batch.mask))


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_inputs_stay_as_they_are_and_dtype_is_kept(name: str, dtype: torch.dtype) -> None:
    batch = random_batch(seed=5, rows=3, length=6)
    x = tuple(tensor.to(dtype) for tensor in batch.x)
    before, mask_before = tuple(tensor.clone() for tensor in x), batch.mask.clone()
    outputs = ALL[name](x, batch.mask)
    assert all(out.dtype == dtype for out in outputs)
    assert all(torch.equal(left, right) for left, right in zip(x, before, strict=True))
    assert torch.equal(batch.mask, mask_before)
