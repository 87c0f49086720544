"""GRPO: advantages standardised within the responses to a prompt (arXiv:2402.03300).

Reward model and reward are those of `ppo_rlhf`. K responses are drawn to each prompt, there is no
value function, and for every token of response i:

    A_i = (R_i - mean(R)) / std(R)

A step has as many responses as with the other methods, and so 1/K of the prompts.

Checked against the paper's Section 4.1.2 as known in 2026 (outcome supervision).

Differences from the paper: the KL is where `ppo.kl_penalty` has it for every method, by default in
the reward, and so within R here; the paper's is `ppo.kl_penalty=loss` with `ppo.kl_kind=k3`.
Advantages are whitened where `ppo.whiten_advantages` says so. The loss is a mean over tokens, not
over each response and then over responses.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from bench.config.section import Section

if TYPE_CHECKING:
    from torch import Tensor

    from bench.pipeline.stage import Stage
    from bench.stages.planning import Stages


class GRPO:
    """Sequence reward model on original pairs, then PPO without a value, by groups."""

    name = "grpo"

    class Options(Section):
        """How many responses are compared."""

        samples: int = Field(
            4, ge=2, description="K: responses to a prompt; ppo.batch_size is a multiple"
        )

    def __init__(self, options: GRPO.Options) -> None:
        self.options = options

    def plan(self, stages: Stages) -> Stage:
        """Preferences -> sequence reward model -> PPO by groups."""
        reward_model = stages.reward_model(stages.preferences(), granularity="sequence")
        samples = {"samples": self.options.samples}
        return stages.ppo(self, reward_model, advantage="group", advantage_options=samples)

    def rewards(self, paid: Tensor, mask: Tensor) -> Tensor:
        """[0, ..., 0, R] (B, T), as it is paid."""
        from bench.rl import token_rewards

        return token_rewards(paid, mask)
