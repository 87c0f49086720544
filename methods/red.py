"""RED: a sequence model's score, paid where it arises (arXiv:2411.08302; v1 was named R3HF).

The reward model of `ppo_rlhf`, untouched: read after every token, R_t = r(x, y_<=t), it says what
each token changed. Rewards in PPO, with b the KL coefficient, whose term the trainer takes off:

    c (R_t - R_{t-1}) + (1 - c) [t = T] R_T - b KL_t

With c = 1 a row sums to R_T - R_0, the score less what the prompt alone would get. Against
`ppo_rlhf` the model, the data and the sum (up to that constant) are the same; only the place
differs. With gamma = lambda = 1 and a perfect value that would not change what is learned.

Checked against the abstract and the paper's equations as known in 2026; there is no public code,
and the mixture c is from memory.

Differences from the paper: none known.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from bench.config.section import Section

if TYPE_CHECKING:
    from torch import Tensor

    from bench.pipeline.stage import Stage
    from bench.stages.planning import Stages


class RED:
    """Sequence reward model on original pairs, then PPO on its differences."""

    name = "red"

    class Options(Section):
        """How much of the score is placed."""

        share: float = Field(
            1.0, ge=0, le=1, description="c: of the score, paid as differences; the rest at the end"
        )

    def __init__(self, options: RED.Options) -> None:
        self.options = options

    def plan(self, stages: Stages) -> Stage:
        """Preferences -> sequence reward model -> PPO on its differences."""
        reward_model = stages.reward_model(stages.preferences(), granularity="sequence")
        share = self.options.share
        return stages.ppo(self, stages.source("prefix_differences", reward_model, share=share))

    def rewards(self, paid: Tensor, mask: Tensor) -> Tensor:
        """[R_1 - R_0, ..., R_T - R_{T-1}] (B, T), as it is paid."""
        from bench.rl import token_rewards

        return token_rewards(paid, mask)
