"""The preset of the paper's own experiment: complete, sourced, and small enough for one GPU."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
import torch
import yaml

from bench.config.loading import load_config
from bench.config.presets import FOLDER, default_preset
from bench.config.run import RunConfig, flatten
from bench.doctor.budget import COMFORT, GIB, STAGES, Counter, refusal
from bench.records.labels import label
from benchmarks.scale import LENGTHS, PROMPTS
from benchmarks.scale import SEVEN as SHAPE

TEXT = (FOLDER / "paper.yaml").read_text(encoding="utf-8")
BELOW = (FOLDER / "alpacafarm.yaml").read_text(encoding="utf-8")

THERE = 80e9


def keys(text: str) -> set[str]:
    values = yaml.safe_load(text)
    return set(flatten({name: part for name, part in values.items() if isinstance(part, dict)}))


def paper(*overrides: str) -> RunConfig:
    return load_config("paper", list(overrides), method="token_ppo")


def test_with_the_preset_that_it_extends_it_gives_every_value() -> None:
    """Nothing of the experiment is left to a default that was chosen for the testbed."""
    every = keys((FOLDER / "testbed.yaml").read_text(encoding="utf-8"))
    assert keys(TEXT) | keys(BELOW) == every | {"judge.canaries"}
    assert keys(TEXT) & keys(BELOW) == {"reward_model.lr"}, "written twice without need"


def test_every_value_names_one_of_the_sources_listed_above_it() -> None:
    listed = set(re.findall(r"^#   (\w+)  +\S", TEXT, flags=re.MULTILINE))
    named = set()
    for line in TEXT.splitlines():
        if line.startswith("  "):
            match = re.fullmatch(r"  (\w+): (\S+) +# (\w+)(?:: \S.*|; \S.*)?", line)
            assert match, f"no `# source` behind {line!r}"
            assert match[3] in listed, line
            named.add(match[3])
    assert named == listed
    for source in ("0.02", "0.0002"):  # of AlpacaFarm's, for people's preferences
        assert f"--set ppo.kl_coef={source}" in TEXT


def test_its_fast_twin_differs_in_the_value_alone() -> None:
    fast = load_config("paper-fast", [], method="token_ppo")
    whole, other = (flatten(config.model_dump()) for config in (paper(), fast))
    differ = {name for name in whole if whole[name] != other[name]}
    assert differ == {"preset", "ppo.value_model"}
    assert label(fast) == "token_ppo ppo.value_model=shared"


def test_the_experiment_is_the_papers() -> None:
    config = paper()
    assert (config.suite, config.model.path) == ("alpacafarm", "huggyllama/llama-7b")
    assert (config.edits.source, config.evaluation.judge) == ("claude", "claude")
    sft, rm, ppo = config.sft, config.reward_model, config.ppo
    assert (sft.epochs, sft.batch_size, sft.lr_schedule, sft.warmup) == (3, 128, "cosine", 0.03)
    assert (rm.epochs, rm.batch_size, rm.lr_schedule, rm.warmup) == (1, 16, "cosine", 0.03)
    assert (ppo.batch_size, ppo.minibatch_size, ppo.epochs, ppo.steps) == (512, 256, 2, 80)
    assert (ppo.lr, ppo.lr_schedule, ppo.lr_schedule_steps) == (1e-5, "linear", 390)
    assert (ppo.warmup_steps, ppo.adam_eps, ppo.max_grad_norm) == (5, 1e-5, 1.0)
    assert (ppo.kl_coef, ppo.kl_rate, ppo.gamma, ppo.gae_lambda) == (0.0067, 0.0, 1.0, 1.0)
    assert (ppo.clip_range, ppo.value_clip_range, ppo.value_coef) == (0.2, 0.2, 0.1)
    assert (ppo.prompt_max_tokens, ppo.max_new_tokens, ppo.temperature) == (192, 300, 1.0)
    assert (config.evaluation.validation, config.evaluation.temperature) == ("last", 0.7)


def test_rows_of_the_suite_begin_with_the_preset_and_not_with_the_one_of_the_suites_name() -> None:
    assert default_preset("alpacafarm") == "paper"
    assert label(paper()) == "token_ppo"
    assert label(paper("ppo.kl_coef=0.02")) == "token_ppo ppo.kl_coef=0.02"
    others = load_config("alpacafarm", suite="alpacafarm", method="token_ppo")
    assert label(others) != "token_ppo"


@pytest.mark.slow
def test_every_stage_fits_80_gb_by_count() -> None:
    counter = Counter(paper(), SHAPE, LENGTHS, torch.device("cpu"))
    counts = [counter.stage(name) for name in STAGES]
    assert refusal(counter, counts, THERE) is None
    for count in counts:
        assert count.total < COMFORT * THERE, count
        assert 12 * GIB < count.parts["base"] < 13 * GIB


@pytest.mark.parametrize("stage", ["samples", "outputs"])
def test_what_does_not_fit_when_decoded_is_helped_by_decoding_fewer(stage: str) -> None:
    config = paper("model.decode_batch_size=null")
    long = replace(LENGTHS, prompts={**PROMPTS, "test": 700})
    counter = Counter(config, SHAPE, long, torch.device("cpu"))
    said = refusal(counter, [counter.stage(stage)], THERE)
    assert said is not None
    assert said.endswith("set model.decode_batch_size=64")
