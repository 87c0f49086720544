"""From a token source to what a trainer asks of a rollout: the method's rewards, checked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from bench.errors import Diverged, UserError

if TYPE_CHECKING:
    from bench.plugins.protocols import Method, TokenSource
    from bench.training.experience import Pay, Rollout

_FLOATS = (torch.float32, torch.float64)  # what `bench.rl` computes with


def pay_by(source: TokenSource, method: Method) -> Pay:
    """What a trainer asks of a rollout: the method's rewards from what the source pays, checked."""

    def pay(rollout: Rollout) -> Tensor:
        mask = rollout.batch.mask
        paid = checked(source.paid(rollout), mask, f"the token source {source.name!r}")
        return checked(method.rewards(paid, mask), mask, f"the method {method.name!r}")

    return pay


def checked(paid: Any, mask: Tensor, who: str) -> Tensor:
    """The rewards (B, T), if a plug-in gave what its protocol asks for.

    Raises:
        UserError: they are no float32 or float64 tensor of the mask's shape on its device, or
            something is paid at padding.
        Diverged: they hold NaN or infinity.
    """
    _check_tensor(paid, mask.shape, mask.device, who, "rewards", "of the mask's shape (B, T)")
    if not paid[mask].isfinite().all():
        raise Diverged(f"{who} paid NaN or infinity: the run diverged")
    if paid.masked_fill(mask, 0.0).any():
        row, column = (paid.masked_fill(mask, 0.0) != 0).nonzero()[0].tolist()
        raise UserError(
            f"{who} pays {paid[row, column].item():g} at padding (row {row}, position {column}): "
            "rewards must be 0 where the mask is False",
            exit_code=1,
        )
    return paid


def checked_scores(scores: Any, mask: Tensor, who: str) -> Tensor:
    """The scores (B,), likewise.

    Raises:
        UserError: they are no float32 or float64 tensor (B,) on the mask's device.
        Diverged: they hold NaN or infinity.
    """
    _check_tensor(scores, mask.shape[:1], mask.device, who, "scores", "of shape (B,)")
    if not scores.isfinite().all():
        raise Diverged(f"{who} gave a score of NaN or infinity: the run diverged")
    found: Tensor = scores
    return found


def _check_tensor(
    found: Any, shape: torch.Size, device: torch.device, who: str, what: str, wanted: str
) -> None:
    is_tensor = isinstance(found, Tensor)
    if is_tensor and (found.shape, found.device) == (shape, device) and found.dtype in _FLOATS:
        return
    given = type(found).__name__
    if is_tensor:
        given = f"shape {tuple(found.shape)}, {found.dtype} on {found.device}"
    raise UserError(
        f"{who} gave {what} of {given}; they must be floats (float32 or float64) {wanted} = "
        f"{tuple(shape)} on {device}",
        exit_code=1,
    )
