"""The SFT stage, and the SFT model that every later stage stands on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.data import Demonstration
from bench.models.backbone import Backbone
from bench.models.names import SFT
from bench.training.sft import train_sft

if TYPE_CHECKING:
    from bench.config import SFTConfig
    from bench.pipeline import Context


def build_sft(context: Context, out: Path, inputs: list[Path]) -> dict[str, Any]:
    """Fine-tune the base; writes the whole model (`sft.full`) or a PEFT adapter."""
    config: SFTConfig = context.config.sft
    backbone = _load_base(context)
    context.packed = backbone.packs
    dtype = backbone.model.dtype
    if config.full:
        backbone.model.float()  # in bfloat16 a small learning rate is rounded away
    rows = [
        Demonstration(prompt=prompt, response=response)
        for prompt, response in context.suite.demonstrations(config.demonstrations, config.seed)
    ]
    with context.progress.task("SFT", total=config.steps) as task:
        tokens = train_sft(
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
        backbone.save_adapter(SFT, out / "adapter")
    return {"tokens": tokens, "steps": config.steps}


def load_sft(context: Context, folder: Path) -> Backbone:
    """The SFT model of an artifact, loaded once a process; without adapters."""
    if folder not in context.backbones:
        context.backbones.clear()
        context.backbones[folder] = _load(context, folder)
    backbone = context.backbones[folder]
    context.packed = backbone.packs
    return backbone


def _load(context: Context, folder: Path) -> Backbone:
    if (folder / "model").exists():
        template = context.suite.prompt_template
        return Backbone.load(str(folder / "model"), context.config.model, template)
    backbone = _load_base(context)
    backbone.add_adapter(SFT, folder=folder / "adapter")
    backbone.merge_adapter(SFT)
    return backbone


def _load_base(context: Context) -> Backbone:
    config = context.config.model
    return Backbone.load(
        config.path or context.suite.model_path, config, context.suite.prompt_template
    )
