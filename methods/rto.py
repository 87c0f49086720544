"""RTO: DPO's log-ratio as a reward at every token, then PPO (arXiv:2404.18922).

First `dpo`, by its own loss, on original pairs; then PPO, paid by what DPO's policy has learned of
each token, and by the reward model of `ppo_rlhf` at the end. With b the KL coefficient, whose term
the trainer takes off:

    r_t = clip(beta_1 log pi_dpo/pi_ref (y_t|s_t), -c, c) + [t = T] R - b KL_t

A row sums to R and the log-ratio of the whole response, which pays length where its mean is above
0; hence the clip.

Checked against the authors' code (zkshan2002/RTO, as read in 2026): beta_1 .05, c .05 in its script
(1 and no clip are the fields' defaults), b .01.

Differences from the paper: R has mean 0 and std 1 over SFT samples and is not clipped (at 10
there); reward model and policy are adapters on one model, not of 1B and 8B; b steers to the KL
target of all methods here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from bench.config.section import Section

if TYPE_CHECKING:
    from torch import Tensor

    from bench.pipeline.stage import Stage
    from bench.stages.planning import Stages


class RTO:
    """DPO and a sequence reward model on original pairs, then PPO paid by both."""

    name = "rto"

    class Options(Section):
        """What the log-ratio weighs, and how it was learned."""

        beta: float = Field(0.05, gt=0, description="beta_1: reward units a nat of log-ratio")
        clip: float = Field(0.05, gt=0, description="c: most of a token's, reward units")
        dpo_beta: float = Field(0.1, gt=0, description="beta of DPO's loss, as dpo's")

    def __init__(self, options: RTO.Options) -> None:
        self.options = options

    def plan(self, stages: Stages) -> Stage:
        """Preferences -> DPO and sequence reward model -> PPO on the sum of what both say."""
        options, pairs = self.options, stages.preferences()
        learned = {"beta": options.dpo_beta, "label_smoothing": 0.0}
        teacher = stages.offline(pairs, loss="dpo", options=learned)
        ratio = stages.source("log_ratio", teacher, beta=options.beta, clip=options.clip)
        reward_model = stages.reward_model(pairs, granularity="sequence")
        score = stages.source("reward_model", reward_model)
        return stages.ppo(self, stages.source("sum", ratio, score))

    def rewards(self, paid: Tensor, mask: Tensor) -> Tensor:
        """[d_1, ..., d_{T-1}, d_T + R] (B, T), d the clipped log-ratio, as it is paid."""
        from bench.rl import token_rewards

        return token_rewards(paid, mask)
