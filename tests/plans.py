"""What a run would do, as `run --dry-run` lists it."""

from __future__ import annotations

from bench.config.run import RunConfig
from bench.pipeline.store import Store
from bench.running.plan import PlannedStage, listed, make_plan


def stages_of(config: RunConfig, store: Store) -> list[PlannedStage]:
    """Each stage of a run, and whether the store has it."""
    return listed(*make_plan(config, store), store)
