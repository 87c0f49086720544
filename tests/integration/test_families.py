"""The families of models that people name, from end to end: all stages, tiny, with real habits."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import fmean, variance

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


LEARNING = [
    "sft.steps=40",
    "sft.demonstrations=200",
    "sft.batch_size=16",
    "sft.lr=3e-3",
    "preferences.pairs=96",
    "preferences.temperature=1.2",
    "preferences.max_new_tokens=24",
    "reward_model.batch_size=8",
    "reward_model.epochs=3",
    "reward_model.lr=3e-3",
    "reward_model.normalisation_samples=64",
    "ppo.steps=80",
    "ppo.value_warmup_steps=4",
    "ppo.batch_size=24",
    "ppo.minibatch_size=8",
    "ppo.value_model=separate",
    "ppo.prompts=64",
    "ppo.max_new_tokens=24",
    "ppo.missing_eos=subtract",
    "ppo.missing_eos_penalty=0",
    "ppo.eval_every=40",
]


# Found by trying, and not the same for all: with the first, token_ppo hardly moves in 40 steps
# (llama); with the second, policies of sequence rewards drift away (ppo_rlhf on qwen2,
# fine_grained_ppo on llama). What is tested is whether a method learns on a family at all, and no
# method is compared with another.
GENTLE = ("ppo.lr=2e-3", "ppo.kl_coef=0.02")
FREE = ("ppo.lr=4e-3", "ppo.kl_coef=0", "ppo.epochs=2", "ppo.gae_lambda=1")
SETTINGS = {"ppo_rlhf": GENTLE, "fine_grained_ppo": GENTLE, "token_ppo": FREE}


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("family", ["llama", "qwen2", "gpt2"])
@pytest.mark.parametrize("method", METHODS)
def test_a_method_raises_its_own_reward(
    method: str, family: str, folders: Path, tmp_path: Path
) -> None:
    """Over 80 steps, by more than two standard errors of the first five steps' mean and the last
    twenty's: a step has 24 responses, so that its own mean says little.

    Nothing is paid for ending: a reward that rises is the reward model's.
    """
    record = run(folders, tmp_path, family, method, *LEARNING, *SETTINGS[method])
    folder = tmp_path / "testbed" / record.run_id
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    rewards = [row["reward"] for row in rows if "reward" in row]
    assert len(rewards) == 80
    first, last = rewards[:5], rewards[-20:]
    error = (variance(first) / len(first) + variance(last) / len(last)) ** 0.5
    assert fmean(last) - fmean(first) > 2 * error
