"""Fine-grained RLHF: a segment model's classes, each paid at its segment's last token."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

from bench.models.heads import map_rows
from bench.rl import masked_sum, segment_label_rewards
from bench.stages.sources.making import our_reward_model
from bench.stages.sources.scores import OfRewardModel

if TYPE_CHECKING:
    from bench.plugins.protocols import RowSum, SourceInputs
    from bench.training.experience import Rollout


@dataclass(frozen=True)
class SegmentClasses(OfRewardModel):
    """Pays +v or -v at the end of each segment (arXiv:2306.01693).

    A row without error sums to K v, K its segments: what is longer, or cut into more segments, is
    paid more.

    Attributes:
        model: a segment model whose outputs are logits, above 0 for a segment without error; they
            are not normalised.
        value: v, reward units.
    """

    value: float
    name: str = "segment classes"
    row_sum: RowSum = "nothing in particular"

    def paid(self, rollout: Rollout) -> Tensor:
        """(B, T); see `segment_label_rewards`."""
        batch = rollout.batch
        logits, ends = map_rows(self.model.outputs, batch), self.model.segment_ends(batch)
        return segment_label_rewards(logits, ends, batch.mask, value=self.value)

    def scores(self, rollout: Rollout) -> Tensor:
        """(B,) the sum of what is paid, which is all that this source knows of a response."""
        return masked_sum(self.paid(rollout), rollout.batch.mask, dim=1)


def make_segment_classes(inputs: SourceInputs) -> SegmentClasses:
    """The source "segment_classes" of the registry."""
    return SegmentClasses(our_reward_model(inputs, "segment_classes", "segment"), **inputs.options)
