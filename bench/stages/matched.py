"""The checkpoint at matched KL: as far from the SFT model as that of every other method.

The checkpoint that validation chose differs between methods in how far it went, and farther is
often better: this one takes the distance out of the comparison.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from bench.models.names import POLICY
from bench.training.optimisation import set_values

if TYPE_CHECKING:
    from bench.models.backbone import Backbone

MATCHED = "matched"  # its adapter's folder in a policy's artifact, and its outputs' name


class MatchedCheckpoint:
    """Keeps adapter "policy" as it was when a KL was first reached.

    A run that never gets there keeps its last step, whose KL is told beside its verdicts.

    Args:
        backbone: with the adapter, as the next row's responses will be drawn from it.
        kl: nats a response.
        steps: how many the run takes.
        state: of an interrupted attempt.

    Attributes:
        step: behind which it was kept; None: not yet.
    """

    def __init__(
        self, backbone: Backbone, kl: float, steps: int, state: Mapping[str, Any] | None = None
    ) -> None:
        self.backbone, self.kl, self.steps = backbone, kl, steps
        self.step: int | None = None if state is None else state["step"]
        self._kept: list[Tensor] = [] if state is None else state["weights"]
        self._drawn_from = self._weights()

    def look(self, row: Mapping[str, float]) -> None:
        """Keep the policy if this row of the curve is the one; called when its step is done.

        "kl" is of the responses that the step drew, from the policy before it. An algorithm that
        draws none knows the KL at its validations alone, which are behind the step.
        """
        if self.step is not None:
            return
        now, drawn = self._weights(), row.get("kl")
        if drawn is not None and drawn >= self.kl:
            self.step, self._kept = int(row["step"]) - 1, self._drawn_from
        elif row.get("validation_kl", 0.0) >= self.kl or row["step"] == self.steps:
            self.step, self._kept = int(row["step"]), now
        self._drawn_from = now

    def state(self) -> dict[str, Any]:
        """What a later attempt goes on with."""
        return {"step": self.step, "weights": self._kept}

    def save(self, out: Path) -> None:
        """Write the adapter into the stage's folder; the policy then has its weights."""
        set_values(self.backbone.parameters(POLICY), self._kept)
        self.backbone.save_adapter(POLICY, out / MATCHED)

    def _weights(self) -> list[Tensor]:
        return [p.detach().clone() for p in self.backbone.parameters(POLICY)]
