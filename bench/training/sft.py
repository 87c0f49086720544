"""Supervised fine-tuning: imitate demonstrations, loss on the response's tokens only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from bench.data import Demonstration
from bench.errors import UserError
from bench.models.backbone import Backbone
from bench.models.names import SFT
from bench.models.sequences import microbatches
from bench.training.optimisation import Descent, Measured, finite, generator

if TYPE_CHECKING:
    from bench.config.run import LoRAConfig, SFTConfig
    from bench.training.checkpoints import Checkpoints

MAX_GRAD_NORM = 1.0


def train_sft(
    backbone: Backbone,
    demonstrations: Sequence[Demonstration],
    config: SFTConfig,
    lora: LoRAConfig,
    on_step: Callable[[dict[str, float]], None] = lambda row: None,
    checkpoints: Checkpoints | None = None,
) -> dict[str, int]:
    """Fine-tune the base in place (`config.full`) or in an adapter named "sft".

    Args:
        backbone: a base without adapters.
        demonstrations: what to imitate; cycled through until `config.steps` or `config.epochs` are
            done.
        config: budget and learning rate.
        lora: the adapter's shape where `config.full` is off.
        on_step: called with {"step", "loss"} (nats a token) after every step, those of an
            interrupted attempt first.
        checkpoints: what an interrupted attempt left, and where to leave it.

    Returns:
        {"steps"}, {"tokens"} of responses trained on, {"dropped"} demonstrations (see `fitting`).

    Raises:
        Diverged: if the loss is not finite.
        UserError: no demonstration fits `config.max_length` and the model's context.
    """
    rows = fitting(backbone, demonstrations, config)
    parameters = _trainable(backbone, config, lora)
    descent = Descent(
        parameters,
        lr=config.lr,
        lr_schedule=config.lr_schedule,
        warmup=config.warmup,
        steps=step_count(config, len(rows)),
        max_grad_norm=MAX_GRAD_NORM,
        rng=generator("sft", config.seed or 0),
        checkpoints=checkpoints,
        on_step=on_step,
    )
    adapter = None if config.full else SFT
    for index in descent.batches([len(p) + len(r) for p, r in rows], config.batch_size):
        batch = [rows[i] for i in index]
        parts = microbatches([len(p) + len(r) for p, r in batch], config.microbatch_size)
        descent.step(parts, _loss(backbone, batch, adapter))
        descent.tokens += sum(len(response) for _, response in batch)
    backbone.model.requires_grad_(False)
    dropped = len(demonstrations) - len(rows)
    return {"steps": descent.done, "tokens": descent.tokens, "dropped": dropped}


def step_count(config: SFTConfig, rows: int) -> int:
    """Optimiser steps over so many demonstrations; of a pass the last batch may be short."""
    if config.epochs is None:
        return config.steps or 0
    return config.epochs * -(-rows // config.batch_size)


def _loss(
    backbone: Backbone, rows: Sequence[tuple[list[int], list[int]]], adapter: str | None
) -> Callable[[list[int]], tuple[Tensor, Measured]]:
    """A micro-batch's part of the mean loss a token: all divide by the batch's tokens."""
    tokens = sum(len(response) for _, response in rows)

    def loss(part: list[int]) -> tuple[Tensor, Measured]:
        batch = backbone.tokens.join([rows[i][0] for i in part], [rows[i][1] for i in part])
        total = -backbone.logprobs(batch.to(backbone.device), adapter).sum() / tokens
        return finite(total, "the SFT loss"), {"loss": total.detach()}

    return loss


def fitting(
    backbone: Backbone, demonstrations: Sequence[Demonstration], config: SFTConfig
) -> list[tuple[list[int], list[int]]]:
    """The demonstrations' prompt and response ids, those left out that are too long.

    One that is cut would teach to go on where a response ends, or to end in the middle of one.

    Raises:
        UserError: none is left.
    """
    tokens, most = backbone.tokens, backbone.within(config.max_length)
    pairs = [(tokens.prompt(row.prompt), tokens.response(row.response)) for row in demonstrations]
    rows = [pair for pair in pairs if sum(map(len, pair)) <= most]
    if pairs and not rows:
        raise UserError(
            f"none of {len(pairs)} demonstrations fits {most} tokens (sft.max_length and the "
            "model's context): raise sft.max_length, or cut prompts with model.prompt_max_tokens"
        )
    return rows


def _trainable(backbone: Backbone, config: SFTConfig, lora: LoRAConfig) -> list[torch.nn.Parameter]:
    if config.full:
        backbone.model.requires_grad_(True)
        return list(backbone.model.parameters())
    torch.manual_seed(config.seed or 0)
    backbone.add_adapter(SFT, lora)
    return backbone.parameters(SFT)
