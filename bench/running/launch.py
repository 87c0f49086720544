"""From the options of `python -m bench run` to runs, one by one; side by side in `sweeps.py`."""

from __future__ import annotations

import errno
import json
import os
import re
import shlex
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bench import hub
from bench.config import sweeping
from bench.config.loading import FIELDS, PLUGINS, given_options, load_config, plugin_options
from bench.errors import UserError, unknown
from bench.files import write_json_option
from bench.grid import Grid, words
from bench.models import processes
from bench.plugins import registry

if TYPE_CHECKING:
    from bench.config.run import RunConfig
    from bench.doctor.findings import Finding
    from bench.pipeline.progress import Progress
    from bench.pipeline.store import Store
    from bench.records.schema import Record
    from bench.running.plan import Plan

MOST_SEEDS = 1000  # in one range: more is a slip of the keyboard


def configurations(
    method: str,
    *,
    suite: str | None,
    preset: str,
    seed: int | None,
    seeds: str | None,
    overrides: list[str],
) -> list[RunConfig]:
    """Make one configuration a seed, method and swept value, all checked before a run starts.

    Args:
        method: names, separated by commas.
        suite: instead of the preset's.
        preset: a name, or a file.
        seed: of a single run a method.
        seeds: numbers and ranges, as "0,1,2" or "0-4", instead of `seed`.
        overrides: "path=value", some perhaps with several values (`bench.config.sweeping`).

    Raises:
        UserError: naming the option that is wrong.
    """
    if seed is not None and seeds is not None:
        raise UserError("give --seed or --seeds, not both")
    numbers = [seed] if seeds is None else _seeds(seeds)
    methods = [name.strip() for name in method.split(",") if name.strip()]
    if not methods:
        raise UserError("--method names no method; `python -m bench list` shows them")
    for name in methods:
        registry.METHODS.entry(name)
    methods = list(dict.fromkeys(methods))
    numbers = list(dict.fromkeys(numbers))
    points = sweeping.expand(overrides, preset, methods[0], suite)
    sweeping.check_count(len(points) * len(methods) * len(numbers))
    configs = [
        load_config(preset, point, method=name, suite=suite, seed=number)
        for number in numbers
        for name in methods
        for point in points
    ]
    registry.SUITES.entry(configs[0].suite)
    asked = [config.evaluation for config in configs]
    for judge in {name for one in asked for name in (one.judge, one.validation_judge)}:
        registry.JUDGES.entry(judge)
    for editor in {config.edits.editor for config in configs} - {None}:
        registry.EDITORS.entry(str(editor))
    checked = [_checked(config) for config in configs]
    if len(points) > 1:
        _check_rows(checked[: len(methods) * len(points)])
    return checked


def _check_rows(configs: Sequence[RunConfig]) -> None:
    """Refuse a sweep whose runs, of one seed, would not have a row each."""
    from bench.records.labels import label

    row, runs = Counter(map(label, configs)).most_common(1)[0]
    if runs > 1:
        fields = ", ".join(sweeping.swept(configs)) or "the values"
        raise UserError(
            f"--set {fields}: {runs} values would share the row {row!r}: equal values, paths that "
            "end alike, or what makes no row of its own (docs/training.md); run them one by one, "
            "each with --results DIR"
        )


def _seeds(text: str) -> list[int]:
    """The numbers that "0,1,2", "0-4" or "0-4,7" lists."""
    found: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d{1,18})(?:-(\d{1,18}))?\s*", part)
        if match is None:
            raise UserError(
                f"--seeds {text}: expected whole numbers from 0 on, as in --seeds 0,1,2 or 0-4"
            )
        first, last = int(match[1]), int(match[2] or match[1])
        if not first <= last < first + MOST_SEEDS:
            raise UserError(f"--seeds {text}: {part.strip()} is no range of 1 to {MOST_SEEDS}")
        found += range(first, last + 1)
    return found


def _checked(config: RunConfig) -> RunConfig:
    """The configuration with the plug-ins' options checked.

    An option of method or suite that is given at its default is left out: the same run, the same
    hash.
    """
    for section in PLUGINS:
        if given_options(config, section):  # imports the plug-in: not for the options' defaults
            options = plugin_options(config, section)
            if section in ("reward", "suite"):
                changed = options.model_dump(mode="json", exclude_defaults=True)
                config = config.model_copy(update={FIELDS[section]: changed})
    return config


