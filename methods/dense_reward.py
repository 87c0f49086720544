"""DenseReward: segments by the SFT model's entropy, rewards by their place (arXiv:2501.02790).

A segment ends where the SFT model is unsure of what follows: where the entropy of its next token's
distribution is above a cutoff. Reward model on original pairs, read at the ends of the K segments:

    R = (1/K) sum_k r_k,    L = -E[log sigma(R_w - R_l)]

Rewards in PPO, for each token t of segment k, which has len_k tokens and stands at p_k = k / K, and
b the KL coefficient, whose term the trainer takes off:

    (r_k - mu(p_k)) / (sd(p_k) len_k) - b KL_t,    mu(p) = a log p + c,  sd(p) = d log p + e

with a, c, d and e fitted to the reward model's outputs. Against `segment_ppo`, which follows a
sentence's place more than its content, it takes the place out; and its rows are not divided by K.

Checked against the released code (yinyueqin/DenseRewardRLHF-PPO at 6cb62e6), the regression
included. Cutoffs there: 1.75 nats for Phi-3-mini, 2.0 for Llama-3-8B; the testbed's model has a
smaller vocabulary and a narrower world, and no cutoff is known for it.

Differences from the paper: mu and sd are fitted to samples of the SFT model, not to chosen
responses; EOS belongs to the last segment and shares its reward, where the paper pays it nothing;
no extra penalty for length.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from bench.config.section import Section

if TYPE_CHECKING:
    from torch import Tensor

    from bench.pipeline.stage import Stage
    from bench.stages.planning import Stages


class DenseReward:
    """Segment reward model on original pairs by entropy, then PPO normalised by place."""

    name = "dense_reward"

    class Options(Section):
        """Where segments end."""

        cutoff: float = Field(
            1.75, ge=0, description="nats of the SFT model's entropy above which a segment ends"
        )

    def __init__(self, options: DenseReward.Options) -> None:
        self.options = options

    def plan(self, stages: Stages) -> Stage:
        """Preferences -> segment reward model -> PPO on its outputs by place."""
        reward_model = stages.reward_model(
            stages.preferences(),
            granularity="segment",
            segmenter="entropy",
            segmenter_options={"cutoff": self.options.cutoff},
        )
        return stages.ppo(self, stages.source("placed_segments", reward_model))

    def rewards(self, paid: Tensor, mask: Tensor) -> Tensor:
        """[z_k / len_k] (B, T), as the source pays it."""
        from bench.rl import token_rewards

        return token_rewards(paid, mask)
