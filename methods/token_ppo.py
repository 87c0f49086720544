"""Token-level PPO: a reward at every token, learned from minimal edits (arXiv:2406.02756).

Reward model on (edit(y_l), y_l), with R(tau) = (1/T) sum_t r_t (Eq. 1):

    Eq. 3  L = -E[log sigma((1/T_w) sum_t    r_t^w - (1/T_l) sum_t    r_t^l)]
    Eq. 4  L = -E[log sigma((1/T_w) sum_{U1} r_t^w - (1/T_l) sum_{U1} r_t^l)]

where U1 are the tokens that the edit changed. A baseline from elsewhere (arXiv:2308.01320) compares
the two responses position by position, from the first at which they differ, d, to the longer one's
end, N (`reward.loss=divergence`):

    L = -E[1/(N - d) sum_{t=d}^{N-1} log sigma(r_t^w - r_t^l)]

Rewards in PPO, with b the KL coefficient, whose term the trainer takes off:

    [r_1 - b KL_1, ..., r_T - b KL_T]

A variant of ours (`reward.assignment=growth`) pays by how much a token moves the mean reward of the
tokens so far, m_t = (1/t) sum_{s<=t} r_s, which sums to R(tau), too:

    [m_1 - b KL_1, ..., m_t - m_{t-1} - b KL_t, ...]

A share r_t / T is not known before the response has ended, and whoever goes on dilutes the shares
before; here the token that dilutes the mean is charged for it.

Differences from the paper: r_t is normalised by the mean and std that R(tau) has over SFT samples
and divided by T, so that a response's rewards sum to its normalised R(tau). The undivided sum is T
times as large: granularity would be confounded with the reward's scale, and a policy paid per
token grows its responses (docs/testbed.md).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from bench.config.section import Section

if TYPE_CHECKING:
    from torch import Tensor

    from bench.pipeline.stage import Stage
    from bench.stages.planning import Stages


class TokenPPO:
    """Token reward model on edited pairs, then PPO."""

    name = "token_ppo"

    class Options(Section):
        """How the reward model learns and where its reward is paid."""

        loss: Literal["eq3", "eq4", "divergence"] = Field(
            "eq3",
            description="eq3: all tokens; eq4: the tokens that the edit changed; "
            "divergence: token by token from the first that differs",
        )
        paid_at: Literal["token", "end"] = Field(
            "token", description="token: r_t / T at t; end: their sum, R, at the last token"
        )
        assignment: Literal["share", "growth"] = Field(
            "share", description="at a token, share: r_t / T; growth: m_t - m_{t-1} of the means"
        )
        renamed: ClassVar = {"granularity": "paid_at (its value sequence is now end)"}

    def __init__(self, options: TokenPPO.Options) -> None:
        self.options = options

    def plan(self, stages: Stages) -> Stage:
        """Edits -> token reward model -> PPO."""
        objective = "comparison" if self.options.loss == "eq3" else self.options.loss
        edits = stages.edits()
        reward_model = stages.reward_model(edits, granularity="token", objective=objective)
        return stages.ppo(self, reward_model)

    def rewards(self, paid: Tensor, mask: Tensor) -> Tensor:
        """[r_1 / T, ..., r_T / T] (B, T), as the token model pays it; or as the options say."""
        from bench.rl import growth_of_mean, masked_sum, sequence_rewards, token_rewards

        if self.options.paid_at == "end":
            return sequence_rewards(masked_sum(paid, mask, dim=1), mask)
        if self.options.assignment == "growth":
            return growth_of_mean(paid * mask.sum(dim=1, keepdim=True), mask)
        return token_rewards(paid, mask)
