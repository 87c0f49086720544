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
from bench.running.stored import FinishedRun, stored
from bench.stages.credit import paid_and_learned
from bench.stages.monte_carlo import Continued, read_continued
from bench.stages.planning import Stages
from bench.stages.sft import load_sft
from bench.stats.credit import TokenCredit, Truth
from bench.training.annotations import token_kinds

if TYPE_CHECKING:
    from bench.models.backbone import Backbone
    from bench.pipeline.progress import Progress
    from bench.pipeline.store import Store
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
class _Run(FinishedRun):
    """A run whose method pays, and the stage that tells what its states are worth."""

    paid: Paid
    truth: Stage


def measure(
    folders: Sequence[Path], asked: Asked, store: Store, progress: Progress
) -> list[TokenCredit]:
    """Measure credit in finished runs, those of a seed at the same tokens.

    Args:
        folders: of the runs.
        asked: at which tokens.
        store: has the runs' stages, and keeps what the states are worth.
        progress: where it reports.

    Returns:
        One for each folder, in order; of a method that pays nothing, only a note.

    Raises:
        UserError: a suite has no gold score, a store lacks a run's stages, runs of one seed have
            different states, or no method pays anything.
    """
    found = [_find(folder, asked, store) for folder in folders]
    runs = [one for one in found if isinstance(one, _Run)]
    if not runs:
        unpaid = [one for one in found if isinstance(one, TokenCredit)]
        raise UserError("; ".join(f"{one.run}: {one.note}" for one in unpaid))
    if not asked.policy:
        _check_same_states(runs)
    for run in runs:
        needed = [*run.truth.inputs[0].graph(), *run.paid.source.all_stages, run.plan.policy]
        run.check_stored(needed, store)
    backbones: dict[Path, Backbone] = {}
    return [
        one if isinstance(one, TokenCredit) else _measured(one, asked, store, progress, backbones)
        for one in found
    ]


def _find(folder: Path, asked: Asked, store: Store) -> _Run | TokenCredit:
    """A run, or why its method has no credit to measure."""
    run = FinishedRun.read(folder, store)
    record, plan, suite = run.record, run.plan, run.suite
    require(suite, f"credit of {record.run_id}", Gold, mend="give runs of another suite")
    if plan.paid is None:
        note = f"the method {record.method} pays no token: nothing is drawn and paid in training"
        return TokenCredit(record.run_id, record.method, record.label, record.seed, note=note)
    stages = Stages(plan.config, suite)
    truth = stages.monte_carlo(
        plan.policy if asked.policy else stages.sft(),
        responses=-(-asked.tokens // asked.positions),
        positions=min(asked.positions, asked.tokens),
        continuations=asked.continuations,
        seed=asked.seed,
    )
    return _Run(**vars(run), paid=plan.paid, truth=truth)


def _check_same_states(runs: list[_Run]) -> None:
    """Runs of one seed are compared with each other; each seed may have an SFT model of its own."""
    first: dict[int, _Run] = {}
    for run in runs:
        other = first.setdefault(run.record.seed, run)
        if run.truth.key != other.truth.key:
            raise UserError(
                f"{other.record.run_id} and {run.record.run_id} have no states in common: their "
                "SFT models, test prompts, evaluation.max_new_tokens or ppo.temperature differ; "
                "ask for one at a time"
            )


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
    sources = [stored(stage, store).path for stage in run.paid.source.all_stages]
    policy = stored(run.plan.policy, store)
    adapter = POLICY if asked.policy else None
    shares, advantages, note = paid_and_learned(
        context, backbone, run.paid, sources, policy.path, rows, adapter=adapter, seed=asked.seed
    )
    if policy.stats.get("best_step") == 0:
        note = note or "its chosen checkpoint is step 0: policy and value are as they began"
    record = run.record
    return TokenCredit(
        record.run_id,
        record.method,
        record.label,
        record.seed,
        _truth(rows),
        shares,
        advantages,
        _wrong(run.suite, backbone, rows),
        len(rows),
        note,
    )


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
