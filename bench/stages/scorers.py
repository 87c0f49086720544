"""What scores responses where a method only chooses among them: a reward model, or the truth."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from bench.plugins.capabilities import Gold, require

if TYPE_CHECKING:
    from bench.pipeline.stage import Stage
    from bench.stages.planned_source import PlannedSource
    from bench.stages.planning import Stages

By = Literal["pairs", "edits", "token", "gold"]
BY = (
    "what scores: the reward model of ppo_rlhf (pairs), of fine_grained_ppo (edits), of token_ppo "
    "(token: R, the mean over tokens), or the suite's gold score (gold)"
)


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
