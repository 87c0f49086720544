"""Suites of files from end to end: the three methods, real stages, a tiny model, no gold."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.config.loading import load_config
from bench.pipeline.progress import Progress
from bench.pipeline.store import Store
from bench.plugins.registry import JUDGES, Entry
from bench.running import runner
from tests.suites import test_jsonl
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
SUITES: dict[str, Callable[[Path], dict[str, Any]]] = {"jsonl": jsonl}


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a tiny model; the judge that needs no truth is registered."""
    entry = Entry(Shorter.name, f"{Shorter.__module__}:{Shorter.__name__}", "")
    monkeypatch.setattr(JUDGES, "_builtins", (*JUDGES._builtins, entry))
    backbone = tiny_backbone()
    backbone.model.save_pretrained(tmp_path / "tiny")
    backbone.tokens.tokenizer.save_pretrained(tmp_path / "tiny")
    return tmp_path / "tiny"


@pytest.mark.slow
@pytest.mark.parametrize("name", SUITES)
def test_the_three_methods_run_through_all_stages(name: str, tiny: Path, tmp_path: Path) -> None:
    """Each on the same number of pairs; the edits are the suite's own where it has any."""
    given = SUITES[name](tmp_path / "files")
    overrides = [*SMALL, f"model.path={tiny}", *(f"suite.{k}={v}" for k, v in given.items())]
    said: list[str] = []
    progress = Progress()
    progress.say = said.append  # type: ignore[method-assign]
    for method in ("ppo_rlhf", "fine_grained_ppo", "token_ppo"):
        settings = load_config("testbed", overrides, suite=name, method=method)
        store = Store(tmp_path / "store")
        record = runner.run(settings, store=store, results=tmp_path, progress=progress)
        assert record.status == "ok"
        assert record.metrics["win_rate"].n == 4
        counts = {stage.name: stage.counts for stage in record.stages}
        assert counts["preferences"]["pairs"] == 12
        if method != "ppo_rlhf":
            assert counts["edits"]["pairs"] == 12
            assert "rm_accuracy.edited" in record.metrics
