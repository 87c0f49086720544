"""DPO: the policy itself learns from the pairs (arXiv:2305.18290).

Neither reward model nor rollout: what a reward model of responses would learn is read off the
policy, beta log(pi(y|x) / pi_ref(y|x)), and so the policy is trained by the reward model's own loss
(Eq. 7):

    L = -E[log sigma(beta (log pi/pi_ref (y_w|x) - log pi/pi_ref (y_l|x)))]

On original pairs it is `ppo_rlhf` without the two models in between; on edits
(`reward.data=edits`), `fine_grained_ppo` without them. Its own reading as a reward at every token,
beta log pi/pi_ref (y_t|s_t), is what `rto` pays.

Checked against the authors' code (eric-mitchell/direct-preference-optimization, as read in 2026;
beta .1 to .5 there) and beside TRL 1.12.0's DPOTrainer (tests/peers/test_trl_dpo.py).

Differences from the paper: AdamW on an adapter instead of RMSprop on all weights, a rate that
falls, and a checkpoint chosen as for every method here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from bench.config.section import Section

if TYPE_CHECKING:
    from bench.pipeline.stage import Stage
    from bench.stages.planning import Stages


class DPO:
    """A policy from pairs, or from edits, by DPO's loss."""

    name = "dpo"

    class Options(Section):
        """How far the policy may go, and what for."""

        beta: float = Field(0.1, gt=0, description="reward units a nat from the SFT model")
        data: Literal["pairs", "edits"] = Field(
            "pairs", description="pairs: (y_w, y_l); edits: (edit(y_l), y_l)"
        )
        label_smoothing: float = Field(
            0.0, ge=0, lt=0.5, description="share of the labels that are taken to be wrong"
        )

    def __init__(self, options: DPO.Options) -> None:
        self.options = options

    def plan(self, stages: Stages) -> Stage:
        """Preferences or edits -> policy."""
        options = self.options
        given = stages.edits() if options.data == "edits" else stages.preferences()
        learned = {"beta": options.beta, "label_smoothing": options.label_smoothing}
        return stages.offline(given, loss="dpo", options=learned)
