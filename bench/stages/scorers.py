"""What scores responses where a method only chooses among them: a reward model, or the truth.

Methods that choose have these options, and `best_of` in their plans.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from bench.config.section import Section
from bench.plugins.capabilities import Gold, require

if TYPE_CHECKING:
    from bench.pipeline.stage import Stage
    from bench.stages.planned_best import BestOf
    from bench.stages.planned_source import PlannedSource
    from bench.stages.planning import Stages

By = Literal["pairs", "edits", "token", "gold"]


class BestOfOptions(Section):
    """How many are drawn, and what scores them."""

    n: int = Field(16, ge=1, description="responses drawn, of which the best one is kept")
    by: By = Field(
        "pairs",
        description="what scores: the reward model of ppo_rlhf (pairs), of fine_grained_ppo "
        "(edits), of token_ppo (token: R, the mean over tokens), or the suite's gold score (gold)",
    )


def best_of(stages: Stages, options: BestOfOptions) -> BestOf:
    """What scores -> the best of n; errors as of `scorer`."""
    return stages.best_of(options.n, scorer(stages, options.by))


def scorer(stages: Stages, by: By) -> Stage | PlannedSource:
    """The token source whose scores choose; a reward model stands for its own.

    Raises:
        UserError: the suite has no gold score, nobody prefers, or nobody edits.
    """
    if by == "gold":
        require(stages.suite, "reward.by=gold", Gold, mend="choose another reward.by, or suite")
        return stages.source("gold")
    given = stages.preferences() if by == "pairs" else stages.edits()
    return stages.reward_model(given, granularity="token" if by == "token" else "sequence")
