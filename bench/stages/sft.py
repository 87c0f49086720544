"""The SFT stage, and the SFT model that every later stage stands on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from bench.models import processes
from bench.models.backbone import Backbone
from bench.models.devices import pick_dtype
from bench.models.fast.sharding import gathered
from bench.models.names import SFT
from bench.stages.drawing import draw_demonstrations
from bench.training.checkpoints import Checkpoints
from bench.training.sft import step_count, train_sft

if TYPE_CHECKING:
    from bench.config.run import SFTConfig
    from bench.pipeline.stage import Context

MODEL = "model"  # folder of the SFT model in its artifact


def build_sft(context: Context, out: Path, inputs: list[Path]) -> dict[str, Any]:
    """Fine-tune the base; writes the whole model, which all later adapters stand on.

    Without `sft.full` the PEFT adapter that was merged into it is written as well.
    """
    config: SFTConfig = context.config.seeded_sft
    backbone = _load_base(context, trains=config.full)
    context.packed = backbone.packs
    dtype = pick_dtype(context.config.model.dtype, backbone.device)
    rows, curve = draw_demonstrations(context.suite, config), context.curve()
    with context.progress.task("SFT", total=step_count(config, len(rows))) as task:

        def on_step(row: dict[str, float]) -> None:
            curve.add(row)
            task.reach(int(row["step"]), note=f"loss {row['loss']:.3f}")

        counts = train_sft(
            backbone,
            rows,
            config,
            context.config.lora,
            on_step,
            Checkpoints(out, context.progress.say),
        )
    curve.write(out)
    if not config.full:
        backbone.save_adapter(SFT, out / "adapter")
    if processes.in_step():  # no process has the whole base
        weights = gathered(backbone.model) if config.full else {}
        if not config.full:
            backbone.drop_adapter(SFT)
        processes.from_first(lambda: _save_whole(context, out, dtype, weights))
    else:
        if not config.full:
            backbone.merge_adapter(SFT)
        backbone.model.to(dtype)
        _save(backbone, out)
    if n := counts["dropped"]:
        context.progress.say(
            f"SFT: {n} of {len(rows)} demonstrations left out: with their prompt they have more "
            f"than sft.max_length = {config.max_length} tokens, or than the model's context"
        )
    cut = backbone.tokens.cut_prompts(row.prompt for row in rows)
    return counts | cut


def build_given_sft(context: Context, out: Path, inputs: list[Path]) -> dict[str, Any]:
    """Take the model that `sft.path` names as it is, or the base where `sft.steps` is 0.

    It is copied, and loaded first: the artifact is whole, and what cannot be sampled from is found
    now.
    """

    def copy() -> bool:
        backbone = _load_base(context)
        _save(backbone, out)
        return backbone.packs

    context.packed = processes.from_first(copy)
    return {}


def load_sft(context: Context, folder: Path) -> Backbone:
    """The SFT model of an artifact, loaded once a process; without adapters."""
    if folder not in context.backbones:
        context.backbones.clear()
        context.backbones[folder] = _load(context, folder)
    backbone = context.backbones[folder]
    context.packed = backbone.packs
    return backbone


def _load(context: Context, folder: Path) -> Backbone:
    config, template = context.config.model, context.suite.prompt_template
    backbone = Backbone.load(str(folder / MODEL), config, template)
    # What PEFT writes into an adapter's configuration: from the store's root, so that a store can
    # be moved and names no machine.
    backbone.model.name_or_path = f"{folder.parent.name}/{folder.name}/{MODEL}"
    return backbone


def _save_whole(
    context: Context, out: Path, dtype: torch.dtype, weights: dict[str, Tensor]
) -> None:
    """The base, loaded once more and whole, with its new weights or the adapter added into it."""
    changes = {"device": "cpu", "dtype": str(dtype).removeprefix("torch.")}
    config = context.config.model.model_copy(update=changes)
    path = config.path or context.suite.model_path
    whole = Backbone.load(path, config, context.suite.prompt_template)
    if weights:
        whole.model.load_state_dict(weights, strict=False)  # strictly, tied weights come twice
    else:
        whole.add_adapter(SFT, folder=out / "adapter")
        whole.merge_adapter(SFT)
    _save(whole, out)


def _save(backbone: Backbone, out: Path) -> None:
    backbone.model.save_pretrained(str(out / MODEL))
    backbone.tokens.tokenizer.save_pretrained(str(out / MODEL))


def _load_base(context: Context, *, trains: bool = False) -> Backbone:
    config, template = context.config.model, context.suite.prompt_template
    return Backbone.load(config.path or context.suite.model_path, config, template, trains=trains)
