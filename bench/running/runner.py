"""From a configuration to a record: plan the stages, execute them, write down what came out."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.config.loading import config_sha, load_suite, plugin_options
from bench.config.run import RunConfig, flatten
from bench.errors import Diverged, UserError
from bench.models import processes
from bench.models.devices import dtype_name
from bench.pipeline.curve import FILE, read_curve
from bench.pipeline.sources import SOURCES
from bench.pipeline.stage import Context, Executed, Stage, execute
from bench.pipeline.store import Store
from bench.plugins.capabilities import Notes, may_show_texts, require
from bench.plugins.entries import BUILT_IN, SESSION
from bench.plugins.registry import METHODS
from bench.records.files import METHOD, SAMPLES, Record, read_record, write_record
from bench.records.labels import folder_of, label, run_id, text
from bench.records.provenance import code_state, hardware, package_versions
from bench.records.schema import texts_sha
from bench.running.signals import signals_wait
from bench.running.tracking import Subject, tracked
from bench.stages.base import with_base
from bench.stages.chosen import editor_maker, judge_maker
from bench.stages.pairs import EDITS, PREFERENCES, SPANS
from bench.stages.planned_best import BestOf
from bench.stages.planning import Stages
from bench.stages.reading import pinned

# of a stage's data, for the record
COUNTS = (
    "pairs",
    "unchanged",
    "changed_too_much",
    "identical",
    "truncated",
    "dropped",
    "cut_prompts",
    "long_prompts",
    "set_aside",
)

if TYPE_CHECKING:
    from bench.pipeline.progress import Progress
    from bench.stages.planned_source import Paid


# What a run can be told to end with (`--until`), in the order of a run. "policy" is what trains it,
# whatever its algorithm; "reward_model" brings what is measured of it along.
UNTIL = (
    "sft",
    "samples",
    "preferences",
    "edits",
    "reward_model",
    "rm_evaluation",
    "policy",
    "outputs",
)
UNTIL_ONCE = {"ppo": "policy"}  # what it was called before there was another algorithm


@dataclass(frozen=True)
class PlannedStage:
    """A line of the plan."""

    name: str
    key: str
    cached: bool
    summary: str


@dataclass(frozen=True)
class Plan:
    """A run's stages: the judgement, which everything hangs on, and what reward models are.

    Attributes:
        policy: who answers: the stage that trains, or the SFT model.
        best_of: what of its answers is kept; None: they are all.
        config: as the stages see it: of a model on the hub, the revision is a commit; of one in a
            GGUF file, the path is that of the folder to which it was converted.
        until: the stage that it ends with; None: with the judgement.
        paid: what pays the policy; None: nothing does.
    """

    method: Any
    judgement: Stage
    rm_evaluation: Stage | None
    policy: Stage
    config: RunConfig
    best_of: BestOf | None = None
    until: str | None = None
    segment_evaluations: Sequence[Stage] = ()
    paid: Paid | None = None

    @property
    def measured(self) -> list[Stage]:
        """What is measured of the reward models: of the run's own, then of those beside it."""
        own = [] if self.rm_evaluation is None else [self.rm_evaluation]
        return [*own, *self.segment_evaluations]

    @property
    def paying(self) -> int:
        """How many models the policy's stage reads beside the SFT model, as a token source does."""
        return max(0, len(self.policy.inputs) - 1)

    @cached_property
    def targets(self) -> list[Stage]:
        """What has to be executed.

        Raises:
            UserError: the method has no such stage as it is to end with.
        """
        if self.until is None:
            return [*self.measured, self.judgement]
        whole = [stage for target in (*self.measured, self.judgement) for stage in target.graph()]
        named: dict[str, tuple[Stage, ...]] = {stage.name: (stage,) for stage in whole}
        if self.best_of is not None:
            named["policy"] = self.best_of.inputs
        elif self.trained is not None:
            named["policy"] = (self.trained,)
        if self.rm_evaluation is not None:
            named["reward_model"] = named["rm_evaluation"] = tuple(self.measured)
        last = named.get(self.until)
        if last is None:
            known = [name for name in UNTIL if name in named]
            raise UserError(
                f"--until {self.until}: the method {self.method.name} has no such stage; it has "
                f"{', '.join(known)}"
            )
        later = UNTIL.index(self.until) > UNTIL.index("rm_evaluation")
        return [*(self.measured if later else []), *last]

    @property
    def trained(self) -> Stage | None:
        """The stage that trains the policy; None: none does, and the SFT model is what answers."""
        return None if self.policy.name == "sft" else self.policy

    @property
    def stages(self) -> list[Stage]:
        """The targets and all that they need, inputs first, each once."""
        return list({stage.key: stage for t in self.targets for stage in t.graph()}.values())


