"""What an interrupted stage goes on from: one file in its folder, whole or not there.

Of an attempt that did not end the store keeps the folder `checkpoint` alone. When a checkpoint is
written decides no number: a stage that goes on from one ends as if it had never stopped.
"""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from bench.models import processes

# The folder is named here again: with an import of the store, its code would be in every key.
FOLDER, FILE = "checkpoint", "state.pt"  # the folder's name is the store's (`bench.pipeline.store`)
EVERY_S = 60.0  # between two checkpoints at least,
SHARE = 0.05  # and so long that writing them takes at most this share of the time


class Checkpoints:
    """The checkpoints of one stage.

    Args:
        out: the folder that the stage writes into.
        say: receives a line for people.
    """

    def __init__(self, out: Path, say: Callable[[str], None]) -> None:
        self._path, self._fresh = out / FOLDER / FILE, out / f"{FOLDER}.tmp"
        self._say = say
        self._written, self._pause = time.monotonic(), EVERY_S

    def due(self) -> bool:
        """Whether enough time has passed for another one; of several processes the first writes."""
        return processes.is_first() and time.monotonic() - self._written >= self._pause

    def write(self, state: dict[str, Any]) -> None:
        """Write what the next attempt needs to go on here; the one before is there until then.

        Args:
            state: tensors, numbers, texts, lists and dictionaries.
        """
        if not processes.is_first():
            return
        began = time.monotonic()
        try:
            # Not in the folder, of which the store would keep what a kill leaves half written.
            torch.save(state, self._fresh)
            self._path.parent.mkdir(exist_ok=True)
            self._fresh.replace(self._path)
        finally:
            self._fresh.unlink(missing_ok=True)
        self._written = time.monotonic()
        self._pause = max(EVERY_S, (self._written - began) / SHARE)

    def read(self) -> dict[str, Any] | None:
        """What an interrupted attempt wrote, its tensors on the CPU; None: begin anew."""
        return processes.from_first(self._read)

    def _read(self) -> dict[str, Any] | None:
        if not self._path.exists():
            return None
        try:
            state: dict[str, Any] = torch.load(self._path, map_location="cpu", weights_only=True)
        except (OSError, RuntimeError, EOFError, pickle.UnpicklingError):
            self._say(f"the checkpoint {self._path} cannot be read: the stage begins anew")
            return None
        return state
