"""Stages: functions of their inputs and their part of the configuration, stored under a hash.

A method describes its run as a graph of stages; nothing is computed while it does. `execute`
walks the graph: what is in the store is read, what is not is built, and what two methods or seeds
share has the same key and is built once.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.errors import UserError
from bench.models import processes
from bench.pipeline.curve import Curve, Listener
from bench.pipeline.sources import SOURCES
from bench.pipeline.store import Artifact, Build, Store

if TYPE_CHECKING:
    from bench.config.run import RunConfig
    from bench.files import FileState
    from bench.models.backbone import Backbone
    from bench.pipeline.progress import Progress

Builder = Callable[["Context", Path, list[Path]], dict[str, Any]]


@dataclass(frozen=True)
class Stage:
    """A step of a run.

    Attributes:
        name: what people read and the folder in the store.
        config: JSON-able; everything beside the inputs and the code that decides the result.
        inputs: the stages whose artifacts it reads.
        roots: modules from which the code that decides the result is found
            (`bench.pipeline.sources`).
        build: writes the artifact into a folder, from the inputs' folders; returns statistics.
        summary: one line for the plan.
        files: what it reads beside its inputs, and what these files held when the key was made.
        shared: where several processes make a run (`bench.models.processes`), all of them build it
            together; else the first one does, alone.
    """

    name: str
    config: Mapping[str, Any]
    inputs: tuple[Stage, ...]
    roots: tuple[str, ...]
    build: Builder
    summary: str = ""
    files: Mapping[Path, FileState] = field(default_factory=dict)
    shared: bool = False

    @cached_property
    def key(self) -> str:
        """Hash of all that decides the artifact."""
        parts = {
            "name": self.name,
            "config": self.config,
            "inputs": [stage.key for stage in self.inputs],
            "code": SOURCES.digest(self.roots),
        }
        text = json.dumps(parts, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:20]

    def graph(self) -> list[Stage]:
        """This stage and all it needs, inputs first, each once."""
        found: dict[str, Stage] = {}
        for stage in self.inputs:
            found |= {s.key: s for s in stage.graph()}
        found[self.key] = self
        return list(found.values())


@dataclass
class Context:
    """What a building stage may use beside its inputs.

    Attributes:
        config: the run's configuration; a stage reads only what its key covers.
        suite: the world.
        progress: where it reports.
        answers: folder where the answers of paid models are kept.
        backbones: the SFT model in memory, kept between stages; keyed by its artifact.
        packed: whether the model that the stage uses takes batches without padding; None: no model.
        building: the stage that is being built.
        listen: hears of every row of a curve.
    """

    config: RunConfig
    suite: Any
    progress: Progress
    answers: Path
    backbones: dict[Path, Backbone] = field(default_factory=dict)
    packed: bool | None = None
    building: str = ""
    listen: Listener = lambda stage, rows: None

    def curve(self) -> Curve:
        """An empty curve of the stage that is being built."""
        return Curve(self.building, self.listen)


@dataclass(frozen=True)
class Executed:
    """A stage's artifact and whether it was there already."""

    stage: Stage
    artifact: Artifact
    cached: bool


def execute(target: Stage, context: Context, store: Store) -> Iterator[Executed]:
    """Build `target` and all it needs; yields each as it is there, inputs first.

    Raises:
        UserError: for what a user can mend (a full disk, a model that is not there), and where a
            stage's code or data changed since its key was made: it is not stored.
        Diverged: if training did.
    """
    done: dict[str, Executed] = {}
    for stage in target.graph():
        find = partial(store.find, stage.name, stage.key)
        found = processes.from_first(find)
        cached = found is not None
        if found is None:
            inputs = [done[s.key].artifact.path for s in stage.inputs]
            with _building(stage, store) as build:
                # Another run may have made it while this one waited.
                if processes.from_first(lambda: build.artifact is None):
                    _check_unchanged(stage)
                    build.stats.update(_measured(stage, context, build.path, inputs))
                    _check_unchanged(stage)
            found = processes.from_first(find)
            if found is None:
                raise RuntimeError(f"stage {stage.name} left no artifact")
        done[stage.key] = Executed(stage, found, cached)
        yield done[stage.key]


@contextmanager
def _building(stage: Stage, store: Store) -> Iterator[Build]:
    """Where a process writes: the first into the store, the others to where nobody looks."""
    if processes.is_first():
        with store.building(stage.name, stage.key) as build:
            yield build
    else:
        with tempfile.TemporaryDirectory() as folder:
            yield Build(Path(folder))


def _measured(stage: Stage, context: Context, out: Path, inputs: list[Path]) -> dict[str, Any]:
    """Build a stage; its statistics, its most memory, the machine, and what it ran on."""
    import torch

    from bench.models.devices import dtype_name, pick_device
    from bench.pipeline.memory import PeakMemory
    from bench.records.provenance import device_name, hardware

    device = pick_device(context.config.model.device)
    memory, context.packed = PeakMemory(device), None
    context.building = stage.name
    build = partial(stage.build, context, out, inputs)
    # Where nothing shares work out one process is enough, and the others wait.
    stats = build() if stage.shared else processes.from_first(build)
    threads = torch.get_num_threads()
    ran_on = {"device": device_name(device), "threads": threads}
    return stats | {
        "peak_memory_gib": memory.gib(),
        "peak_memory_since": memory.since,
        "hardware": hardware(dtype_name(context.config.model), threads),
        "ran_on": ran_on
        | {"packed": context.packed, "processes": processes.count() if stage.shared else 1},
    }


def _check_unchanged(stage: Stage) -> None:
    """Refuse to store what was made while its code or its data changed.

    The modules that can be seen were loaded when the run began (`Sources.load`) and are not read
    again; one that cannot be seen, or that a process of the stage loads, may be of either version,
    and so may data.
    """
    changed = SOURCES.changed(stage.roots)
    changed += [file for file, state in stage.files.items() if not state.holds(file)]
    if changed:
        raise UserError(
            f"{', '.join(map(str, changed))} changed since the run began: {stage.name}, which it "
            "can decide, is not stored; what was finished before is kept, run the same command "
            "again",
            exit_code=1,
        )
