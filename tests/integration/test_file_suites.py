"""Suites of files from end to end: the three methods, real stages, a tiny model, no gold."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.config.loading import load_config, load_suite
from bench.config.section import NoOptions
from bench.editing.acceptance import EditResult
from bench.errors import UserError
from bench.pipeline.progress import Progress
from bench.pipeline.store import Store
from bench.plugins.capabilities import Edits
from bench.plugins.entries import Entry
from bench.plugins.registry import EDITORS, JUDGES
from bench.records.files import Record, read_record
from bench.running import runner
from tests.judges.asked import prefers
from tests.llm.server import Server
from tests.suites import (
    test_alpaca_eval,
    test_alpacafarm,
    test_hh_rlhf,
    test_jsonl,
    test_qa_feedback,
)
from tests.suites.filed import Shorter
from tests.suites.rows import write
from tests.tiny import tiny_backbone

SMALL = [
    "sft.steps=1",
    "sft.demonstrations=8",
    "sft.batch_size=4",
    "preferences.pairs=8",
    "preferences.held_out=4",
    "preferences.max_new_tokens=8",
    "reward_model.batch_size=4",
    "reward_model.normalisation_samples=8",
    "ppo.steps=1",
    "ppo.batch_size=4",
    "ppo.minibatch_size=4",
    "ppo.prompts=8",
    "ppo.max_new_tokens=8",
    "ppo.eval_every=1",
    "evaluation.judge=shorter",
    "evaluation.validation_judge=shorter",
    "evaluation.validation_prompts=4",
    "evaluation.test_prompts=4",
    "evaluation.unseen_prompts=2",
    "evaluation.max_new_tokens=8",
]


def jsonl(folder: Path) -> dict[str, Any]:
    return {"config": test_jsonl.write_files(folder)}


# Writes a suite's files into a folder; returns its options.
SUITES: dict[str, Callable[[Path], dict[str, Any]]] = {
    "jsonl": jsonl,
    "qa_feedback": test_qa_feedback.write_files,
    "alpacafarm": test_alpacafarm.write_files,
    "hh_rlhf": test_hh_rlhf.write_files,
    "alpaca_eval": test_alpaca_eval.write_files,
}


class Trimmer:
    """An editor for the suites that bring no edits: deletes the first word."""

    name = "trimmer"
    source = "trimmer"
    Options = NoOptions

    def __init__(self, options: NoOptions, *, answers: Path, say: Callable[[str], None]) -> None:
        """It asks nobody."""

    def ready(self) -> None: ...

    def edit(self, pairs: Sequence[tuple[str, str]]) -> list[EditResult]:
        return [
            EditResult(prompt, original, "ok", proposed=original.partition(" ")[2] or "None.")
            for prompt, original in pairs
        ]

    def about(self) -> dict[str, Any]:
        return {"cost_usd": 0.0}


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a tiny model; a judge that needs no truth and an editor are registered."""
    for registry, plugin in ((JUDGES, Shorter), (EDITORS, Trimmer)):
        entry = Entry(plugin.name, f"{plugin.__module__}:{plugin.__name__}", "")
        monkeypatch.setattr(registry, "_builtins", (*registry._builtins, entry))
    backbone = tiny_backbone()
    backbone.model.save_pretrained(tmp_path / "tiny")
    backbone.tokens.tokenizer.save_pretrained(tmp_path / "tiny")
    return tmp_path / "tiny"


