"""The families of models that people name, from end to end: all stages, tiny, with real habits."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.config.loading import load_config
from bench.pipeline.progress import Progress
from bench.pipeline.store import Store
from bench.records.files import Record, read_record
from bench.running import runner
from tests.models.families import FAMILIES, save

METHODS = ("ppo_rlhf", "fine_grained_ppo", "token_ppo")
SMALL = [
    "sft.steps=2",
    "sft.demonstrations=16",
    "sft.batch_size=4",
    "preferences.pairs=8",
    "preferences.held_out=4",
    "preferences.max_new_tokens=12",
    "reward_model.batch_size=4",
    "reward_model.normalisation_samples=8",
    "ppo.steps=1",
    "ppo.value_warmup_steps=0",
    "ppo.batch_size=4",
    "ppo.minibatch_size=4",
    "ppo.prompts=8",
    "ppo.max_new_tokens=12",
    "ppo.eval_every=1",
    "evaluation.validation_prompts=2",
    "evaluation.test_prompts=4",
    "evaluation.unseen_prompts=2",
    "evaluation.samples=1",
    "evaluation.max_new_tokens=12",
    "evaluation.probes=2",
]
QUICK = ("llama", "qwen2")  # one of SentencePiece, one of bytes: all methods in the quick tests
RUNS = [(family, "token_ppo") for family in FAMILIES] + [
    pytest.param(family, method, marks=[] if family in QUICK else pytest.mark.slow)
    for family in FAMILIES
    for method in METHODS[:2]
]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the families' folders are, and the store of what is trained from them."""
    root = tmp_path_factory.mktemp("families")
    for family in FAMILIES:
        save(family, root / family)
    return root


def run(folders: Path, results: Path, family: str, method: str, *overrides: str) -> Record:
    model = f"model.path={folders / family}", f"model.template={FAMILIES[family].template}"
    settings = load_config("testbed", [*SMALL, *model, *overrides], method=method)
    store = Store(folders / "store")
    return runner.run(settings, store=store, results=results, progress=Progress())


@pytest.mark.parametrize(("family", "method"), RUNS)
def test_a_family_is_trained_and_judged(
    family: str, method: str, folders: Path, tmp_path: Path
) -> None:
    record = run(folders, tmp_path, family, method)
    assert (record.status, record.error) == ("ok", None)
    assert read_record(tmp_path / "testbed" / record.run_id) == record
    assert record.metrics["win_rate"].n == 4
    assert {"kl", "reward_mass", "rm_accuracy.original", "rm_accuracy.edited"} <= set(
        record.metrics
    )
    counts = {stage.name: stage.counts for stage in record.stages}
    assert counts["sft"]["dropped"] == 0