def make_plan(
    config: RunConfig, store: Store | None = None, until: str | None = None
) -> tuple[Plan, Any]:
    """The stages of `config`, and its suite.

    Args:
        config: of the run.
        store: where a base that is a GGUF file is converted to, if it is not there yet; None: the
            default.
        until: one of `UNTIL`, the last stage that is wanted; None: all.

    Raises:
        UserError: for an unknown method, suite or judge, an option that one lacks, or a suite that
            cannot do what method, judge or editor need.
    """
    entry = METHODS.get(config.method)
    suite = load_suite(config)
    method = entry(plugin_options(config, "reward"))
    for needed in getattr(method, "needs", ()):
        mend = "choose another method or suite"
        require(suite, f"the method {config.method}", needed, mend=mend)
    # Before any key is made: a name on the hub may move.
    config = pinned(with_base(config, suite, store or Store()), suite)
    stages = Stages(config, suite)
    made = method.plan(stages)
    best_of = made if isinstance(made, BestOf) else None
    policy = made if best_of is None else best_of.policy
    if not isinstance(policy, Stage):
        raise UserError(
            f"the method {config.method}: its plan gave {made!r} instead of a stage, as "
            "`return stages.ppo(self, reward_model)` does",
            exit_code=1,
        )
    # A method says what makes its policy; what is measured around it is the same for every method.
    outputs = stages.outputs(made)
    reward_model = next((s for s in outputs.graph() if s.name == "reward_model"), None)
    planned = Plan(
        method,
        stages.judgement(outputs, reward_model),
        None if reward_model is None else stages.rm_evaluation(reward_model),
        policy,
        config,
        best_of,
        UNTIL_ONCE.get(until or "", until),
        [stages.segment_evaluation(s) for s in outputs.graph() if "category" in s.config],
        stages.paid(policy),
    )
    return planned, suite


def listed(
    planned: Plan, suite: Any, store: Store, say: Callable[[str], None] = lambda line: None
) -> list[PlannedStage]:
    """What `run` would do, and what of it is in the store.

    Args:
        planned: what `make_plan` gave, as is the suite.
        suite: of the run.
        store: of finished stages.
        say: receives what the suite leaves out of its files, line by line.

    Raises:
        UserError: the data, the model or a prompt does not fit, as `run` would say.
    """
    lines = [
        PlannedStage(s.name, s.key, store.find(s.name, s.key) is not None, s.summary)
        for s in planned.stages
    ]
    stored = {line.key for line in lines if line.cached}
    _check([stage for stage in planned.stages if stage.key not in stored], planned.config, suite)
    _say_notes(suite, say)
    return lines


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
    started, source = datetime.now(UTC), _method_source(config)
    code = code_state() | ({} if source is None else {"method_sha": _sha(source)})
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
        # Not `planned.config`, whose commit would move label and run id with the hub; the record
        # has that commit as `model_commit`.
        record = _record(config, planned, executed, code, started, status, failure)
        replaces = status == "ok" or _status_in(folder) not in _KEPT.get(status, ("ok",))
        if replaces and processes.is_first():
            _write(record, planned, executed, folder, texts=may_show_texts(suite), source=source)
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
    _check(missing, config, context.suite)
    if "judgement" in names:
        judge_maker(config, config.evaluation.judge)(context).ready()
    # The method sft trains no policy, and evaluation.validation=last asks nobody which to keep.
    if policy.name in names and "judge" in policy.config:
        judge_maker(config, config.evaluation.validation_judge)(context).ready()
    if "edits" in names and config.edits.editor is not None:
        editor_maker(config)(context).ready()
    _say_notes(context.suite, context.progress.say)


def _check(missing: Sequence[Stage], config: RunConfig, suite: Any) -> None:
    """Refuse what a stage would find out after hours. What is stored needs no check and no torch.

    Args:
        missing: the stages that are not in the store.
        config: of the run.
        suite: its world.

    Raises:
        UserError: the data, the model or a prompt does not fit, or an option of a plug-in.
    """
    if not missing:
        return
    from bench.stages.checks import check_data, check_model, check_plugins

    names = {stage.name for stage in missing}
    check_plugins(missing)
    check_data(config, suite, names)
    check_model(config, suite, names)


def _say_notes(suite: Any, say: Callable[[str], None]) -> None:
    """What the suite left out of what was read for the checks, and what the record leaves out."""
    for line in suite.notes() if isinstance(suite, Notes) else ():
        say(line)
    if not may_show_texts(suite):
        say(
            f"the suite {suite.name}: records hold numbers and hashes and no texts (licence: "
            f"{suite.licence or 'not said'}); the samples stay in the store"
        )


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


