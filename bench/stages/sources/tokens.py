"""A token model's outputs as they are: as values of actions (Q-RM), as classes (TLCR)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

from bench.models.heads import map_rows
from bench.rl import token_label_rewards
from bench.stages.sources.making import our_reward_model
from bench.stages.sources.scores import OfRewardModel

if TYPE_CHECKING:
    from bench.plugins.protocols import RowSum, SourceInputs
    from bench.training.experience import Rollout


@dataclass(frozen=True)
class TokenOutputs(OfRewardModel):
    """Pays each token its normalised output, not divided by the length: a row sums to T R.

    Attributes:
        model: a token model.
    """

    name: str = "token outputs"
    row_sum: RowSum = "nothing in particular"

    def paid(self, rollout: Rollout) -> Tensor:
        """(B, T) (r_t - mean) / std."""
        return self.model.token_scores(rollout.batch)


@dataclass(frozen=True)
class TokenClasses(OfRewardModel):
    """Pays each token 2 p - 1, p the probability that it is of the better class.

    A neutral token is paid about 0, so that a longer response is not paid more for its length.

    Attributes:
        model: a token model whose outputs are the classes' logits; they are not normalised.
        softmaxes: as in the model's loss.
    """

    softmaxes: int = 1
    name: str = "token classes"
    row_sum: RowSum = "nothing in particular"

    def paid(self, rollout: Rollout) -> Tensor:
        """(B, T); see `token_label_rewards`."""
        logits = map_rows(self.model.outputs, rollout.batch)
        return token_label_rewards(logits, rollout.batch.mask, softmaxes=self.softmaxes)


def make_token_outputs(inputs: SourceInputs) -> TokenOutputs:
    """The source "token_outputs" of the registry."""
    return TokenOutputs(our_reward_model(inputs, "token_outputs", "token"))


def make_token_classes(inputs: SourceInputs) -> TokenClasses:
    """The source "token_classes" of the registry."""
    return TokenClasses(our_reward_model(inputs, "token_classes", "token"), **inputs.options)
