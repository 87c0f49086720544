"""RLOO: the other responses to a prompt in the place of a value function (arXiv:2402.14740).

Reward model and reward are those of `ppo_rlhf`. K responses are drawn to each prompt, and a whole
response is one action, with R less its KL as its reward:

    A_i = R_i - b KL_i - (1/(K-1)) sum_{j != i} (R_j - b KL_j)

for every token of response i. A step has as many responses as with the other methods, and so 1/K of
the prompts.

Checked against the paper's Section 3.3 as known in 2026.

Differences from the paper: PPO's clipped loss over the configuration's epochs and minibatches, of
which the first equals REINFORCE's gradient; advantages are whitened where `ppo.whiten_advantages`
says so, as for every method.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from bench.config.section import Section

if TYPE_CHECKING:
    from torch import Tensor

    from bench.pipeline.stage import Stage
    from bench.stages.planning import Stages


class RLOO:
    """Sequence reward model on original pairs, then policy gradients against the other samples."""

    name = "rloo"

    class Options(Section):
        """How many responses are compared."""

        samples: int = Field(
            4, ge=2, description="K: responses to a prompt; ppo.batch_size is a multiple"
        )

    def __init__(self, options: RLOO.Options) -> None:
        self.options = options

    def plan(self, stages: Stages) -> Stage:
        """Preferences -> sequence reward model -> policy gradients."""
        reward_model = stages.reward_model(stages.preferences(), granularity="sequence")
        samples = {"samples": self.options.samples}
        return stages.ppo(self, reward_model, advantage="leave_one_out", advantage_options=samples)

    def rewards(self, paid: Tensor, mask: Tensor) -> Tensor:
        """[0, ..., 0, R] (B, T), as it is paid."""
        from bench.rl import token_rewards

        return token_rewards(paid, mask)
