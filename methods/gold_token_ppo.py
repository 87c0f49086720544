"""The ceiling of density: PPO on the gold score's own terms, each where the text decides it (ours).

`gold_ppo` pays g at the end. Here each of the terms that g is a sum of is paid at the token that
completes it, and what is left out at the last token; with b the KL coefficient, whose term the
trainer takes off:

    g_t - b KL_t,    sum_t g_t = g

Against `gold_ppo` only the place differs, and no reward model errs: what this wins over it is what
a perfect token reward could. Without it "token = sequence" cannot be told from "the token reward
model is weak".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.config.section import Section
from bench.plugins.capabilities import GoldTerms

if TYPE_CHECKING:
    from torch import Tensor

    from bench.pipeline.stage import Stage
    from bench.stages.planning import Stages


class GoldTokenPPO:
    """PPO on the terms of the gold score."""

    name = "gold_token_ppo"
    needs = (GoldTerms,)

    class Options(Section):
        """None."""

    def __init__(self, options: GoldTokenPPO.Options) -> None:
        self.options = options

    def plan(self, stages: Stages) -> Stage:
        """PPO alone."""
        return stages.ppo(self, stages.source("gold_terms"))

    def rewards(self, paid: Tensor, mask: Tensor) -> Tensor:
        """[g_1, ..., g_T] (B, T), as it is paid."""
        from bench.rl import token_rewards

        return token_rewards(paid, mask)
