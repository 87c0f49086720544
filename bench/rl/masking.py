"""Sums and means over counted positions."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from bench.rl.checks import check_float, check_mask, check_same_shape


def zero_masked(
    x: Float[Tensor, "*shape"], mask: Bool[Tensor, "*shape"]
) -> Float[Tensor, "*shape"]:
    """Replace what does not count by 0, so that not even NaN or infinity there spreads.

    A product with the mask would not do: ``nan * 0`` is ``nan``, in the gradient as well.

    Args:
        x: any shape.
        mask: the shape of `x`, True = counts.

    Returns:
        The shape of `x`.
    """
    return torch.where(mask, x, 0.0)


def last_counted(mask: Bool[Tensor, "B T"]) -> Bool[Tensor, "B T"]:
    """Mark each row's last counted position.

    Args:
        mask: (B, T) True = counts.

    Returns:
        (B, T) with one True a row.

    Raises:
        ValueError: naming the first rows in which nothing counts.
    """
    empty = (~mask.any(dim=1)).nonzero().flatten().tolist()
    if empty:
        raise ValueError(
            f"mask counts nothing in row(s) {empty[:10]} of {mask.shape[0]}: "
            "a response's score needs a token to stand on"
        )
    positions = torch.arange(mask.shape[1], device=mask.device)
    last = torch.where(mask, positions, -1).amax(dim=1, keepdim=True)
    return positions == last


def masked_sum(
    x: Float[Tensor, "*shape"], mask: Bool[Tensor, "*shape"], dim: int | None = None
) -> Float[Tensor, "..."]:
    """Sum of the counted elements: ``sum_i mask_i x_i``.

    Args:
        x: any shape, in any unit.
        mask: the shape of `x`, True = counts.
        dim: the dimension to sum over; None sums over all of them.

    Returns:
        A scalar, or the shape of `x` without `dim`; 0 where nothing counts.

    Raises:
        ValueError: if the shapes differ.
        TypeError: if `x` is not float32 or float64, or `mask` not bool.
    """
    check_same_shape(x=x, mask=mask)
    check_float(x=x)
    check_mask(mask=mask)
    return zero_masked(x, mask).sum(dim)


def masked_mean(
    x: Float[Tensor, "*shape"], mask: Bool[Tensor, "*shape"], dim: int | None = None
) -> Float[Tensor, "..."]:
    """Mean of the counted elements: ``sum_i mask_i x_i / sum_i mask_i``.

    Without `dim` each counted *token* weighs the same, so long responses weigh more than short
    ones; ``masked_mean(x, mask, dim=1).mean()`` weighs each *response* the same.

    Args:
        x: any shape, in any unit.
        mask: the shape of `x`, True = counts.
        dim: the dimension to average over; None averages over all of them.

    Returns:
        A scalar, or the shape of `x` without `dim`; 0 (with gradient 0) where nothing counts.

    Raises:
        ValueError: if the shapes differ.
        TypeError: if `x` is not float32 or float64, or `mask` not bool.
    """
    return masked_sum(x, mask, dim) / mask.sum(dim).clamp(min=1)
