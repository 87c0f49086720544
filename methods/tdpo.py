"""TDPO: DPO with the divergence of each token's state in the comparison (arXiv:2404.11999).

DPO compares how much likelier the policy makes whole responses, whatever it does to the other
tokens. Here each response's states count, too, by the forward KL of the next-token distributions:

    S(y) = sum_t KL(pi_ref(.|s_t) || pi(.|s_t)),       h(y) = log pi/pi_ref (y|x)
    L = -E[log sigma(beta (h(y_w) - h(y_l) - alpha (S(y_l) - sg(S(y_w)))))]        TDPO2

where sg passes no gradient on: the policy is held to the reference at the tokens of y_l. TDPO1
(`reward.variant=1`) has alpha = 1 and passes it on. TDPO2 with alpha = 0 is `dpo`.

Checked against the authors' code (Vance0124/Token-level-Direct-Preference-Optimization, as read in
2026): beta .1, alpha .5. Its configuration ships variant 1, whose alpha has no effect.

Differences from the paper: as `dpo`'s.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from bench.config.section import Section

if TYPE_CHECKING:
    from bench.pipeline.stage import Stage
    from bench.stages.planning import Stages


class TDPO:
    """A policy from pairs, or from edits, by TDPO's loss."""

    name = "tdpo"

    class Options(Section):
        """How far the policy may go, and what for."""

        beta: float = Field(0.1, gt=0, description="reward units a nat from the SFT model")
        alpha: float = Field(0.5, ge=0, description="weight of the divergences, in variant 2")
        variant: Literal[1, 2] = Field(2, description="1: TDPO1; 2: TDPO2, which the paper prefers")
        data: Literal["pairs", "edits"] = Field(
            "pairs", description="pairs: (y_w, y_l); edits: (edit(y_l), y_l)"
        )

    def __init__(self, options: TDPO.Options) -> None:
        self.options = options

    def plan(self, stages: Stages) -> Stage:
        """Preferences or edits -> policy."""
        options = self.options
        given = stages.edits() if options.data == "edits" else stages.preferences()
        learned = {"beta": options.beta, "alpha": options.alpha, "variant": options.variant}
        return stages.offline(given, loss="tdpo", options=learned)