def _record(
    config: RunConfig,
    planned: Plan,
    executed: dict[str, Executed],
    code: dict[str, Any],
    started: datetime,
    status: str,
    failure: BaseException | None,
) -> Record:
    judged = _judged(planned, executed)
    preset = Path(config.preset).name  # of a file just its name: no path of this machine
    return Record.model_validate(
        {
            "run_id": run_id(config),
            "suite": config.suite,
            "method": config.method,
            "label": label(config),
            "paper": METHODS.entry(config.method).paper,
            "preset": preset,
            "seed": config.seed,
            "status": status,
            "until": planned.until,
            "error": None if failure is None else str(failure) or type(failure).__name__,
            "config": config.model_dump(mode="json") | {"preset": preset},
            "config_sha": config_sha(config),
            "model_commit": _model_commit(planned),
            "code": code,
            "packages": package_versions() | _provider(config),
            "hardware": _hardware(config, executed),
            "data": judged.get("data", {}),
            "reference": judged.get("reference", {"name": "", "sha": ""}),
            "judge": judged.get("judge", _no_judge(config)),
            "editor": _editor(executed),
            "brought": _brought(config, planned),
            "stages": [_stage_record(done, planned) for done in executed.values()],
            "metrics": judged.get("metrics", {})
            | _edit_metrics(executed)
            | _reward_metrics(planned, executed),
            "convergence": _convergence(planned, executed),
            "started_at": started.isoformat(timespec="seconds"),
            "finished_at": datetime.now(UTC).isoformat(timespec="seconds"),
        }
    )


def _method_source(config: RunConfig) -> str | None:
    """Of a method that only this process knows."""
    entry = METHODS.entry(config.method)
    return SOURCES.text(entry.target.partition(":")[0]) if entry.source == SESSION else None


def _sha(source: str) -> str:
    return hashlib.sha256(source.encode()).hexdigest()


def _provider(config: RunConfig) -> dict[str, str]:
    """The distribution of a third party's method, and its version."""
    source = METHODS.entry(config.method).source
    name, _, version = source.rpartition(" ")
    return {} if source in (BUILT_IN, SESSION) else {name: version}


def _model_commit(planned: Plan) -> str | None:
    """Of a base model from the hub, the commit that was loaded."""
    bases = (stage.config["base"] for stage in planned.policy.graph() if "base" in stage.config)
    return next((base["revision"] for base in bases if "hub" in base), None)


def _brought(config: RunConfig, planned: Plan) -> dict[str, Any]:
    """The models that take the place of a stage's own, by its name."""
    found = {}
    for stage in planned.stages:
        if "given" not in stage.config or stage.name not in ("sft", "reward_model"):
            continue
        content, kind = stage.config["given"], stage.config.get("kind", "SFT model")
        text_of = json.dumps(content, sort_keys=True)
        named = (
            {"commit": content["revision"]} if "hub" in content else {"sha": texts_sha([text_of])}
        )
        found[stage.name] = {
            "name": text(getattr(config, stage.name).path),
            "kind": kind,
            "granularity": stage.config.get("granularity"),
            **named,
        }
    return found


def _artifact(stage: Stage | None, executed: dict[str, Executed]) -> Path | None:
    done = None if stage is None else executed.get(stage.key)
    return None if done is None else done.artifact.path


def _judged(planned: Plan, executed: dict[str, Executed]) -> dict[str, Any]:
    folder = _artifact(planned.judgement, executed)
    if folder is None:
        return {}
    judged: dict[str, Any] = json.loads((folder / "judgement.json").read_text())
    return judged


def _reward_metrics(planned: Plan, executed: dict[str, Executed]) -> dict[str, Any]:
    """Of the reward models, and of what training paid with it: the mean of `reward_mass`."""
    metrics: dict[str, Any] = {}
    for stage in planned.measured:
        if folder := _artifact(stage, executed):
            metrics |= json.loads((folder / "metrics.json").read_text())
    rows = _curve(planned, executed)  # how much the policy was paid, however it cancels
    if rows:
        mass = [row["reward_mass"] for row in rows if "reward_mass" in row]
        if mass:
            metrics["reward_mass"] = {"mean": sum(mass) / len(mass), "n": len(mass)}
    return metrics


def _edit_metrics(executed: dict[str, Executed]) -> dict[str, Any]:
    """How much of a response its edit changed, over those that are changed."""
    edits = next((done for done in executed.values() if done.stage.name == "edits"), None)
    changed = {} if edits is None else edits.artifact.meta["stats"].get("changed", {})
    if not changed:
        return {}
    return {
        "edit_changed_share": {"mean": changed["mean"], "n": changed["n"]},
        "edit_changed_median_share": {"mean": changed["median"], "n": changed["n"]},
    }


