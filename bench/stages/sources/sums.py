"""Several sources at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from bench.models.heads import RewardModel
    from bench.plugins.protocols import RowSum, SourceInputs, TokenSource
    from bench.training.experience import Rollout


@dataclass(frozen=True)
class SumOfSources:
    """Pays the weighted sum of what its parts pay.

    Attributes:
        parts: the sources.
        weights: one for each.
    """

    parts: Sequence[TokenSource]
    weights: Sequence[float]

    def __post_init__(self) -> None:
        if len(self.parts) != len(self.weights) or not self.parts:
            raise ValueError(f"{len(self.parts)} sources and {len(self.weights)} weights")

    @property
    def name(self) -> str:
        """For messages."""
        return " + ".join(part.name for part in self.parts)

    @property
    def row_sum(self) -> RowSum:
        """The weakest of what its parts say."""
        said: set[RowSum] = {part.row_sum for part in self.parts}
        if "nothing in particular" in said:
            return "nothing in particular"
        return "score up to a constant" if "score up to a constant" in said else "score"

    @property
    def model(self) -> RewardModel | None:
        """The reward model behind its parts, the first if there are several; a value starts there.

        None: there is none.
        """
        models = (getattr(part, "model", None) for part in self.parts)
        return next((model for model in models if model is not None), None)

    def paid(self, rollout: Rollout) -> Tensor:
        """(B, T)."""
        paid = [w * part.paid(rollout) for w, part in zip(self.weights, self.parts, strict=True)]
        return torch.stack(paid).sum(dim=0)

    def scores(self, rollout: Rollout) -> Tensor:
        """(B,)."""
        found = [w * part.scores(rollout) for w, part in zip(self.weights, self.parts, strict=True)]
        return torch.stack(found).sum(dim=0)


def make_sum(inputs: SourceInputs) -> SumOfSources:
    """The source "sum" of the registry; the option `weights` is 1 for each part where left out."""
    weights = inputs.options.get("weights", [1.0] * len(inputs.parts))
    return SumOfSources(inputs.parts, weights)
