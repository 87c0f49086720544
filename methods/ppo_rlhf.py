"""PPO-RLHF: one reward for the whole response, learned from preferences.

Reward model on (y_w, y_l), arXiv:2203.02155, Eq. 1 and arXiv:2406.02756, Section 2:

    L = -E[log sigma(R_w - R_l)],    R = r(x, y) at the last token

Rewards in PPO, with b the KL coefficient, whose term the trainer takes off:

    [-b KL_1, ..., -b KL_{T-1}, R - b KL_T]

Differences from the paper: R is normalised to mean 0 and std 1 over SFT samples, as it is for
every method here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.config.section import Section

if TYPE_CHECKING:
    from torch import Tensor

    from bench.pipeline.stage import Stage
    from bench.stages.planning import Stages


class PPORLHF:
    """Sequence reward model on original pairs, then PPO."""

    name = "ppo_rlhf"

    class Options(Section):
        """None."""

    def __init__(self, options: PPORLHF.Options) -> None:
        self.options = options

    def plan(self, stages: Stages) -> Stage:
        """Preferences -> sequence reward model -> PPO."""
        reward_model = stages.reward_model(stages.preferences(), granularity="sequence")
        return stages.ppo(self, reward_model)

    def rewards(self, paid: Tensor, mask: Tensor) -> Tensor:
        """[0, ..., 0, R] (B, T), as it is paid."""
        from bench.rl import token_rewards

        return token_rewards(paid, mask)
