"""The ceiling: PPO on the suite's gold score itself, as in Gao et al. (arXiv:2210.10760).

No reward model and no editor: what is left between this and another method is what that method's
reward model does not know. Rewards in PPO, with g the gold score and b the KL coefficient, whose
term the trainer takes off:

    [-b KL_1, ..., -b KL_{T-1}, g - b KL_T]
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.config.section import Section

if TYPE_CHECKING:
    from torch import Tensor

    from bench.pipeline.stage import Stage
    from bench.stages.planning import Stages


class GoldPPO:
    """PPO on the gold score."""

    name = "gold_ppo"

    class Options(Section):
        """None."""

    def __init__(self, options: GoldPPO.Options) -> None:
        self.options = options

    def plan(self, stages: Stages) -> Stage:
        """PPO alone."""
        return stages.ppo(self, None)

    def rewards(self, paid: Tensor, mask: Tensor) -> Tensor:
        """[0, ..., 0, g] (B, T), as it is paid."""
        from bench.rl import token_rewards

        return token_rewards(paid, mask)
