"""Where a model runs and in which precision.

A plan needs the names alone: `device_type` and `dtype_name` import torch only where there may be a
GPU to ask it about.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from bench.errors import UserError

if TYPE_CHECKING:
    import torch

    from bench.config.run import ModelConfig

# What Linux has in /dev where a GPU is that torch could use: NVIDIA's, those of its boards (Tegra),
# AMD's, and either of them below Windows.
_GPUS = ("nvidia*", "nvhost*", "nvgpu*", "nvmap", "kfd", "dxg")


def pick_device(name: str) -> torch.device:
    """`auto` is the first GPU where there is one, else the CPU.

    Raises:
        UserError: if the device is unknown or not there.
    """
    import torch

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"model.device: {name} is not usable here: {error}") from error
    return device


def device_type(name: str) -> str:
    """The type of `pick_device(name)`, as "cpu".

    Raises:
        UserError: if the device is unknown or not there.
    """
    if name == "cpu" or (name == "auto" and not _may_have_gpu()):
        return "cpu"
    return pick_device(name).type


def _may_have_gpu(devices: Path = Path("/dev")) -> bool:
    """False only where torch finds no GPU."""
    if sys.platform == "darwin":
        return False
    return sys.platform != "linux" or any(any(devices.glob(name)) for name in _GPUS)


def pick_dtype(name: str, device: torch.device) -> torch.dtype:
    """`auto` is bfloat16 on a GPU, float32 on a CPU (where bfloat16 is slower)."""
    import torch

    dtype: torch.dtype = getattr(torch, _dtype_name(name, device.type))
    return dtype


def dtype_name(config: ModelConfig) -> str:
    """The precision that `config` comes to on this machine, as "float32"."""
    return _dtype_name(config.dtype, device_type(config.device))


def _dtype_name(name: str, device: str) -> str:
    if name == "auto":
        return "bfloat16" if device == "cuda" else "float32"
    return name
