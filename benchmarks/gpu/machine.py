"""The device's own limits, its clock and its memory; a CPU answers the same questions."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch

GIB = 2**30


def synchronise(device: torch.device) -> None:
    """Wait until the device has done what it was asked: a GPU's work is asynchronous."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@dataclass(frozen=True)
class Taken:
    """What a piece of work took.

    Attributes:
        seconds: on the wall.
        peak: most bytes of tensors on the GPU meanwhile; None on a CPU, which keeps no such count.
    """

    seconds: float
    peak: int | None


def watch(device: torch.device, work: Callable[[], Any]) -> tuple[Any, Taken]:
    """Do `work` once; its result, and what it took."""
    synchronise(device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    started = time.perf_counter()
    result = work()
    synchronise(device)
    seconds = time.perf_counter() - started
    peak = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None
    return result, Taken(seconds, peak)


def median_seconds(device: torch.device, work: Callable[[], Any], repeats: int = 10) -> float:
    """Median seconds of `work`, warmed up; for work that is much longer than a launch."""
    for _ in range(3):
        work()
    return median(watch(device, work)[1].seconds for _ in range(repeats))


def copy_bandwidth(device: torch.device, size: int) -> float:
    """Bytes a second, read and written both, of a copy of `size` bytes within the device."""
    source = torch.randint(0, 255, (size,), dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2 * size / median_seconds(device, lambda: target.copy_(source))


def matrix_flops(device: torch.device, dtype: torch.dtype, n: int) -> float:
    """FLOPs a second of an n x n by n x n matrix product of random numbers."""
    a, b = (torch.randn(n, n, device=device, dtype=dtype) for _ in range(2))
    out = torch.empty_like(a)
    return 2 * n**3 / median_seconds(device, lambda: torch.mm(a, b, out=out))


def release(device: torch.device) -> None:
    """Give back what nobody holds any more, so that the next peak is the next question's own."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
