"""A token source as a plan describes it: nothing of it is made before the policy is trained."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bench.pipeline.stage import Stage


@dataclass(frozen=True)
class PlannedSource:
    """Which source of the registry pays, from what.

    Attributes:
        name: in the registry.
        target: where it is, as ``module:attribute``.
        stages: whose artifacts it reads, such as a reward model's.
        parts: the sources that it is made of.
        options: what it is made with; JSON values.
    """

    name: str
    target: str
    stages: tuple[Stage, ...] = ()
    parts: tuple[PlannedSource, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def described(self) -> dict[str, Any]:
        """What of it decides a result, for a stage's key; the stages are the key's inputs."""
        return {
            "name": self.name,
            "reads": [stage.name for stage in self.stages],
            "options": dict(self.options),
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
        return tuple(source.target.partition(":")[0] for source in self.whole)
