"""RED: what each token adds to a sequence model's score (arXiv:2411.08302)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

from bench.rl.masking import last_counted, zero_masked
from bench.stages.sources.making import our_reward_model
from bench.stages.sources.scores import OfRewardModel

if TYPE_CHECKING:
    from bench.plugins.protocols import RowSum, SourceInputs
    from bench.training.experience import Rollout


@dataclass(frozen=True)
class PrefixDifferences(OfRewardModel):
    """Pays what a token changes in R, the score of the response so far.

    Equation, R_t the model's output after t response tokens and R_0 after the prompt::

        r_t = c (R_t - R_{t-1}) + (1 - c) [t = T] R_T

    With c = 1 a row sums to R_T - R_0, the same for all responses to a prompt but for R_T: gains
    and losses are placed where they came about, and no response is worth more than another than it
    was before.

    Attributes:
        model: a sequence model. It was trained to be read at the last token only, and is read here
            at all of them.
        share: c, in [0, 1]; the rest is paid at the last token.
    """

    share: float = 1.0
    name: str = "prefix differences"
    row_sum: RowSum = "score up to a constant"

    def paid(self, rollout: Rollout) -> Tensor:
        """(B, T)."""
        batch = rollout.batch
        scores = self.model.prefix_scores(batch)
        before, after = scores[:, :-1], scores[:, 1:]
        differences = zero_masked(after - before, batch.mask)
        at_the_end = zero_masked(after, last_counted(batch.mask))  # R_T
        return self.share * differences + (1 - self.share) * at_the_end


def make_prefix_differences(inputs: SourceInputs) -> PrefixDifferences:
    """The source "prefix_differences" of the registry."""
    model = our_reward_model(inputs, "prefix_differences", "sequence")
    return PrefixDifferences(model, **inputs.options)
