"""Run a recorded configuration again, from nothing unless a store is given."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pydantic import ValidationError

from bench.config.loading import config_sha, describe, load_config, validation_message
from bench.config.presets import default_preset, preset_names
from bench.config.run import RunConfig
from bench.config.sweeping import overrides_of, swept
from bench.errors import UserError
from bench.records.files import CURVES, ITEMS, METHOD, Record, Run, read_curves, read_items
from bench.records.labels import folder_of
from bench.running.jobs import run_options

if TYPE_CHECKING:
    from bench.pipeline.progress import Progress
    from bench.pipeline.store import Store


class Rerun(NamedTuple):
    """A repetition, and what a reader of its comparison must know."""

    run: Run
    notes: list[str]


def config_of(record: Record) -> RunConfig:
    """The configuration of a record.

    Raises:
        UserError: a field or a value is none of today's.
    """
    try:
        return RunConfig.model_validate(record.config)
    except ValidationError as error:
        raise UserError(
            f"{record.run_id}: its configuration is none of this version: "
            f"{validation_message(error, RunConfig)}; to run it again, check out the code that "
            f"ran it (commit {record.code.commit or 'unknown'})"
        ) from error


def recorded_config(record: Record) -> tuple[RunConfig, list[str]]:
    """The configuration of a record as today's code takes it, and a line for each change.

    What ran where there was no GPU stays on the CPU.

    Raises:
        UserError: a field or a value is none of today's.
    """
    config = config_of(record)
    notes = []
    unread = RunConfig.of_some - config.model_fields_set  # older than the methods that do
    added = [
        doc
        for doc in describe(config)
        if doc.value != {} and not _holds(record.config, doc.path.split("."))
        if doc.path.partition(".")[0] not in unread
    ]
    if added:
        values = ", ".join(f"{doc.path}={doc.value}" for doc in added)
        notes.append(f"not in the record, taken as today's defaults: {values}")
    elif config_sha(config) != record.config_sha:
        notes.append("the record's schema is older: what it lacks has the value of its day")
    if record.hardware.gpu is None and _would_use_gpu(config):
        model = config.model.model_copy(update={"device": "cpu"})
        config = config.model_copy(update={"model": model})
        notes.append("model.device is cpu, as it was then: auto would take the GPU")
    return config, notes


def run_command(config: RunConfig, *, store: Path, results: Path) -> str:
    """The command line that runs a configuration to its end, into its folder below `results`.

    A preset that was a file may be gone: what it said is then spelled out.
    """
    own = config.preset in preset_names()
    preset = config.preset if own else default_preset(config.suite)
    usual = load_config(preset, method=config.method, suite=config.suite)
    names = {"preset": preset, "suite": config.suite, "method": config.method, "seed": config.seed}
    options = names | {"store": store, "results": results}
    changed = overrides_of(config, [], swept([usual, config]))
    return shlex.join(["python", "-m", "bench", "run", *run_options(options, changed)])


def _holds(config: object, path: list[str]) -> bool:
    for key in path:
        if not isinstance(config, dict) or key not in config:
            return False
        config = config[key]
    return True


def _would_use_gpu(config: RunConfig) -> bool:
    from bench.models.devices import pick_device

    return config.model.device == "auto" and pick_device("auto").type != "cpu"


def repeat(recorded: Run, *, store: Store, results: Path, progress: Progress) -> Rerun:
    """Run a record's configuration; the record of the repetition is below `results`.

    Raises:
        UserError: the configuration is none of today's, the record has no result, a file beside it
            cannot be read, or it would be overwritten.
        BaseException: what ended the run, as `bench.running.runner.run`.
    """
    from bench.running import runner

    old = recorded.record
    if old.status in ("interrupted", "failed"):
        raise UserError(
            f"{old.run_id}: its status is {old.status}, there is nothing to compare with"
        )
    if old.code.method_sha is not None:
        raise UserError(
            f"{old.run_id}: its method was registered in a session and is in no package: run "
            f"{recorded.folder / METHOD} in a notebook, register it, and call bench.run"
        )
    config, notes = recorded_config(old)
    folder = folder_of(config, results)
    if folder.resolve() == recorded.folder.resolve():
        raise UserError(f"--out {results}: the rerun would overwrite the record that it repeats")
    for name, read in ((ITEMS, read_items), (CURVES, read_curves)):
        if (recorded.folder / name).is_file():
            read(recorded.folder)  # what it is compared with: better refused now than after the run
    cost = sum(part.cost_usd or 0.0 for part in (old.judge, old.editor) if part is not None)
    if cost:
        progress.say(f"judge and editor cost ${cost:.2f} then; what the store lacks is asked again")
    new = runner.run(config, store=store, results=results, progress=progress, until=old.until)
    stored = [stage.name for stage in new.stages if stage.cached]
    if stored:
        notes.append(
            f"{len(stored)} of {len(new.stages)} stages were in the store and not run again "
            f"({', '.join(stored)}): that these are equal shows nothing"
        )
    return Rerun(Run(new, folder), notes)
