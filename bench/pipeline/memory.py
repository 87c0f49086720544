"""How much memory a part of a process needs at most."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Literal

import torch

_RESET = Path("/proc/self/clear_refs")  # "5" resets the peak (man 5 proc_pid_clear_refs)
_STATUS = Path("/proc/self/status")


class PeakMemory:
    """The most memory held since this was made: of a GPU what torch allocated, else all RAM.

    Args:
        device: where the model is.

    Attributes:
        since: "stage", or "process" where the system cannot begin anew.
    """

    def __init__(self, device: torch.device) -> None:
        self._gpu = device if device.type == "cuda" else None
        self.since: Literal["stage", "process"] = "stage"
        if self._gpu is not None:
            torch.cuda.init()
            torch.cuda.reset_peak_memory_stats(self._gpu)
            return
        try:
            _RESET.write_text("5")
            _resident_peak_gib()
        except (OSError, LookupError):
            self.since = "process"

    def gib(self) -> float:
        """The peak so far."""
        if self._gpu is not None:
            return float(torch.cuda.max_memory_allocated(self._gpu)) / 2**30
        if self.since == "stage":
            return _resident_peak_gib()
        import resource  # not on every system

        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30


def _resident_peak_gib() -> float:
    for line in _STATUS.read_text().splitlines():
        name, _, value = line.partition(":")
        if name == "VmHWM":
            return int(value.split()[0]) / 2**20  # kB
    raise LookupError("VmHWM")
