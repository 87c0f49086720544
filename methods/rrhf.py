"""RRHF: responses brought into order by their likelihoods (arXiv:2304.05302).

No reference and no rollout: the policy's own mean log-probability of a token is the score, a hinge
orders the responses to a prompt by it, and the best one is imitated, so that language survives:

    p_i = (1/T_i) log pi(y_i|x)
    L = w sum_{(i,j): i above j} max(0, p_j - p_i) - log pi(y_best|x)

Of more than two responses (`preferences.responses`) all pairs of the ranking are in one sum.

Checked against the authors' code (GanjinZero/RRHF, as read in 2026): w 1 in its script (100 is the
field's default). Its second term is a mean over all positions of the padded row, prompt included;
the paper's is a sum over the response's tokens.

Differences from the paper: the second term is a mean over the response's tokens by default, near to
the code without its dependence on padding (`reward.imitation=sum`: the paper's); the ranks are the
annotator's of the SFT model's own samples, not a reward model's of several models' responses.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from bench.config.section import Section

if TYPE_CHECKING:
    from bench.pipeline.stage import Stage
    from bench.stages.planning import Stages


class RRHF:
    """A policy from pairs, rankings or edits, by their order."""

    name = "rrhf"

    class Options(Section):
        """What the order weighs beside the imitation of the best."""

        rank_weight: float = Field(1.0, ge=0, description="w: factor on the hinge")
        imitation: Literal["mean", "sum"] = Field(
            "mean", description="of the best response's log-probabilities over its tokens"
        )
        data: Literal["pairs", "edits"] = Field(
            "pairs", description="pairs: (y_w, y_l), or rankings; edits: (edit(y_l), y_l)"
        )

    def __init__(self, options: RRHF.Options) -> None:
        self.options = options

    def plan(self, stages: Stages) -> Stage:
        """Preferences or edits -> policy."""
        options = self.options
        given = stages.edits() if options.data == "edits" else stages.preferences()
        learned = {"rank_weight": options.rank_weight, "imitation": options.imitation}
        return stages.offline(given, loss="rrhf", options=learned)
