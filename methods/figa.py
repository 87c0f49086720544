"""FIGA: what an edit put in is imitated, what it took out unlearned (arXiv:2311.04072).

The edits of `token_ppo`, with neither reward model nor rollout: whether those two are needed at all
shows beside it. Over the tokens that the edit changed, N of them on both sides together:

    L = (1/N) (-a sum_{put in} log pi(y_t) + b sum_{taken out, -log pi(y_t) <= c} log pi(y_t))

Each token is read with its own response before it. What the policy finds unlikely already is left
alone (c), as log pi has no lower bound. Tokens that the edit left alone have no part in it.

Checked against the authors' code (RUCAIBox/FIGA, as read in 2026): a 1, b .5, c .6 nats.

Differences from the paper: nothing holds the policy near the SFT model there, and nothing but the
chosen checkpoint does here; the edits are those of all methods here, not ChatGPT's revisions by a
better reference. From the code: N counts the tokens that c holds back, so that micro-batches add
up; the edit's EOS is learned only where the edit changed it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from bench.config.section import Section

if TYPE_CHECKING:
    from bench.pipeline.stage import Stage
    from bench.stages.planning import Stages


class FIGA:
    """A policy from edits, token by token."""

    name = "figa"

    class Options(Section):
        """What a changed token weighs."""

        learn: float = Field(1.0, ge=0, description="a: weight of a token that the edit put in")
        unlearn: float = Field(0.5, ge=0, description="b: weight of one that it took out,")
        threshold: float = Field(
            0.6, ge=0, description="c: while its -log pi is at most this, nats"
        )

    def __init__(self, options: FIGA.Options) -> None:
        self.options = options

    def plan(self, stages: Stages) -> Stage:
        """Edits -> policy."""
        return stages.offline(stages.edits(), loss="figa", options=self.options.model_dump())
