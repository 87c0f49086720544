"""Where a model runs and in which precision."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from bench.errors import UserError

if TYPE_CHECKING:
    from bench.config.run import ModelConfig


def pick_device(name: str) -> torch.device:
    """`auto` is the first GPU where there is one, else the CPU.

    Raises:
        UserError: if the device is unknown or not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"model.device: {name} is not usable here: {error}") from error
    return device


def pick_dtype(name: str, device: torch.device) -> torch.dtype:
    """`auto` is bfloat16 on a GPU, float32 on a CPU (where bfloat16 is slower)."""
    if name == "auto":
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    return torch.float32 if name == "float32" else torch.bfloat16


def dtype_name(config: ModelConfig) -> str:
    """The precision that `config` comes to on this machine, as "float32"."""
    return str(pick_dtype(config.dtype, pick_device(config.device))).removeprefix("torch.")