def check_folder(folder: Path, what: Literal["results", "store"], *, make: bool = True) -> None:
    """Find out before hours are spent that nothing can be written to a folder.

    Args:
        folder: of results, or the store.
        what: which of the two; the option and the variable have its name.
        make: make it, and write to it; else just refuse what can be no folder.

    Raises:
        UserError: it cannot be written.
    """
    try:
        if make:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
        elif not next(path for path in (folder, *folder.parents) if path.exists()).is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
    except OSError as error:
        raise UserError(
            f"cannot write to the {what} folder {folder}: {error.strerror}; nothing was run, "
            f"choose another place with --{what} DIR or BENCH_{what.upper()}"
        ) from error


def check_until(until: str | None) -> None:
    """Refuse what is no stage that a run could end with.

    Raises:
        UserError: naming the nearest.
    """
    if until is None:  # what follows imports torch, before the other options were looked at
        return
    from bench.running.plan import UNTIL, UNTIL_ONCE

    if until not in UNTIL and until not in UNTIL_ONCE:
        raise UserError(f"--until: {unknown('stage', until, UNTIL)}")


@contextmanager
def fetch_named(preset: str, suite: str | None, overrides: Sequence[str]) -> Iterator[None]:
    """Where something of the hub is missing, say which command brings all that a run reads.

    Args:
        preset: of the run, as are the other two.
        suite: instead of the preset's.
        overrides: "path=value".

    Raises:
        UserError: what was missing, and the command.
    """
    try:
        yield
    except hub.NotFetched as error:
        words = ["python", "-m", "bench", "fetch", "--preset", preset]
        words += ["--suite", suite] if suite else []
        words += [word for override in overrides for word in ("--set", override)]
        raise UserError(f"{error}; `{shlex.join(words)}` brings all that the run reads") from error


def title(config: RunConfig, swept: Sequence[str] = ()) -> str:
    """Name a run for people, by its values of the swept fields too."""
    from bench.records.labels import text

    values = [f"{path}={text(sweeping.value_of(config, path))}" for path in swept]
    return " ".join([config.method, *values, f"seed {config.seed}"])


def count(configs: Sequence[RunConfig]) -> str:
    """How many runs there are, and of what: "6 runs: 3 seeds x 2 values of ppo.lr"."""
    different: dict[str, set[Any]] = {
        "methods": {config.method for config in configs},
        "seeds": {config.seed for config in configs},
    }
    for path in sweeping.swept(configs):
        found = {json.dumps(sweeping.value_of(config, path)) for config in configs}
        different[f"values of {path}"] = found
    parts = [f"{len(found)} {what}" for what, found in different.items() if len(found) > 1]
    return f"{len(configs)} runs: {' x '.join(parts)}"


def plan_tables(
    config: RunConfig, store: Store, until: str | None = None, swept: Sequence[str] = ()
) -> tuple[list[Grid], str | None]:
    """Lay out a run's stages, which of them are in the store, and what the others would need.

    Returns:
        The tables: the stages; their memory; their work and about how long it takes; what judge
        and editor would cost, where they ask a model (none is asked). And what to say where a stage
        does not fit this machine, None where all do.
    """
    from bench.running.estimates import run_estimates
    from bench.running.plan import listed, make_plan

    notes: list[str] = []
    planned, suite = make_plan(config, store, until)
    stages = listed(planned, suite, store, notes.append)
    rows = [
        (stage.name, stage.key, "stored" if stage.cached else "to do", stage.summary)
        for stage in stages
    ]
    grid = words(
        f"{title(config, swept)} (store: {store.root})", ["stage", "key", "", "what"], rows
    )
    missing = {stage.name for stage in stages if not stage.cached}
    needs, problem = _needs_tables(planned, suite, missing)
    return [replace(grid, notes=notes), *needs, *run_estimates(planned, suite, store)], problem


def _needs_tables(planned: Plan, suite: Any, missing: set[str]) -> tuple[list[Grid], str | None]:
    """Memory and work of the stages that are not in the store, as far as they are counted."""
    config = planned.config
    if not missing:  # nothing to count, and no torch to import
        return [], None
    from bench.doctor import budget, hours
    from bench.stages.chosen import uses_pairs_of

    names = [name for name in budget.STAGES if name in missing]
    if not names:
        return [], None
    counter = budget.outline_counter(config, suite, planned.paying)
    try:
        counts = [counter.stage(name) for name in names]
    except budget.Uncountable as error:
        return [words(str(error), ["stage"], [])], None
    there = budget.memory_there(counter.device)
    grid = words(
        f"Memory at most, in GiB ({there / budget.GIB:.3g} GiB there, {counter.device.type})",
        ["stage", "when", *budget.PARTS, "all"],
        [(count.stage, count.doing, *count.cells) for count in counts],
    )
    kept = {s.name: s.config["best_of"]["n"] for s in planned.stages if "best_of" in s.config}
    work = hours.work(counter, brings_pairs=uses_pairs_of(suite, config), best_of=kept)
    work += hours.offline_work(counter, kept)
    ordered = sorted(work, key=lambda part: budget.STAGES.index(part.stage))
    parts = [part for part in ordered if part.stage in missing]
    here = [hours.CPU] if counter.device.type == "cpu" else []
    times = [hours.table(parts, [*here, *map(hours.gpu, hours.PEAKS)])] if parts else []
    return [grid, *times], budget.refusal(counter, counts, there)


