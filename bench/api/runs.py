"""`bench.run`: what `python -m bench run` does, once, in this process."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any

from bench.api.places import folder
from bench.api.results import RunRecord
from bench.errors import UserError

_OWN = Path("results/runs")


def run(
    method: str,
    *,
    preset: str | os.PathLike[str] = "testbed",
    suite: str | None = None,
    seed: int | None = None,
    overrides: Mapping[str, Any] | None = None,
    until: str | None = None,
    results: str | os.PathLike[str] | None = None,
    store: str | os.PathLike[str] | None = None,
    quiet: bool = False,
) -> RunRecord:
    """Train and judge one method with one seed; finished stages are taken from the store.

    What is under way is told on standard error. Ctrl-C, or a notebook's stop button, puts the
    unfinished stage away, and the same call goes on from there.

    Args:
        method: a name, as `python -m bench list` shows them, or of `register_method`.
        preset: a name from bench/config/presets, or a YAML file.
        suite: instead of the preset's.
        seed: of every random choice; None: the preset's.
        overrides: fields by path, as `{"ppo.lr": 1e-4, "reward.loss": "eq4"}`.
        until: end behind this stage, as `python -m bench run --until`.
        results: where the record goes; None: BENCH_RESULTS, or results/runs of the current folder.
        store: of finished stages; None: BENCH_STORE, or a cache of the user's.
        quiet: tell nothing.

    Returns:
        The record that was written. Its status is "ok", "partial" (with `until`), "diverged" or
        "out_of_memory".

    Raises:
        UserError: what was asked for is wrong, or cannot be done here: one line that says how to
            mend it, by the names of the command line's options.
        KeyboardInterrupt: after a record that says "interrupted" was written.
    """
    from bench.pipeline.progress import Progress
    from bench.pipeline.store import Store
    from bench.records.labels import folder_of
    from bench.running import launch
    from bench.running.quiet import libraries_quiet

    if not isinstance(method, str):
        raise UserError(f"method is a name, not {method!r}; register_method gives it one")
    if not isinstance(overrides or {}, Mapping):
        raise UserError("overrides: expected fields and values, as {'ppo.lr': 1e-4}")
    named, spelled = os.fspath(preset), _spelled(overrides or {})
    own = folder(results, "results", _OWN)
    launch.check_until(until)
    configs = launch.configurations(
        method, suite=suite, preset=named, seed=seed, seeds=None, overrides=spelled
    )
    if len(configs) > 1:
        raise UserError(f"method {method!r} names {len(configs)} runs: call bench.run for each")
    progress = Progress(quiet=quiet)
    kept = None if store is None else folder(store, "store", Path())
    stages = Store(kept, warn=progress.say)
    launch.check_folder(stages.root, "store")
    launch.check_folder(own, "results")
    with libraries_quiet(), launch.fetch_named(named, suite, spelled):
        record = launch.run_one(configs[0], stages, own, progress, until)
    return RunRecord.of(record, folder_of(configs[0], own))


def _spelled(overrides: Mapping[str, Any]) -> list[str]:
    """Fields and values as `--set` takes them, so that they are read in one place."""
    return [f"{path}={_spelled_value(path, value)}" for path, value in overrides.items()]


def _spelled_value(path: str, value: Any) -> str:
    from bench.config.loading import typed

    value = str(value) if isinstance(value, PurePath) else value
    value = value.item() if hasattr(value, "item") else value  # of NumPy or torch
    try:
        json.dumps(value)
    except (TypeError, ValueError) as error:
        raise UserError(
            f"overrides: {path} must be a number, text, True, None, a list or a mapping, given: "
            f"{value!r}"
        ) from error
    return typed(value)
