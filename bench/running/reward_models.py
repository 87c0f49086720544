"""A reward model measured by itself, whoever trained it: from a name to its record."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.config.loading import load_config, load_suite
from bench.config.presets import default_preset, preset_names
from bench.errors import UserError
from bench.models.devices import dtype_name
from bench.naming import file_name
from bench.pipeline.stage import Context, Executed, execute
from bench.plugins.capabilities import Gold, Notes
from bench.records.files import RECORD
from bench.records.labels import text
from bench.records.provenance import code_state, hardware, package_versions
from bench.records.reward_models import RewardModelRecord
from bench.records.schema import Brought, texts_sha
from bench.running.stored import FinishedRun, stored
from bench.stages.base import with_base
from bench.stages.chosen import uses_pairs_of
from bench.stages.given_rewards import GivenReward, given_reward
from bench.stages.planning import Stages
from bench.stages.reading import pinned

if TYPE_CHECKING:
    from bench.config.run import RunConfig
    from bench.pipeline.progress import Progress
    from bench.pipeline.stage import Stage
    from bench.pipeline.store import Store

TRAINED = "trained by the run"  # the kind of a run's own


@dataclass(frozen=True)
class World:
    """On what a reward model is measured, as the command line says it; None: as it comes.

    Attributes:
        suite: its name.
        preset: with the sizes of pairs and the SFT model.
        seed: of pairs and draws.
        overrides: "path=value".
    """

    suite: str | None = None
    preset: str | None = None
    seed: int | None = None
    overrides: tuple[str, ...] = ()

    def config(self, *more: str) -> RunConfig:
        """The configuration of a run in it, which trains nothing but perhaps the SFT model."""
        if any(one.partition("=")[0].strip() == "reward_model.path" for one in self.overrides):
            raise UserError("--set reward_model.path: the model is the argument of `bench rm`")
        name = self.preset or (_preset_of(self.suite) if self.suite else "testbed")
        overrides = [*self.overrides, *more]
        return load_config(name, overrides, suite=self.suite, seed=self.seed)


@dataclass(frozen=True)
class Asked:
    """How much is measured.

    Attributes:
        responses: whose prefixes are scored, at most.
        draws: N, of which the best of n are chosen.
    """

    responses: int
    draws: int


@dataclass(frozen=True)
class Subject:
    """A reward model in its world.

    Attributes:
        label: of its row.
        model: what it is.
        config: of the stages.
        suite: the world.
        measured: the stages to execute: `rm_evaluation`, `rm_bench`.
        run: id of the run that trained it.
    """

    label: str
    model: Brought
    config: RunConfig
    suite: Any
    measured: tuple[Stage, Stage]
    run: str | None = None

    def name(self, asked: Asked) -> str:
        """Of its record's file: the same model asked the same again replaces it."""
        facts = [self.model.model_dump(), _told(self.config), vars(asked), self.run]
        sha = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
        return f"{file_name(self.label)[:80]}-{sha[:8]}"


def bench_model(
    named: str, folder: Path | None, world: World, asked: Asked, store: Store, progress: Progress
) -> RewardModelRecord:
    """Measure a reward model.

    Args:
        named: a folder, or ID@REVISION of the hub.
        folder: of the run whose reward model it is; None: `named` is one.
        world: on what.
        asked: how much.
        store: has a run's stages, and keeps what is made here.
        progress: where it reports.

    Raises:
        UserError: there is no such model, it cannot be measured there, or a run's stages are not
            in the store.
    """
    subject = (
        _of_run(FinishedRun.read(folder, store), world, asked, store)
        if folder is not None
        else _of_path(named, world, asked, store)
    )
    missing = {
        stage.name
        for target in subject.measured
        for stage in target.graph()
        if store.find(stage.name, stage.key) is None
    }
    if missing:  # rather now than after an SFT model is trained
        from bench.stages.checks import check_data, check_model

        check_data(subject.config, subject.suite, missing)
        check_model(subject.config, subject.suite, missing)
    if isinstance(subject.suite, Notes):
        for line in subject.suite.notes():
            progress.say(line)
    started = datetime.now(UTC)
    context = Context(subject.config, subject.suite, progress, store.root / "answers")
    done: dict[str, Executed] = {}
    for target in subject.measured:
        done |= {one.stage.name: one for one in execute(target, context, store)}
    seconds = (datetime.now(UTC) - started).total_seconds()
    return _record(subject, asked, done, seconds)


def is_run(folder: Path) -> bool:
    """Whether a folder is a run's, and no model's."""
    return (folder / RECORD).is_file()


