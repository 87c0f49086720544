"""The record of a run: what its stages left in the store, gathered into one file for people.

A run that failed has a record, too. So each function here takes what is there: a stage that was not
reached has no artifact, and what it would have told is left out.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.config.loading import config_sha
from bench.config.run import RunConfig
from bench.errors import UserError
from bench.models.devices import dtype_name
from bench.pipeline.curve import FILE, read_curve
from bench.pipeline.sources import SOURCES
from bench.pipeline.stage import Executed, Stage
from bench.plugins.entries import BUILT_IN, SESSION
from bench.plugins.registry import METHODS
from bench.records.files import METHOD, SAMPLES, Record, write_record
from bench.records.labels import label, run_id, text
from bench.records.provenance import code_state, hardware, package_versions
from bench.records.schema import texts_sha
from bench.running.plan import Plan
from bench.stages.pairs import EDITS, PREFERENCES, SPANS

# What the record keeps of a stage's statistics on its data.
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


@dataclass(frozen=True)
class Code:
    """The code that a run computes with, as it was when the run began.

    Attributes:
        state: the commit, and whether files differ from it.
        method: the source of a method that only this process knows; None: a package holds it.
    """

    state: dict[str, Any]
    method: str | None

    @classmethod
    def now(cls, config: RunConfig) -> Code:
        """Of a run that begins."""
        entry = METHODS.entry(config.method)
        module = entry.target.partition(":")[0]
        source = SOURCES.text(module) if entry.source == SESSION else None
        sha = {} if source is None else {"method_sha": hashlib.sha256(source.encode()).hexdigest()}
        return cls(code_state() | sha, source)


@dataclass(frozen=True)
class Ending:
    """How a run ended: "ok", "partial", or the name of what `failure` is, with its times."""

    status: str
    started: datetime
    failure: BaseException | None = None

    @property
    def error(self) -> str | None:
        """What the failure says."""
        failure = self.failure
        return None if failure is None else str(failure) or type(failure).__name__


@dataclass(frozen=True)
class Gathered:
    """A plan and what was executed of it, by stage key."""

    plan: Plan
    executed: dict[str, Executed]

    def artifact(self, stage: Stage | None) -> Path | None:
        """The folder of a stage's files; None: there is no such stage, or it was not reached."""
        done = None if stage is None else self.executed.get(stage.key)
        return None if done is None else done.artifact.path

    def curve(self) -> list[dict[str, float]]:
        """What was logged while the policy trained; the method sft trains none."""
        folder = self.artifact(self.plan.trained)
        return [] if folder is None else read_curve(folder)

    def judged(self) -> dict[str, Any]:
        """The judge's account."""
        folder = self.artifact(self.plan.judgement)
        if folder is None:
            return {}
        judged: dict[str, Any] = json.loads((folder / "judgement.json").read_text())
        return judged

    def edit_statistics(self) -> dict[str, Any]:
        """What the stage of the edits counted."""
        edits = next((done for done in self.executed.values() if done.stage.name == "edits"), None)
        found: dict[str, Any] = {} if edits is None else edits.artifact.meta["stats"]
        return found


def make_record(config: RunConfig, gathered: Gathered, code: Code, ending: Ending) -> Record:
    """Everything that a table, a reader or a second run needs to know of a run.

    Args:
        config: as the user gave it. The plan's own names the commit of a model on the hub, which
            would move label and run id with the hub; the record has it as `model_commit`.
        gathered: what was executed.
        code: that computed it.
        ending: how it ended.
    """
    judged = gathered.judged()
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
            "status": ending.status,
            "until": gathered.plan.until,
            "error": ending.error,
            "config": config.model_dump(mode="json") | {"preset": preset},
            "config_sha": config_sha(config),
            "model_commit": model_commit(gathered.plan),
            "code": code.state,
            "packages": package_versions() | _provider(config),
            "hardware": _hardware(config, gathered),
            "data": judged.get("data", {}),
            "reference": judged.get("reference", {"name": "", "sha": ""}),
            "judge": judged.get("judge", _no_judge(config)),
            "editor": gathered.edit_statistics().get("editor"),
            "brought": _brought(config, gathered.plan),
            "stages": [_stage_record(done, gathered.plan) for done in gathered.executed.values()],
            "metrics": judged.get("metrics", {})
            | _edit_metrics(gathered)
            | _reward_metrics(gathered),
            "convergence": _convergence(gathered.curve()),
            "started_at": ending.started.isoformat(timespec="seconds"),
            "finished_at": datetime.now(UTC).isoformat(timespec="seconds"),
        }
    )