def _no_judge(config: RunConfig) -> dict[str, Any]:
    name = config.evaluation.judge
    return {"name": name, "model": None, "template_sha": None, "counts": {}, "cost_usd": 0.0}


def _editor(executed: dict[str, Executed]) -> dict[str, Any] | None:
    edits = next((done for done in executed.values() if done.stage.name == "edits"), None)
    return None if edits is None else edits.artifact.meta["stats"].get("editor")


def _hardware(config: RunConfig, executed: dict[str, Executed]) -> dict[str, Any]:
    """The machine that this run computed on; where all was stored, that of its last stage."""
    done = list(executed.values())
    if done and all(one.cached for one in done):
        stored: dict[str, Any] | None = done[-1].artifact.stats.get("hardware")
        if stored is not None:  # stages of an older version do not say
            return stored
    import torch

    return hardware(dtype_name(config.model), torch.get_num_threads())


def _stage_record(done: Executed, planned: Plan) -> dict[str, Any]:
    meta = done.artifact.meta
    stats = meta["stats"]
    trained = planned.trained
    return {
        "name": done.stage.name,
        "role": "policy" if trained is not None and done.stage.key == trained.key else None,
        "key": done.stage.key,
        "seconds": meta["seconds"],
        "cached": done.cached,
        "tokens": stats.get("tokens"),
        "steps": stats.get("steps"),
        "counts": {name: stats[name] for name in COUNTS if name in stats},
        "data_sha": _data_sha(meta["files"]),
        "peak_memory_gib": stats.get("peak_memory_gib"),
        "peak_memory_since": stats.get("peak_memory_since"),
        "ran_on": stats.get("ran_on"),
    }


def _data_sha(files: dict[str, dict[str, Any]]) -> str | None:
    """The hash of the pairs, edits or marked errors among a stage's files."""
    made = next((files[name] for name in (PREFERENCES, EDITS, SPANS) if name in files), None)
    return None if made is None else str(made["sha256"])[:16]


def _curve(planned: Plan, executed: dict[str, Executed]) -> list[dict[str, float]]:
    folder = _trained(planned, executed)
    return [] if folder is None else read_curve(folder)


def _trained(planned: Plan, executed: dict[str, Executed]) -> Path | None:
    """Where a policy was trained; None where none was: the SFT model is an input of all."""
    return _artifact(planned.trained, executed)


def _convergence(planned: Plan, executed: dict[str, Executed]) -> dict[str, Any] | None:
    """Steps, seconds and tokens to 90 % of the best validation score (the paper's Table 3).

    "90 %" is of the way from the score at step 0 to the best one, on the curve smoothed over three
    validations, so that it means the same whatever the score's zero.
    """
    rows = [row for row in _curve(planned, executed) if "validation_score" in row]
    if not rows:
        return None
    scores = [row["validation_score"] for row in rows]
    # Over three validations; `if` only names the window, which is never empty.
    smooth = [sum(w) / len(w) for i in range(len(scores)) if (w := scores[max(0, i - 1) : i + 2])]
    best = max(range(len(scores)), key=lambda i: scores[i])
    if max(smooth) <= smooth[0]:  # never better than where it began: nothing to be quick at
        return {"best_step": int(rows[best]["step"])}
    goal = smooth[0] + 0.9 * (max(smooth) - smooth[0])
    first = next(row for row, value in zip(rows, smooth, strict=True) if value >= goal)
    return {
        "best_step": int(rows[best]["step"]),
        "steps_to_90": int(first["step"]),
        "seconds_to_90": first.get("seconds"),
        "tokens_to_90": first.get("tokens"),
    }


def _write(
    record: Record,
    planned: Plan,
    executed: dict[str, Executed],
    folder: Path,
    *,
    texts: bool,
    source: str | None,
) -> None:
    """The record with the files beside it.

    Args:
        record: of the run.
        planned: its stages, as far as they were `executed`.
        executed: by key.
        folder: where to.
        texts: with the samples that people read.
        source: of a method that no package holds.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        judged = _artifact(planned.judgement, executed)
        for artifact, name in (
            (judged, "items.jsonl"),
            (judged, SAMPLES),
            (_trained(planned, executed), FILE),
        ):
            if name == SAMPLES and not texts:
                (folder / name).unlink(missing_ok=True)  # of a run when the suite allowed it
            elif artifact is not None and (artifact / name).exists():
                shutil.copyfile(artifact / name, folder / name)
        if source is None:
            (folder / METHOD).unlink(missing_ok=True)
        else:
            (folder / METHOD).write_bytes(source.encode())
        write_record(record, folder)
    except OSError as error:
        raise UserError(
            f"cannot write the record to {folder}: {error.strerror}; the stages are kept, run "
            "again with --results DIR",
            exit_code=1,
        ) from error
