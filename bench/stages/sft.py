"""The SFT stage, and the SFT model that every later stage stands on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench.config import SFTConfig
from bench.data import Demonstration
from bench.models.backbone import Backbone
from bench.pipeline import Context
from bench.training.sft import ADAPTER, train_sft


def build_sft(context: Context, out: Path, inputs: list[Path]) -> dict[str, Any]:
    """Fine-tune the base; writes the whole model (`sft.full`) or a PEFT adapter."""
    config: SFTConfig = context.config.sft
    backbone = _load_base(context)
    dtype = backbone.model.dtype
    if config.full:
        backbone.model.float()  # in bfloat16 a small learning rate is rounded away
    rows = demonstrations(context)
    with context.progress.task("SFT", total=config.steps) as task:
        counts = train_sft(
            backbone,
            rows,
            config,
            context.config.lora,
            lambda row: task.advance(1, note=f"loss {row['loss']:.3f}"),
        )
    if config.full:
        backbone.model.to(dtype).save_pretrained(str(out / "model"))
        backbone.tokens.tokenizer.save_pretrained(str(out / "model"))
    else:
        backbone.save_adapter(ADAPTER, out / "adapter")
    if n := counts["dropped"]:
        context.progress.say(
            f"SFT: {n} of {len(rows)} demonstrations left out: with their prompt they have more "
            f"than sft.max_length = {config.max_length} tokens, or than the model's context"
        )
    cut = backbone.tokens.cut_prompts(row.prompt for row in rows)
    return counts | {"steps": config.steps} | cut


def demonstrations(context: Context) -> list[Demonstration]:
    """What SFT imitates, and PPO-ptx mixes in."""
    wanted = context.config.sft
    found = context.suite.demonstrations(wanted.demonstrations, wanted.seed)
    return [Demonstration(prompt=prompt, response=response) for prompt, response in found]


def load_sft(context: Context, folder: Path) -> Backbone:
    """The SFT model of an artifact, loaded once a process; without adapters."""
    if folder not in context.backbones:
        context.backbones.clear()
        context.backbones[folder] = _load(context, folder)
    return context.backbones[folder]


def _load(context: Context, folder: Path) -> Backbone:
    if (folder / "model").exists():
        template = context.suite.prompt_template
        return Backbone.load(str(folder / "model"), context.config.model, template)
    backbone = _load_base(context)
    backbone.add_adapter(ADAPTER, folder=folder / "adapter")
    backbone.merge_adapter(ADAPTER)
    return backbone


def _load_base(context: Context) -> Backbone:
    config = context.config.model
    return Backbone.load(
        config.path or context.suite.model_path, config, context.suite.prompt_template
    )
