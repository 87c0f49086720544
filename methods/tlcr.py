"""TLCR: each token classified by what an edit did to it (arXiv:2407.16574).

The closest published relative of `token_ppo`, on the same edits: the reward model is no comparison
of responses but a classifier of tokens, with a label from the alignment of original and edit:

    L = E[(1/T_w) sum_t H(y_t, p_t) + (1/T_l) sum_t H(y_t, p_t)]

where y is 1 for a token that the edit put in, 0 for one that it took out, and 1/2 for one that it
left alone. Rewards in PPO, with b the KL coefficient, whose term the trainer takes off:

    [2 p_1 - 1 - b KL_1, ..., 2 p_T - 1 - b KL_T]

Checked against the released code (EsYoon7/RLHF-TLCR, as read in 2026): it applies softmax twice, so
that rewards lie within +-.462 (`reward.released`).

Differences from the paper: the value starts as for every method here, not from a reward model of
responses; the KL is the estimate that all methods have, not the full one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from bench.config.section import Section

if TYPE_CHECKING:
    from torch import Tensor

    from bench.pipeline.stage import Stage
    from bench.stages.planning import Stages


class TLCR:
    """Token classifier on edited pairs, then PPO."""

    name = "tlcr"

    class Options(Section):
        """How the classifier's output is read."""

        released: bool = Field(False, description="softmax applied twice, as the released code")

    def __init__(self, options: TLCR.Options) -> None:
        self.options = options

    def plan(self, stages: Stages) -> Stage:
        """Edits -> token classifier -> PPO on its classes."""
        softmaxes = 2 if self.options.released else 1
        classifier = stages.reward_model(
            stages.edits(),
            granularity="token",
            objective="token_labels",
            options={"softmaxes": softmaxes},
        )
        return stages.ppo(self, stages.source("token_classes", classifier, softmaxes=softmaxes))

    def rewards(self, paid: Tensor, mask: Tensor) -> Tensor:
        """[2 p_1 - 1, ..., 2 p_T - 1] (B, T), as it is paid."""
        from bench.rl import token_rewards

        return token_rewards(paid, mask)
