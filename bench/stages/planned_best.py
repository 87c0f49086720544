"""A policy that is chosen from instead of trained, as a plan describes it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bench.pipeline.stage import Stage
    from bench.stages.planned_source import PlannedSource


@dataclass(frozen=True)
class BestOf:
    """Of n responses that the SFT model draws the one that scores highest.

    Attributes:
        policy: who draws, the SFT model.
        n: responses to each prompt.
        source: the token source whose scores choose.
    """

    policy: Stage
    n: int
    source: PlannedSource

    @property
    def inputs(self) -> tuple[Stage, ...]:
        """All that it is made of: who draws, and what the source reads."""
        return (self.policy, *self.source.all_stages)

    @property
    def described(self) -> dict[str, Any]:
        """What of it decides a result, for a stage's key; the stages are the key's inputs."""
        return {"n": self.n, "source": self.source.described}
