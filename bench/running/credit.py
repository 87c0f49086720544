"""Whether what a finished run's method pays, and learns from, follows what each token was worth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bench.errors import UserError
from bench.models.names import POLICY
from bench.pipeline.stage import Context, Stage, execute
from bench.plugins.capabilities import Gold, Spans, require
from bench.records.files import read_record
from bench.running.rerun import config_of, recorded_config, run_command
from bench.running.runner import Plan, make_plan
from bench.stages.credit import paid_and_learned
from bench.stages.monte_carlo import Continued, read_continued
from bench.stages.planning import Stages
from bench.stages.sft import load_sft
from bench.stats.credit import TokenCredit, Truth
from bench.training.annotations import token_kinds

if TYPE_CHECKING:
    from bench.models.backbone import Backbone
    from bench.pipeline.progress import Progress
    from bench.pipeline.store import Artifact, Store
    from bench.records.files import Record
    from bench.stages.planned_source import Paid


@dataclass(frozen=True)
class Asked:
    """At which tokens credit is measured, and how exactly.

    Attributes:
        tokens: how many, of all responses together.
        positions: of each response.
        continuations: K, of each state.
        seed: of the draws.
        policy: the run's final policy draws responses and continuations, and not its SFT model.
    """

    tokens: int
    positions: int
    continuations: int
    seed: int
    policy: bool


@dataclass(frozen=True)
class _Run:
    """A run as today's code would make it, and the stage that tells what its states are worth."""

    folder: Path
    record: Record
    plan: Plan
    suite: Any
    paid: Paid
    truth: Stage


def measure(
    folders: Sequence[Path], asked: Asked, store: Store, progress: Progress
) -> list[TokenCredit]:
    """Measure credit in finished runs, all at the same tokens unless each policy draws its own.

    Args:
        folders: of the runs.
        asked: at which tokens.
        store: has the runs' stages, and keeps what the states are worth.
        progress: where it reports.

    Returns:
        One for each folder, in order; of a method that pays nothing, only a note.

    Raises:
        UserError: a suite has no gold score, a store lacks a run's stages, the runs have different
            states, or no method pays anything.
    """
    found = [_find(folder, asked, store) for folder in folders]
    runs = [one for one in found if isinstance(one, _Run)]
    if not runs:
        unpaid = [one for one in found if isinstance(one, TokenCredit)]
        raise UserError("; ".join(f"{one.run}: {one.note}" for one in unpaid))
    if not asked.policy:
        _check_same_states(runs)
    for run in runs:
        _check_stored(run, store)
    backbones: dict[Path, Backbone] = {}
    return [
        one if isinstance(one, TokenCredit) else _measured(one, asked, store, progress, backbones)
        for one in found
    ]


