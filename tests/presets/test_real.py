"""Presets on real texts: they ask for no more than their files hold, with PPO and without."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.config.loading import load_config, load_suite
from bench.stages.checks import SPLITS, check_data

DATA = Path(__file__).parents[3] / "shared" / "data"
FILES = {
    "real-edits": ("suite.feedback", DATA / "qa_feedback" / "dev_feedback_300.json.gz"),
    "real-pairs": (
        "suite.annotations",
        DATA / "alpaca_eval" / "gpt4_preferences_12_models.jsonl.gz",
    ),
}


@pytest.mark.parametrize("preset", FILES)
def test_there_is_as_much_data_as_it_asks_for(preset: str) -> None:
    option, file = FILES[preset]
    if not file.exists():
        pytest.skip(f"{file} is not here")
    config = load_config(preset, [f"{option}={file}"], method="ppo_rlhf")
    stages = {stage for stage, _, _ in SPLITS} | {"sft", "preferences"}
    check_data(config, load_suite(config), stages)
