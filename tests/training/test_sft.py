"""Supervised fine-tuning."""

from __future__ import annotations

import torch

from bench.config import SFTConfig
from bench.data import Demonstration
from bench.models.names import SFT
from bench.models.rollout import Sampling, sample
from bench.training.sft import train_sft
from tests.tiny import LORA, random_batch, tiny_backbone

ROWS = [
    Demonstration(prompt="Name a colour.", response="Red."),
    Demonstration(prompt="Name a country of the south.", response="Peru is in the south."),
]


def test_full_fine_tuning_learns_the_demonstrations_by_heart() -> None:
    backbone = tiny_backbone(hidden=64)
    losses: list[float] = []
    config = SFTConfig(steps=80, batch_size=2, lr=1e-2)
    tokens = train_sft(backbone, ROWS, config, LORA, lambda row: losses.append(row["loss"]))
    assert losses[-1] < 0.05 < losses[0]
    assert tokens == 80 * sum(len(backbone.tokens.response(row.response)) for row in ROWS)
    prompts = [backbone.tokens.prompt(row.prompt) for row in ROWS]
    drawn = sample(backbone, None, prompts, Sampling(20, 0.0), torch.Generator())
    assert [backbone.tokens.text(r) for r in drawn] == [row.response for row in ROWS]
    assert not any(p.requires_grad for p in backbone.model.parameters())


def test_loss_is_on_the_response_alone() -> None:
    """One step on one row: the loss reported is the mean -log p of the response's tokens."""
    backbone = tiny_backbone()
    row = ROWS[1]
    batch = backbone.tokens.join(
        [backbone.tokens.prompt(row.prompt)], [backbone.tokens.response(row.response)]
    )
    expected = -backbone.logprobs(batch, None).sum().item() / int(batch.mask.sum())
    losses: list[float] = []
    config = SFTConfig(steps=1, batch_size=1)
    train_sft(backbone, [row], config, LORA, lambda r: losses.append(r["loss"]))
    assert abs(losses[0] - expected) < 1e-5


def test_an_adapter_leaves_the_base_alone() -> None:
    backbone = tiny_backbone()
    batch = random_batch(backbone)
    before = backbone.logprobs(batch, None).detach()
    train_sft(backbone, ROWS, SFTConfig(steps=3, batch_size=2, lr=1e-2, full=False), LORA)
    assert torch.equal(backbone.logprobs(batch, None), before)
    assert not torch.equal(backbone.logprobs(batch, SFT).detach(), before)