def _of_run(run: FinishedRun, world: World, asked: Asked, store: Store) -> Subject:
    """The reward model of a run: on its own held-out pairs, or in another world."""
    record, plan = run.record, run.plan
    if plan.rm_evaluation is None:
        raise UserError(
            f"{record.run_id}: the method {record.method} trains no reward model: give a run that "
            "has one"
        )
    model = plan.rm_evaluation.inputs[1]
    run.check_stored(model.graph(), store)
    who = f"{record.label}, seed {record.seed}"
    granularity = model.config["granularity"]
    kind = str(model.config.get("kind", TRAINED))
    about = Brought(name=record.run_id, kind=kind, granularity=granularity, sha=model.key)
    if world.suite not in (None, record.suite):
        sft = plan.rm_evaluation.inputs[0]
        base, folder = (stored(stage, store).path for stage in (sft, model))
        if (folder / "classifier").is_dir():  # it was brought into the run
            folder /= "classifier"
        config = world.config(_set("sft.path", base / "model"), _set("reward_model.path", folder))
        # How a prompt is put to it belongs to the model.
        own = plan.config.model.model_copy(update={"path": None})
        config = config.model_copy(update={"model": own})
        found = _measured(config, asked, store)
        return replace(found, label=who, model=about, run=record.run_id)
    if world != World(suite=world.suite):
        raise UserError(
            f"{record.run_id} is measured on its own held-out pairs of {record.suite}: leave out "
            "--preset, --seed and --set, or name another --suite"
        )
    stages = Stages(plan.config, run.suite)
    return Subject(
        who, about, plan.config, run.suite, _targets(stages, model, asked), record.run_id
    )


def _of_path(path: str, world: World, asked: Asked, store: Store) -> Subject:
    """A reward model that somebody brings; one of ours finds its SFT model in its store."""
    given = given_reward(path)
    named = given.adapter.get("base_model_name_or_path", "")
    config = world.config(_set("reward_model.path", path))
    roots = [store.root, *Path(path).absolute().parents[1:2]] if named else []
    below = next((root / named for root in roots if (root / named).is_dir()), None)
    if below is not None and config.sft.path is None:
        config = world.config(_set("reward_model.path", path), _set("sft.path", below))
    return _measured(config, asked, store)


def _set(field: str, path: Path | str) -> str:
    return f"{field}={json.dumps(str(path))}"


def _measured(config: RunConfig, asked: Asked, store: Store) -> Subject:
    suite = load_suite(config)
    given: GivenReward = given_reward(str(config.reward_model.path))
    unasked = not given.adapter and not isinstance(suite, Gold) and uses_pairs_of(suite, config)
    if unasked and config.sft.path is None:
        # Nobody draws: the base only says what a token is.
        base = config.sft.model_copy(update={"steps": 0})
        config = config.model_copy(update={"sft": base})
    config = pinned(with_base(config, suite, store), suite)
    stages = Stages(config, suite)
    model = stages.reward_model_as_given(given)
    content = model.config["given"]
    by_hash = {"sha": texts_sha([json.dumps(content, sort_keys=True)])}
    about = Brought(
        name=text(given.path),
        kind=given.kind,
        granularity=given.granularity,
        **({"commit": content["revision"]} if "hub" in content else by_hash),
    )
    return Subject(about.name, about, config, suite, _targets(stages, model, asked))


def _targets(stages: Stages, model: Stage, asked: Asked) -> tuple[Stage, Stage]:
    bench = stages.rm_bench(model, responses=asked.responses, draws=asked.draws)
    return stages.rm_evaluation(model), bench


def _preset_of(suite: str) -> str:
    """The one preset that is made for a suite; else the one that its labels start from."""
    usual = default_preset(suite)
    made = [name for name in preset_names() if load_config(name).suite == suite]
    return made[0] if usual not in made and len(made) == 1 else usual


def _told(config: RunConfig) -> dict[str, Any]:
    """The configuration without places of this machine."""
    told = config.model_dump(mode="json")
    told["preset"] = Path(config.preset).name
    for section in ("model", "sft", "reward_model"):
        if told[section]["path"] is not None:
            told[section]["path"] = text(told[section]["path"])
    return told


def _record(
    subject: Subject, asked: Asked, done: dict[str, Executed], seconds: float
) -> RewardModelRecord:
    import torch

    evaluated, found = (
        json.loads((done[name].artifact.path / file).read_text())
        for name, file in (("rm_evaluation", "metrics.json"), ("rm_bench", "bench.json"))
    )
    return RewardModelRecord(
        name=subject.name(asked),
        label=subject.label,
        model=subject.model,
        run=subject.run,
        suite=subject.config.suite,
        seed=subject.config.seed,
        responses=asked.responses,
        draws=asked.draws if found["best_of_n"] else 0,
        config=_told(subject.config),
        code=code_state(),
        packages=package_versions(),
        hardware=hardware(dtype_name(subject.config.model), torch.get_num_threads()),
        data=found["data"],
        metrics=evaluated | found["metrics"],
        best_of_n=found["best_of_n"],
        keys={name: one.stage.key for name, one in done.items()},
        seconds=seconds,
        finished_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )
