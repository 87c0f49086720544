"""Sources of a score for the whole response: a reward model's, a classifier's, the truth's."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Real
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from bench.errors import UserError
from bench.models.classifier import Classifier
from bench.models.heads import RewardModel
from bench.rl import sequence_rewards
from bench.stages.sources.making import one_reward_model

if TYPE_CHECKING:
    from bench.plugins.capabilities import Gold
    from bench.plugins.protocols import RowSum, SourceInputs
    from bench.training.experience import Rollout


@dataclass(frozen=True)
class OfRewardModel:
    """What the sources of a reward model that is trained here have in common.

    Attributes:
        model: the reward model; a value may start from it.
    """

    model: RewardModel

    def scores(self, rollout: Rollout) -> Tensor:
        """(B,) normalised R."""
        return self.model.scores(rollout.batch)


@dataclass(frozen=True)
class RewardModelSource(OfRewardModel):
    """Pays what a reward model's granularity says for the tokens that were drawn, and no other.

    A row sums to the model's R.
    """

    row_sum: RowSum = "score"

    @property
    def name(self) -> str:
        """For messages."""
        return f"{self.model.granularity} reward model"

    def paid(self, rollout: Rollout) -> Tensor:
        """(B, T); see `RewardModel.paid`."""
        return self.model.paid(rollout.batch)


@dataclass(frozen=True)
class ClassifierSource:
    """Pays R of a reward model that was trained elsewhere, which reads texts, on the last token."""

    model: Classifier
    name: str = "sequence classifier"
    row_sum: RowSum = "score"

    def paid(self, rollout: Rollout) -> Tensor:
        """(B, T) [0, ..., 0, R]."""
        return sequence_rewards(self.scores(rollout), rollout.batch.mask)

    def scores(self, rollout: Rollout) -> Tensor:
        """(B,) normalised R."""
        return self.model.rate(list(zip(rollout.prompts, rollout.batch.response_ids, strict=True)))


@dataclass(frozen=True)
class GoldSource:
    """Pays a suite's gold score on the last token."""

    suite: Gold
    name: str = "gold score"
    row_sum: RowSum = "score"

    def paid(self, rollout: Rollout) -> Tensor:
        """(B, T) [0, ..., 0, g]."""
        return sequence_rewards(self.scores(rollout), rollout.batch.mask)

    def scores(self, rollout: Rollout) -> Tensor:
        """(B,) g; raises UserError if the suite's score is no finite number."""
        pairs = zip(rollout.prompts, rollout.outputs, strict=True)
        scores = [gold_score(self.suite, prompt, output) for prompt, output in pairs]
        return torch.tensor(scores, dtype=torch.float32, device=rollout.batch.mask.device)


def gold_score(suite: Gold, prompt: str, output: str) -> float:
    """A suite's gold score of one response.

    Raises:
        UserError: it is no finite number.
    """
    score: Any = suite.score(prompt, output)
    if not isinstance(score, Real) or not math.isfinite(score):
        raise UserError(
            f"the suite {type(suite).__name__} gave {score!r} as the gold score of the response "
            f"{output!r}; `score` must give a finite number",
            exit_code=1,
        )
    return float(score)


def make_reward_model(inputs: SourceInputs) -> RewardModelSource | ClassifierSource:
    """The source "reward_model" of the registry: pays what the model's granularity says."""
    model = one_reward_model(inputs)
    return ClassifierSource(model) if isinstance(model, Classifier) else RewardModelSource(model)


def make_gold(inputs: SourceInputs) -> GoldSource:
    """The source "gold" of the registry."""
    return GoldSource(inputs.suite)
