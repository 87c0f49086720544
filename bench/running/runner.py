"""Execute a run: its stages in order, those in the store skipped; then write its record."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from bench.config.run import RunConfig, flatten
from bench.errors import Diverged, UserError
from bench.models import processes
from bench.pipeline.curve import read_curve
from bench.pipeline.sources import SOURCES
from bench.pipeline.stage import Context, Executed, Stage, execute
from bench.pipeline.store import Store
from bench.plugins.capabilities import may_show_texts
from bench.records.files import Record, read_record
from bench.records.labels import folder_of
from bench.running.plan import Plan, check_fits, make_plan, say_notes
from bench.running.recording import Code, Ending, Gathered, make_record, write_down
from bench.running.signals import signals_wait
from bench.running.tracking import Subject, tracked
from bench.stages.chosen import editor_maker, judge_maker

if TYPE_CHECKING:
    from bench.pipeline.progress import Progress


def run(
    config: RunConfig,
    *,
    store: Store,
    results: Path,
    progress: Progress,
    until: str | None = None,
    track: Sequence[str] = (),
) -> Record:
    """Execute a run and write its record to `results/<suite>/<run_id>/`.

    With `until`, one of `UNTIL`, it ends behind that stage. The record is that of the whole run as
    far as it came, and gives way to the whole run's own, whose stages are then stored. `track`
    names the trackers (`bench.running.tracking`) that are sent the curves.

    Returns:
        The record; its status is "ok" ("partial" with `until`), "diverged" or "out_of_memory".

    Raises:
        UserError: for what a user can mend. A finished stage stays in the store either way.
        BaseException: what else ended the run, Ctrl-C among it, after a record that says
            "interrupted" or "failed" was written (unless a finished one is there).
    """
    started, code = datetime.now(UTC), Code.now(config)
    # Of several processes the first one converts a GGUF file, and the others find what it made.
    planned, suite = processes.after_first(lambda: make_plan(config, store, until))
    context = Context(planned.config, suite, progress, store.root / "answers")
    stored = processes.from_first(
        lambda: {s.key for s in planned.stages if store.find(s.name, s.key) is not None}
    )
    missing = [stage for stage in planned.stages if stage.key not in stored]
    processes.from_first(lambda: _check_ready(missing, planned.policy, context))
    # Imported now: a file that is edited during the run must not run under a key of the old code.
    for stage in missing:
        SOURCES.load(stage.roots)
    executed: dict[str, Executed] = {}
    failure: BaseException | None = None
    folder = folder_of(config, results)
    try:
        tracking = tracked(
            track,
            _subject(config, planned, folder),
            progress.say,
            quiet=progress.console.quiet,
        )
        with tracking as context.listen:
            # The targets share stages. What the first one built the second finds in the store, so
            # that the first account of a stage says whether this run computed it.
            for target in planned.targets:
                for done in execute(target, context, store):
                    executed.setdefault(done.stage.key, done)
                    context.listen(done.stage.name, read_curve(done.artifact.path))
    except BaseException as error:  # noqa: BLE001 - written down, then raised again
        failure = error
    # A run that failed is a result, too: its record says how far it came and why it ended.
    with signals_wait():
        status = _status(failure, until)
        gathered = Gathered(planned, executed)
        record = make_record(config, gathered, code, Ending(status, started, failure))
        replaces = status == "ok" or _status_in(folder) not in _KEPT.get(status, ("ok",))
        if replaces and processes.is_first():
            write_down(record, gathered, folder, texts=may_show_texts(suite), method=code.method)
    if failure is not None and status in ("interrupted", "failed"):
        raise failure
    return record


def _subject(config: RunConfig, planned: Plan, folder: Path) -> Subject:
    """What trackers are told of a run."""
    flat = flatten(config.model_dump(mode="json"))
    plain = {
        name: value if isinstance(value, bool | int | float | str) else json.dumps(value)
        for name, value in flat.items()
    }
    names = list(dict.fromkeys(stage.name for stage in planned.stages))
    return Subject(folder.name, planned.policy.key, folder, names, plain)


def _check_ready(missing: Sequence[Stage], policy: Stage, context: Context) -> None:
    """Find out now, not after hours: judge or editor lacks its key, the model does not fit."""
    config, names = context.config, {stage.name for stage in missing}
    check_fits(missing, config, context.suite)
    if "judgement" in names:
        judge_maker(config, config.evaluation.judge)(context).ready()
    # The method sft trains no policy, and evaluation.validation=last asks nobody which to keep.
    if policy.name in names and "judge" in policy.config:
        judge_maker(config, config.evaluation.validation_judge)(context).ready()
    if "edits" in names and config.edits.editor is not None:
        editor_maker(config)(context).ready()
    say_notes(context.suite, context.progress.say)


def _status(failure: BaseException | None, until: str | None) -> str:
    """What a record says of how a run ended."""
    if failure is None:
        return "ok" if until is None else "partial"
    import torch

    kinds: dict[str, type[BaseException] | tuple[type[BaseException], ...]] = {
        "diverged": Diverged,
        "out_of_memory": (MemoryError, torch.OutOfMemoryError),
        "interrupted": KeyboardInterrupt,
    }
    return next((name for name, kind in kinds.items() if isinstance(failure, kind)), "failed")


# No failure takes the place of a result, and no part of a run that of a whole one.
_KEPT = {"partial": ("ok", "diverged")}


def _status_in(folder: Path) -> str | None:
    """The status of the record that is in a folder; None: there is none that can be read."""
    try:
        return read_record(folder).status
    except UserError:
        return None
