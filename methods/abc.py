"""ABC: the reward model's attention as credit (arXiv:2402.00782).

The reward model of `ppo_rlhf`, untouched: its last token's attention to the response, a_t in the
last layer, a mean over heads, with sum_t a_t = 1, says where it looked. Rewards in PPO, with b the
KL coefficient, whose term the trainer takes off:

    c a_t R + (1 - c) [t = T] R - b KL_t

A row sums to R: against `ppo_rlhf` only the place differs.

Checked against the released code (XanderJC/attention-based-credit, as read in 2026), with c = .5
for IMDb and TL;DR, .8 for HH-RLHF.

Differences from the paper: an EOS may take most of the attention, there as here; where all of it
is on the prompt, R is paid at the end instead of as NaN.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from bench.config.section import Section

if TYPE_CHECKING:
    from torch import Tensor

    from bench.pipeline.stage import Stage
    from bench.stages.planning import Stages


class ABC:
    """Sequence reward model on original pairs, then PPO on its score by attention."""

    name = "abc"

    class Options(Section):
        """How much of the score is placed."""

        share: float = Field(
            0.5, ge=0, le=1, description="c: of the score, paid by attention; the rest at the end"
        )

    def __init__(self, options: ABC.Options) -> None:
        self.options = options

    def plan(self, stages: Stages) -> Stage:
        """Preferences -> sequence reward model -> PPO on its score, shared out by attention."""
        reward_model = stages.reward_model(stages.preferences(), granularity="sequence")
        return stages.ppo(self, stages.source("attention", reward_model, share=self.options.share))

    def rewards(self, paid: Tensor, mask: Tensor) -> Tensor:
        """[a_1 R, ..., a_T R] (B, T), as it is paid."""
        from bench.rl import token_rewards

        return token_rewards(paid, mask)