def _provider(config: RunConfig) -> dict[str, str]:
    """The distribution of a third party's method, and its version."""
    source = METHODS.entry(config.method).source
    name, _, version = source.rpartition(" ")
    return {} if source in (BUILT_IN, SESSION) else {name: version}


def model_commit(plan: Plan) -> str | None:
    """Of a base model from the hub, the commit that was loaded."""
    bases = (stage.config["base"] for stage in plan.policy.graph() if "base" in stage.config)
    return next((base["revision"] for base in bases if "hub" in base), None)


def _brought(config: RunConfig, plan: Plan) -> dict[str, Any]:
    """The models that take the place of a stage's own, by its name."""
    found = {}
    for stage in plan.stages:
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


def _reward_metrics(gathered: Gathered) -> dict[str, Any]:
    """Of the reward models, and of what training paid with it: the mean of `reward_mass`."""
    metrics: dict[str, Any] = {}
    for stage in gathered.plan.measured:
        if folder := gathered.artifact(stage):
            metrics |= json.loads((folder / "metrics.json").read_text())
    # How much the policy was paid in all, however rewards of both signs cancel in the sum.
    mass = [row["reward_mass"] for row in gathered.curve() if "reward_mass" in row]
    if mass:
        metrics["reward_mass"] = {"mean": sum(mass) / len(mass), "n": len(mass)}
    return metrics


def _edit_metrics(gathered: Gathered) -> dict[str, Any]:
    """How much of a response its edit changed, over those that are changed."""
    changed = gathered.edit_statistics().get("changed", {})
    if not changed:
        return {}
    return {
        "edit_changed_share": {"mean": changed["mean"], "n": changed["n"]},
        "edit_changed_median_share": {"mean": changed["median"], "n": changed["n"]},
    }


def _no_judge(config: RunConfig) -> dict[str, Any]:
    name = config.evaluation.judge
    return {"name": name, "model": None, "template_sha": None, "counts": {}, "cost_usd": 0.0}


def _hardware(config: RunConfig, gathered: Gathered) -> dict[str, Any]:
    """The machine that this run computed on; where all was stored, that of its last stage."""
    done = list(gathered.executed.values())
    if done and all(one.cached for one in done):
        stored: dict[str, Any] | None = done[-1].artifact.stats.get("hardware")
        if stored is not None:  # stages of an older version do not say
            return stored
    import torch

    return hardware(dtype_name(config.model), torch.get_num_threads())


def _stage_record(done: Executed, plan: Plan) -> dict[str, Any]:
    meta = done.artifact.meta
    stats = meta["stats"]
    trained = plan.trained
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


def _convergence(curve: list[dict[str, float]]) -> dict[str, Any] | None:
    """Steps, seconds and tokens to 90 % of the best validation score (the paper's Table 3).

    "90 %" is of the way from the score at step 0 to the best one, on the curve smoothed over three
    validations, so that it means the same whatever the score's zero.
    """
    rows = [row for row in curve if "validation_score" in row]
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


def write_down(
    record: Record, gathered: Gathered, folder: Path, *, texts: bool, method: str | None
) -> None:
    """Write the record, and beside it the files of its stages that people read.

    Args:
        record: of the run.
        gathered: what was executed.
        folder: where to.
        texts: with the samples; some data may not be shown.
        method: the source of a method that no package holds.

    Raises:
        UserError: they cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        judged = gathered.artifact(gathered.plan.judgement)
        for artifact, name in (
            (judged, "items.jsonl"),
            (judged, SAMPLES),
            (gathered.artifact(gathered.plan.trained), FILE),
        ):
            if name == SAMPLES and not texts:
                (folder / name).unlink(missing_ok=True)  # of a run when the suite allowed it
            elif artifact is not None and (artifact / name).exists():
                shutil.copyfile(artifact / name, folder / name)
        if method is None:
            (folder / METHOD).unlink(missing_ok=True)
        else:
            (folder / METHOD).write_bytes(method.encode())
        write_record(record, folder)
    except OSError as error:
        raise UserError(
            f"cannot write the record to {folder}: {error.strerror}; the stages are kept, run "
            "again with --results DIR",
            exit_code=1,
        ) from error
