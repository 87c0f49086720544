"""The testbed on larger bases: its own values but for the base and the rates of a wider model."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bench.config.loading import load_config
from bench.config.presets import FOLDER
from bench.config.run import flatten
from bench.pipeline.built import Built
from bench.records.labels import base_name, folder_of, label
from bench.suites.testbed import base
from bench.suites.testbed.pretraining import SHIPPED, SIZES

LARGER = sorted(SIZES.keys() - {SHIPPED})
ADAPTERS = {"reward_model.lr", "ppo.lr", "ppo.value_lr", "offline.lr"}


@pytest.mark.parametrize("preset", LARGER)
def test_it_differs_from_the_testbed_in_base_and_rates_alone(preset: str) -> None:
    own, usual = (
        flatten(load_config(name, method="token_ppo").model_dump()) for name in (preset, "testbed")
    )
    differ = {key for key in own if own[key] != usual[key]}
    assert differ == {"preset", "model.path", "model.dtype", "sft.lr", *ADAPTERS}
    wider = SIZES[preset].hidden / SIZES[SHIPPED].hidden
    assert own["sft.lr"] == pytest.approx(usual["sft.lr"] / wider)
    for key in ADAPTERS:
        assert own[key] == pytest.approx(usual[key] / wider**0.5, rel=0.07), key


@pytest.mark.parametrize("preset", LARGER)
def test_every_value_names_one_of_the_sources_listed_above_it(preset: str) -> None:
    text = (FOLDER / f"{preset}.yaml").read_text(encoding="utf-8")
    listed = set(re.findall(r"^#   (\w+)  +\S", text, flags=re.MULTILINE))
    named = re.findall(r"^  \w+: \S+ +# (\w+)(?:: \S.*)?$", text, flags=re.MULTILINE)
    assert len(named) == len(re.findall(r"^  \w", text, flags=re.MULTILINE))
    assert set(named) == listed


@pytest.mark.parametrize("preset", LARGER)
def test_its_rows_are_named_by_it_in_a_table_of_their_own(preset: str) -> None:
    config = load_config(preset, method="token_ppo")
    assert label(config) == f"token_ppo [{preset}]"
    assert base_name(config.model_dump()) == preset
    assert folder_of(config, Path("results")).name.startswith(f"token_ppo-{preset}-s0-")


@pytest.mark.parametrize("preset", LARGER)
def test_its_base_is_the_one_that_the_command_builds(preset: str) -> None:
    path = str(load_config(preset).model.path)
    assert Built.named(path) == Built(base.COMMAND, preset)