@pytest.mark.slow
@pytest.mark.parametrize("name", SUITES)
def test_the_three_methods_run_through_all_stages(
    name: str, tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each on the same number of pairs; the edits are the suite's own where it has any."""
    given = SUITES[name](tmp_path / "files")
    overrides = [*SMALL, f"model.path={tiny}", *(f"suite.{k}={v}" for k, v in given.items())]
    if not isinstance(load_suite(load_config("testbed", overrides, suite=name)), Edits):
        overrides.append("edits.source=trimmer")
    for method in ("ppo_rlhf", "fine_grained_ppo", "token_ppo"):
        record = run(tmp_path, name, method, overrides)
        assert record.status == "ok"
        assert record.metrics["win_rate"].n == 4
        counts = {stage.name: stage.counts for stage in record.stages}
        assert counts["preferences"]["pairs"] == 12
        if method != "ppo_rlhf":
            assert counts["edits"]["pairs"] == 12
            assert {"rm_accuracy.edited", "longer_wins.edited"} <= set(record.metrics)
        # Texts are passed on by those alone whose licence allows it.
        shown = (tmp_path / name / record.run_id / "samples.jsonl").exists()
        assert shown == (name in ("qa_feedback", "hh_rlhf"))
        assert ("and no texts (licence: " in "".join(capsys.readouterr())) != shown


@pytest.mark.parametrize("name", ["qa_feedback", "jsonl"])
def test_models_of_people_s_error_spans(name: str, tiny: Path, tmp_path: Path) -> None:
    """Of each group that the suite names, or one of all errors; a greeting is one in each y_l.

    Nobody marked a fact in qa_feedback's file here, so the kinds are named.
    """
    given = SUITES[name](tmp_path / "files")
    overrides = [*SMALL, f"model.path={tiny}", *(f"suite.{k}={v}" for k, v in given.items())]
    overrides += ["reward_model.epochs=8", "reward_model.lr=0.01"]
    if name == "qa_feedback":
        overrides.append("reward.kinds={relevance: [Irrelevant]}")
    category = "relevance" if name == "qa_feedback" else "errors"
    record = run(tmp_path, name, "fine_grained_rlhf", overrides)
    assert record.status == "ok"
    counts = {stage.name: stage.counts for stage in record.stages}
    assert counts["spans"] == {"pairs": 12, "unchanged": 0}
    assert counts[f"{category}_model"]["pairs"] == 8
    assert "rm_accuracy.original" in record.metrics
    assert f"rm_detection.{category}" in record.metrics or name == "jsonl"  # one sentence each


def test_a_suite_without_spans_is_refused(tiny: Path, tmp_path: Path) -> None:
    given = SUITES["alpacafarm"](tmp_path / "files")
    overrides = [*SMALL, f"model.path={tiny}", *(f"suite.{k}={v}" for k, v in given.items())]
    with pytest.raises(UserError, match=r"needs error spans or .* the suite alpacafarm does"):
        run(tmp_path, "alpacafarm", "fine_grained_rlhf", overrides)
    assert not (tmp_path / "store").exists()


def run(folder: Path, suite: str, method: str, overrides: list[str]) -> Record:
    settings = load_config("testbed", overrides, suite=suite, method=method)
    store = Store(folder / "store")
    return runner.run(settings, store=store, results=folder, progress=Progress())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["jsonl", "qa_feedback", "alpacafarm", "hh_rlhf"])
def test_a_model_judges_them_and_what_it_said_is_replayed(
    name: str, tiny: Path, tmp_path: Path, server: Server
) -> None:
    """By the rule that the longer output wins, told by a server, then found in a file."""
    given = SUITES[name](tmp_path / "files")
    overrides = [*SMALL, f"model.path={tiny}", *(f"suite.{k}={v}" for k, v in given.items())]
    overrides += ["evaluation.validation=last", "evaluation.samples=1", "evaluation.greedy=false"]
    overrides += ["evaluation.matched_kl=null"]
    server.answer = prefers(lambda a, b: len(a) > len(b))
    asking = ["evaluation.judge=claude", "judge.canaries=0", "judge.max_retries=0"]
    asked = run(tmp_path, name, "ppo_rlhf", overrides + asking)
    assert (asked.status, asked.judge.name) == ("ok", "claude")
    assert asked.judge.cost_usd > 0

    (file,) = tmp_path.glob("store/outputs/*/outputs.json")
    made = json.loads(file.read_text())
    prompts = [*made["prompts"]["test"], *made["prompts"]["unseen"]]
    outputs = [*made["sampled"][0], *made["unseen"]]
    references = load_suite(load_config("testbed", overrides, suite=name)).references(prompts)
    rows = (
        {
            "instruction": prompt,
            "output_1": reference,
            "output_2": output,
            "preference": 1.5 + np.sign(len(output) - len(reference)) / 2,
            "annotator": "a ruler",
        }
        for prompt, reference, output in zip(prompts, references, outputs, strict=True)
    )
    annotations = write(tmp_path / "annotations.json", rows)
    calls = server.calls
    replaying = ["evaluation.judge=replay", f"judge.annotations={annotations}"]
    replayed = run(tmp_path, name, "ppo_rlhf", overrides + replaying)
    assert server.calls == calls
    assert (replayed.status, replayed.judge.name) == ("ok", "replay")
    assert replayed.judge.model == "a ruler"
    for metric in ("win_rate", "win_rate_unseen"):
        assert replayed.metrics[metric].mean == asked.metrics[metric].mean
    for record in (asked, replayed):
        assert read_record(tmp_path / name / record.run_id) == record
