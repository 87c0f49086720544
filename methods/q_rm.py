"""Q-RM: a token reward model's output, read as the value of an action (arXiv:2505.23363).

Reward model on original pairs (y_w, y_l), with Z_t its output at token t and Z its mean over the
response:

    L = -E[log sigma(beta (Z_w - Z_l) - gamma)]

That is Eq. 3 of `token_ppo` with a scale and a margin. In PPO, with b the KL coefficient, Z_t is
not a share of a score but says what drawing token t is worth from here on, so nothing that is paid
later has a part in the advantage:

    A_t = Z_t - b KL_t - c V_t,        V learns Z_t - b KL_t

With c = 1 it is PPO with gamma = 0.

Checked against the released code (homzer/Q-RM, as read in 2026): beta .2, gamma 2.

Differences from the paper: Z_t is normalised by the mean and std of Z over SFT samples, as all
rewards here are; the KL is taken off what is paid, as for every method.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from bench.config.section import Section

if TYPE_CHECKING:
    from torch import Tensor

    from bench.pipeline.stage import Stage
    from bench.stages.planning import Stages


class QRM:
    """Token reward model on original pairs, then PPO with its outputs as Q."""

    name = "q_rm"

    class Options(Section):
        """Scale and margin of the loss, and the value's part in the advantage."""

        beta: float = Field(0.2, gt=0, description="factor on the difference of the mean outputs")
        margin: float = Field(2.0, ge=0, description="gamma, subtracted from it")
        value_share: float = Field(1.0, ge=0, le=1, description="c in A_t = Z_t - c V_t")

    def __init__(self, options: QRM.Options) -> None:
        self.options = options

    def plan(self, stages: Stages) -> Stage:
        """Preferences -> token reward model -> PPO on its outputs as values of actions."""
        options = self.options
        reward_model = stages.reward_model(
            stages.preferences(),
            granularity="token",
            objective="scaled_comparison",
            options={"beta": options.beta, "margin": options.margin},
        )
        return stages.ppo(
            self,
            stages.source("token_outputs", reward_model),
            advantage="values",
            advantage_options={"c": options.value_share},
        )

    def rewards(self, paid: Tensor, mask: Tensor) -> Tensor:
        """[Z_1, ..., Z_T] (B, T), as it is paid."""
        from bench.rl import token_rewards

        return token_rewards(paid, mask)
