"""Suites of files from end to end: the three methods, real stages, a tiny model, no gold."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from bench.config.loading import load_config, load_suite
from bench.config.section import NoOptions
from bench.editing.acceptance import EditResult
from bench.pipeline.progress import Progress
from bench.pipeline.store import Store
from bench.plugins.capabilities import Edits
from bench.plugins.registry import EDITORS, JUDGES, Entry
from bench.records.labels import folder_of
from bench.running import runner
from tests.suites import (
    test_alpaca_eval,
    test_alpacafarm,
    test_hh_rlhf,
    test_jsonl,
    test_qa_feedback,
)
from tests.suites.filed import Shorter
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
        settings = load_config("testbed", overrides, suite=name, method=method)
        store = Store(tmp_path / "store")
        record = runner.run(settings, store=store, results=tmp_path, progress=Progress())
        assert record.status == "ok"
        assert record.metrics["win_rate"].n == 4
        counts = {stage.name: stage.counts for stage in record.stages}
        assert counts["preferences"]["pairs"] == 12
        if method != "ppo_rlhf":
            assert counts["edits"]["pairs"] == 12
            assert {"rm_accuracy.edited", "longer_wins.edited"} <= set(record.metrics)
        # Texts are passed on by those alone whose licence allows it.
        shown = (folder_of(settings, tmp_path) / "samples.jsonl").exists()
        assert shown == (name in ("qa_feedback", "hh_rlhf"))
        assert ("and no texts (licence: " in "".join(capsys.readouterr())) != shown