def _find(folder: Path, asked: Asked, store: Store) -> _Run | TokenCredit:
    """A run, or why its method has no credit to measure."""
    record = read_record(folder)
    config, _ = recorded_config(record)
    plan, suite = make_plan(config, store)
    require(suite, f"credit of {record.run_id}", Gold, mend="give runs of another suite")
    if plan.paid is None:
        note = f"the method {record.method} pays no token: nothing is drawn and paid in training"
        return TokenCredit(record.run_id, record.method, note=note)
    stages = Stages(plan.config, suite)
    truth = stages.monte_carlo(
        plan.policy if asked.policy else stages.sft(),
        responses=-(-asked.tokens // asked.positions),
        positions=min(asked.positions, asked.tokens),
        continuations=asked.continuations,
        seed=asked.seed,
    )
    return _Run(folder, record, plan, suite, plan.paid, truth)


def _check_same_states(runs: list[_Run]) -> None:
    first = runs[0]
    for run in runs:
        if run.truth.key != first.truth.key:
            raise UserError(
                f"{first.record.run_id} and {run.record.run_id} have no states in common: their "
                "SFT models, test prompts, evaluation.max_new_tokens or ppo.temperature differ; "
                "ask for one at a time"
            )


def _check_stored(run: _Run, store: Store) -> None:
    """Refuse to train here what belongs to the run."""
    needed = [*run.truth.inputs[0].graph(), *run.paid.source.all_stages, run.plan.policy]
    if gone := [s.name for s in needed if store.find(s.name, s.key) is None]:
        raise UserError(
            f"{run.record.run_id}: the store {store.root} does not have its {', '.join(gone)} as "
            f"today's code makes them: {_how_to_make(run, store)}"
        )


def _how_to_make(run: _Run, store: Store) -> str:
    """What brings a run's stages into the store; `rerun` would end where the run ended."""
    record = run.record
    if record.status == "diverged":
        return "it diverged and has no policy to measure, give a run that did not"
    early = record.status == "partial"
    trained = run.plan.policy.name in {stage.name for stage in record.stages}
    if record.status == "ok" or (early and trained):
        return (
            "give the store in which they are with --store, or make them: "
            f"python -m bench rerun {run.folder} --store {store.root}"
        )
    results = run.folder.absolute().parent.parent
    command = run_command(config_of(record), store=store.root, results=results)
    ended = f"it ended behind {record.until}" if early else f"its status is {record.status}"
    return f"{ended}, run it to its end: {command}"


def _measured(
    run: _Run, asked: Asked, store: Store, progress: Progress, backbones: dict[Path, Backbone]
) -> TokenCredit:
    context = Context(run.plan.config, run.suite, progress, store.root / "answers", backbones)
    made = {done.stage.key: done.artifact for done in execute(run.truth, context, store)}
    sft = run.plan.policy.inputs[0]
    backbone = load_sft(context, made[sft.key].path)
    there, rows = backbone.adapters, read_continued(made[run.truth.key].path)
    try:
        return _credit(run, asked, context, backbone, rows, store)
    finally:
        for adapter in backbone.adapters - there:
            backbone.drop_adapter(adapter)


def _credit(
    run: _Run,
    asked: Asked,
    context: Context,
    backbone: Backbone,
    rows: list[Continued],
    store: Store,
) -> TokenCredit:
    sources = [_stored(stage, store).path for stage in run.paid.source.all_stages]
    policy = _stored(run.plan.policy, store)
    adapter = POLICY if asked.policy else None
    shares, advantages, note = paid_and_learned(
        context, backbone, run.paid, sources, policy.path, rows, adapter=adapter, seed=asked.seed
    )
    if policy.stats.get("best_step") == 0:
        note = note or "its chosen checkpoint is step 0: policy and value are as they began"
    return TokenCredit(
        run.record.run_id,
        run.record.method,
        _truth(rows),
        shares,
        advantages,
        _wrong(run.suite, backbone, rows),
        len(rows),
        note,
    )


def _stored(stage: Stage, store: Store) -> Artifact:
    found = store.find(stage.name, stage.key)
    if found is None:  # after `_check_stored`: somebody deletes it meanwhile
        raise UserError(f"the store {store.root} no longer has the {stage.name} of the run")
    return found


def _truth(rows: list[Continued]) -> Truth:
    prompts = list(dict.fromkeys(row.prompt for row in rows))
    places = {prompt: i for i, prompt in enumerate(prompts)}
    before = [row.returns[t] for row in rows for t in row.tokens]
    after = [row.returns[t + 1] for row in rows for t in row.tokens]
    clusters = [places[row.prompt] for row in rows for _ in row.tokens]
    return Truth(np.array(before), np.array(after), clusters)


def _wrong(suite: Any, backbone: Backbone, rows: list[Continued]) -> NDArray[np.bool_] | None:
    """(N,) whether a token is within an error; None where nobody has looked, or cannot."""
    if not isinstance(suite, Spans):
        return None
    found: list[bool] = []
    for row in rows:
        output = backbone.tokens.text(row.ids)
        spans = suite.spans(row.prompt, output)
        if spans is None:
            return None
        kinds = token_kinds(backbone.tokens.offsets(output, row.ids), spans)
        found += [t < len(kinds) and bool(kinds[t]) for t in row.tokens]  # no span is at EOS
    return np.array(found)
