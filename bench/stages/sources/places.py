"""DenseReward: segment rewards, normalised by the segment's place (arXiv:2501.02790)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

from bench.models.heads import map_rows
from bench.rl import segment_places, segment_rewards
from bench.stages.sources.making import our_reward_model
from bench.stages.sources.scores import OfRewardModel

if TYPE_CHECKING:
    from bench.plugins.protocols import RowSum, SourceInputs
    from bench.training.experience import Rollout


@dataclass(frozen=True)
class PlacedSegments(OfRewardModel):
    """Pays each token of segment k its share of the segment's reward.

    Equation, p_k = k / K the segment's place::

        r_t = (r_k - mu(p_k)) / (sd(p_k) len_k)

    It is not divided by K: a row's sum grows with the number of segments.

    Attributes:
        model: a segment model; its `places` are mu and sd.
    """

    name: str = "segments by place"
    row_sum: RowSum = "nothing in particular"

    def paid(self, rollout: Rollout) -> Tensor:
        """(B, T)."""
        batch, ends = rollout.batch, self.model.segment_ends(rollout.batch)
        places, count = segment_places(ends, batch.mask)
        outputs = map_rows(self.model.outputs, batch)
        return (
            segment_rewards(self.model.places.normalised(outputs, places), ends, batch.mask) * count
        )


def make_placed_segments(inputs: SourceInputs) -> PlacedSegments:
    """The source "placed_segments" of the registry."""
    return PlacedSegments(our_reward_model(inputs, "placed_segments", "segment"))
