"""ABC: a sequence model's score, shared out by where the model looked (arXiv:2402.00782)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

from bench.models.attending import last_token_attention
from bench.rl import attention_shares, sequence_rewards
from bench.stages.sources.making import our_reward_model
from bench.stages.sources.scores import OfRewardModel

if TYPE_CHECKING:
    from bench.plugins.protocols import RowSum, SourceInputs
    from bench.training.experience import Rollout


@dataclass(frozen=True)
class AttentionShares(OfRewardModel):
    """Pays R by the attention that the last token pays to each response token.

    Equation, a_t the attention of the last layer, a mean over its heads, within the response::

        r_t = b a_t R + (1 - b) [t = T] R,        sum_t a_t = 1

    Attributes:
        model: a sequence model.
        share: b, in [0, 1]; the rest is paid at the last token.
    """

    share: float = 0.5
    name: str = "attention shares"
    row_sum: RowSum = "score"

    def paid(self, rollout: Rollout) -> Tensor:
        """(B, T)."""
        batch, scores = rollout.batch, self.scores(rollout)
        attention = last_token_attention(self.model.backbone, batch, self.model.adapter)
        shares = attention_shares(attention, batch.mask)
        at_the_end = sequence_rewards(scores, batch.mask)
        return self.share * shares * scores.unsqueeze(1) + (1 - self.share) * at_the_end


def make_attention_shares(inputs: SourceInputs) -> AttentionShares:
    """The source "attention" of the registry."""
    return AttentionShares(our_reward_model(inputs, "attention", "sequence"), **inputs.options)
