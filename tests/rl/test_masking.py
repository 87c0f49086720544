"""Masked sums and means."""

import pytest
import torch

from bench.rl.masking import masked_mean, masked_sum

X = torch.tensor([[1.0, 2.0, 3.0], [10.0, 99.0, 99.0]])
MASK = torch.tensor([[True, True, True], [True, False, False]])


def test_golden() -> None:
    """Counted: 1, 2, 3 and 10.

    Sum 1 + 2 + 3 + 10 = 16, mean 16 / 4 = 4; by row: sums 6 and 10, means 6/3 = 2 and 10/1 = 10.
    The mean over responses is (2 + 10) / 2 = 6, not 4.
    """
    assert masked_sum(X, MASK).item() == 16.0
    assert masked_mean(X, MASK).item() == 4.0
    assert masked_sum(X, MASK, dim=1).tolist() == [6.0, 10.0]
    assert masked_mean(X, MASK, dim=1).tolist() == [2.0, 10.0]


def test_nothing_counts_gives_zero_and_no_gradient() -> None:
    x = X.clone().requires_grad_()
    nothing = torch.zeros_like(MASK)
    mean = masked_mean(x, nothing)
    torch.autograd.backward(mean)
    assert mean.item() == 0.0
    assert masked_sum(X, nothing).item() == 0.0
    assert x.grad is not None
    assert (x.grad == 0).all()
    assert masked_mean(X, MASK & torch.tensor([[True], [False]]), dim=1).tolist() == [2.0, 0.0]


@pytest.mark.usefixtures("no_hook")
def test_errors() -> None:
    with pytest.raises(ValueError, match=r"\(1, 3\).*\(2, 3\)"):
        masked_mean(X, MASK[:1])
    with pytest.raises(TypeError, match=r"mask is torch.int64.*\.bool\(\)"):
        masked_sum(X, MASK.long())
    with pytest.raises(TypeError, match=r"x is torch.bfloat16.*\.float\(\)"):
        masked_sum(X.bfloat16(), MASK)
