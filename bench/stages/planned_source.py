"""A token source as a plan describes it: nothing of it is made before the policy is trained."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bench.stages.chosen import Chosen

if TYPE_CHECKING:
    from bench.pipeline.stage import Stage
    from bench.plugins.protocols import Method
    from bench.stages.chosen import ChosenAlgorithm


@dataclass(frozen=True)
class PlannedSource(Chosen):
    """Which source of the registry pays, from what.

    Attributes:
        stages: whose artifacts it reads, such as a reward model's.
        parts: the sources that it is made of.
    """

    stages: tuple[Stage, ...] = ()
    parts: tuple[PlannedSource, ...] = ()

    @property
    def described(self) -> dict[str, Any]:
        """What of it decides a result, for a stage's key; the stages are the key's inputs."""
        return super().described | {
            "reads": [stage.name for stage in self.stages],
            "parts": [part.described for part in self.parts],
        }

    @property
    def whole(self) -> Iterator[PlannedSource]:
        """This source, then all that it is made of."""
        yield self
        for part in self.parts:
            yield from part.whole

    @property
    def all_stages(self) -> tuple[Stage, ...]:
        """What it and its parts read, in the order in which `make_source` takes them."""
        return tuple(stage for source in self.whole for stage in source.stages)

    @property
    def modules(self) -> tuple[str, ...]:
        """Where the code of it and its parts begins."""
        return tuple(source.module for source in self.whole)


@dataclass(frozen=True)
class Paid:
    """What pays a policy while it is trained.

    Attributes:
        method: turns what the source pays into rewards.
        source: pays the tokens.
        algorithm: trains the policy on it.
    """

    method: Method
    source: PlannedSource
    algorithm: ChosenAlgorithm
