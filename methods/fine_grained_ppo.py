"""Fine-grained PPO: the reward model learns from minimal edits instead of preferences.

An editor changes the less preferred response y_l only where it must (arXiv:2406.02756,
Section 2.1), and (edit(y_l), y_l) replaces (y_w, y_l), pair for pair:

    L = -E[log sigma(R_edit - R_l)],    R = r(x, y) at the last token

PPO is that of `ppo_rlhf`: [-b KL_1, ..., -b KL_{T-1}, R - b KL_T]. Against `ppo_rlhf` only the
data changes; against `token_ppo` only the granularity of the reward.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.config.section import Section

if TYPE_CHECKING:
    from torch import Tensor

    from bench.pipeline.stage import Stage
    from bench.stages.planning import Stages


class FineGrainedPPO:
    """Sequence reward model on edited pairs, then PPO."""

    name = "fine_grained_ppo"

    class Options(Section):
        """None."""

    def __init__(self, options: FineGrainedPPO.Options) -> None:
        self.options = options

    def plan(self, stages: Stages) -> Stage:
        """Edits -> sequence reward model -> PPO."""
        reward_model = stages.reward_model(stages.edits(), granularity="sequence")
        return stages.ppo(self, reward_model)

    def rewards(self, paid: Tensor, mask: Tensor) -> Tensor:
        """[0, ..., 0, R] (B, T), as it is paid."""
        from bench.rl import token_rewards

        return token_rewards(paid, mask)
