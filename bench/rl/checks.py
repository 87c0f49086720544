"""Entry checks shared by `bench.rl`: cheap (no device synchronisation), and always active."""

import torch
from torch import Tensor

_FLOATS = (torch.float32, torch.float64)


def check_same_shape(**tensors: Tensor) -> None:
    """Require that all tensors have the shape of the first one.

    Raises:
        ValueError: naming the tensor that differs, with both shapes.
    """
    (first_name, first), *others = tensors.items()
    for name, tensor in others:
        if tensor.shape != first.shape:
            raise ValueError(
                f"{name} has shape {tuple(tensor.shape)}, "
                f"but {first_name} has shape {tuple(first.shape)}"
            )


def check_rank(ndim: int, **tensors: Tensor) -> None:
    """Require that each tensor has `ndim` dimensions.

    Raises:
        ValueError: naming the tensor, with its shape.
    """
    for name, tensor in tensors.items():
        if tensor.ndim != ndim:
            raise ValueError(f"{name} must have {ndim} dimensions, has shape {tuple(tensor.shape)}")


def check_batch(**tensors: Tensor) -> None:
    """Require that all tensors agree in their first dimension, B.

    Raises:
        ValueError: naming the tensor that differs, with both shapes.
    """
    (first_name, first), *others = tensors.items()
    for name, tensor in others:
        if tensor.shape[0] != first.shape[0]:
            raise ValueError(
                f"{name} has shape {tuple(tensor.shape)}, but {first_name} has shape "
                f"{tuple(first.shape)}: the batch sizes differ"
            )


def check_float(**tensors: Tensor) -> None:
    """Require float32 or float64.

    Raises:
        TypeError: naming the tensor and its dtype.
    """
    for name, tensor in tensors.items():
        if tensor.dtype not in _FLOATS:
            raise TypeError(
                f"{name} is {tensor.dtype}, needs float32 or float64: call .float() on it"
            )


def check_mask(**masks: Tensor) -> None:
    """Require bool masks (an attention mask from a tokenizer is int64).

    Raises:
        TypeError: naming the mask and its dtype.
    """
    for name, mask in masks.items():
        if mask.dtype != torch.bool:
            raise TypeError(f"{name} is {mask.dtype}, needs torch.bool: call .bool() on it")


def check_token_tensors(mask: Tensor, **tensors: Tensor) -> None:
    """Require float tensors (B, T) and a bool mask, all of one shape.

    Raises:
        ValueError: if a shape differs or is not two-dimensional.
        TypeError: if a dtype is wrong.
    """
    check_same_shape(**tensors, mask=mask)
    check_rank(2, **tensors)
    check_float(**tensors)
    check_mask(mask=mask)


def check_rows(mask: Tensor, **rows: Tensor) -> None:
    """Require bool tensors (B,), one element for each row of the mask (B, T).

    Raises:
        ValueError: if a shape is not (B,).
        TypeError: if a dtype is not bool.
    """
    check_rank(1, **rows)
    check_mask(**rows)
    for name, row in rows.items():
        check_batch(mask=mask, **{name: row})


def check_unit_interval(**numbers: float) -> None:
    """Require 0 <= number <= 1.

    Raises:
        ValueError: naming the number.
    """
    for name, number in numbers.items():
        if not 0.0 <= number <= 1.0:
            raise ValueError(f"{name} must lie in [0, 1], is {number}")


def check_not_negative(**numbers: float) -> None:
    """Require number >= 0 (which NaN is not).

    Raises:
        ValueError: naming the number.
    """
    for name, number in numbers.items():
        if not number >= 0.0:
            raise ValueError(f"{name} must not be negative, is {number}")


def check_label_smoothing(label_smoothing: float) -> None:
    """Require 0 <= label_smoothing < 0.5: from there on the loss prefers the rejected response.

    Raises:
        ValueError: with the number.
    """
    if not 0.0 <= label_smoothing < 0.5:
        raise ValueError(f"label_smoothing must lie in [0, 0.5), is {label_smoothing}")
