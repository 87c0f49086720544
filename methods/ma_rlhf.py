"""MA-RLHF: macro actions of several tokens, the other direction of granularity (arXiv:2410.02743).

Reward model and reward are those of `ppo_rlhf`, [0, ..., 0, R]. What is coarser is the decision:
n tokens are one action, with the sum of their rewards, the mean of their values and one advantage:

    r_j = sum_{t in M_j} (r_t - b KL_t),   V_j = (1/n) sum_{t in M_j} V_t,   A_j by GAE over j

so that a reward at the end has fewer steps to come back to a token.

Checked against the released code (ernie-research/MA-RLHF, as read in 2026): fixed n-grams, n = 5,
values by "equal".

Differences from the paper: the code takes the mean of a macro action's rewards, which divides the
KL by n; here they are summed. It cuts all rows of a batch where the first one is cut; here each
row is cut by itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from bench.config.section import Section

if TYPE_CHECKING:
    from torch import Tensor

    from bench.pipeline.stage import Stage
    from bench.stages.planning import Stages


class MARLHF:
    """Sequence reward model on original pairs, then PPO over macro actions."""

    name = "ma_rlhf"

    class Options(Section):
        """How long a macro action is."""

        n: int = Field(5, ge=1, description="tokens of a macro action; 1 is ppo_rlhf")

    def __init__(self, options: MARLHF.Options) -> None:
        self.options = options

    def plan(self, stages: Stages) -> Stage:
        """Preferences -> sequence reward model -> PPO over macro actions."""
        reward_model = stages.reward_model(stages.preferences(), granularity="sequence")
        n = self.options.n
        return stages.ppo(self, reward_model, advantage="macro", advantage_options={"n": n})

    def rewards(self, paid: Tensor, mask: Tensor) -> Tensor:
        """[0, ..., 0, R] (B, T), as it is paid."""
        from bench.rl import token_rewards

        return token_rewards(paid, mask)
