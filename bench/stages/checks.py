"""What a configuration and a tokenizer say of a run before anything runs; no weight is read."""

from __future__ import annotations

from typing import Any

from bench.config import RunConfig
from bench.models.adapters import attach
from bench.models.loading import load_outline


def check_model(config: RunConfig, suite: Any, missing: set[str]) -> None:
    """Refuse what a stage would find out after hours.

    Args:
        config: of the run.
        suite: its world.
        missing: names of the stages that are not in the store yet.

    Raises:
        UserError: the model cannot be read, or `lora.target_modules` does not fit it.
    """
    trained = {"reward_model", "ppo"} if config.sft.full else {"sft", "reward_model", "ppo"}
    if not missing & trained:
        return
    outline = load_outline(config.model.path or suite.model_path, config.model)
    attach(outline, "outline", config.lora, outline=True)
