"""The checkpoint at matched KL: as far from the SFT model as that of every other method.

The checkpoint that validation chose differs between methods in how far it went, and farther is
often better: this one takes the distance out of the comparison.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from bench.models.names import POLICY

if TYPE_CHECKING:
    from bench.models.backbone import Backbone

MATCHED = "matched"  # its adapter's folder in a policy's artifact, and its outputs' name


class MatchedCheckpoint:
    """Keeps adapter "policy" as it is at the first row of the curve that reaches a KL.

    A run that never does keeps its last step, which is at least as near as it came. An algorithm
    that draws responses tells their KL in every row; one that draws none, at every validation.

    Args:
        backbone: with the adapter.
        kl: nats a response.
        steps: how many the run takes.
        out: the stage's folder.
        step: at which it was kept before an interruption; None: not yet.
    """

    def __init__(
        self, backbone: Backbone, kl: float, steps: int, out: Path, step: int | None
    ) -> None:
        self.backbone, self.kl, self.steps = backbone, kl, steps
        self.folder, self.step = out / MATCHED, step

    def look(self, row: Mapping[str, float]) -> None:
        """Keep the policy if this row is the one; called when the step behind it is done."""
        kl = row.get("kl", row.get("validation_kl"))
        reached = kl is not None and kl >= self.kl
        if self.step is None and (reached or row["step"] == self.steps):
            self.step = int(row["step"])
            shutil.rmtree(self.folder, ignore_errors=True)  # of an attempt that was cut off
            self.backbone.save_adapter(POLICY, self.folder)