def examine(
    preset: str,
    suite: str | None,
    overrides: list[str],
    store: Path | None,
    report: Path | None,
    say: Callable[[str], None],
    doing: Callable[[str], AbstractContextManager[None]],
) -> list[Finding]:
    """Run the doctor's checks on the model of a configuration.

    Args:
        preset: a name, or a file.
        suite: instead of the preset's.
        overrides: "path=value".
        store: where a run's stages would go; None: the default.
        report: JSON file to write the findings to.
        say: called with a line for each finding.
        doing: told what is worked at, for as long as it is.

    Raises:
        UserError: an option is wrong, the model cannot be loaded, or `report` cannot be written.
    """
    config = load_config(preset, overrides, suite=suite)
    registry.SUITES.entry(config.suite)
    from bench.pipeline.store import Store

    if report is not None:
        write_json_option(report, "")  # what cannot be written is told before the checks, not after
    stages = Store(store, warn=say)
    with doing("doctor: loading the model"):
        from bench import doctor  # torch with it

        subject = doctor.load_subject(config, stages)
    width = max(map(len, doctor.checks(stages.root)))
    findings = doctor.examine(
        subject, stages.root, lambda finding: say(finding.line(width)), doing=doing
    )
    if report is not None:
        write_json_option(report, json.dumps(_report(config, findings), indent=1) + "\n")
    return findings


def _report(config: RunConfig, findings: Sequence[Finding]) -> dict[str, Any]:
    """The findings with what they were found on."""
    import torch

    from bench.models.devices import dtype_name
    from bench.records.provenance import code_state, hardware, package_versions

    return {
        "ok": all(finding.status != "FAIL" for finding in findings),
        "checks": [asdict(finding) for finding in findings],
        "config": config.model_dump(mode="json"),
        "code": code_state(),
        "packages": package_versions(),
        "hardware": hardware(dtype_name(config.model), torch.get_num_threads()),
    }


def check_plans(configs: Sequence[RunConfig], store: Store, until: str | None) -> None:
    """Plan a run of each row before the first is trained, so that no mistake waits for its turn.

    Seeds differ in no setting that could be one.

    Raises:
        UserError: one cannot be planned.
    """
    from bench.records.labels import label
    from bench.running.plan import make_plan

    for config in {label(config): config for config in configs}.values():
        processes.after_first(partial(make_plan, config, store, until))


def run_here(
    configs: Sequence[RunConfig],
    store: Store,
    results: Path,
    progress: Progress,
    until: str | None = None,
    track: Sequence[str] = (),
) -> list[str]:
    """Run one after the other; returns a line for each that did not end well."""
    failures = []
    swept = sweeping.swept(configs)
    for config in configs:
        name = title(config, swept)
        record = run_one(config, store, results, progress, until, track, name)
        if record.status not in ("ok", "partial"):
            failures.append(f"{name} {record.status}: {record.error}")
    return failures


def run_one(
    config: RunConfig,
    store: Store,
    results: Path,
    progress: Progress,
    until: str | None = None,
    track: Sequence[str] = (),
    name: str | None = None,
) -> Record:
    """Run, as `bench.running.runner.run` does, and say how it began and how it ended.

    `name`: of the run for people; None: its `title`.
    """
    from bench.records.labels import folder_of
    from bench.running.runner import run

    name = name or title(config)
    progress.say(f"{name}: suite {config.suite}, preset {config.preset}, store {store.root}")
    record = run(config, store=store, results=results, progress=progress, until=until, track=track)
    stored = [stage.name for stage in record.stages if stage.cached]
    known = f", {len(stored)} of them stored before ({', '.join(stored)})" if stored else ""
    folder = folder_of(config, results)
    progress.say(f"{name}: {_ended(record)}; {len(record.stages)} stages{known}; {folder}")
    return record


def _ended(record: Record) -> str:
    return f"ended behind {record.until}" if record.status == "partial" else record.status
