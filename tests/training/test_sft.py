"""Supervised fine-tuning."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError

from bench.config.run import SFTConfig
from bench.data import Demonstration
from bench.errors import UserError
from bench.models.names import SFT
from bench.models.rollout import Sampling, sample
from bench.models.sequences import microbatches
from bench.training.sft import _loss, fitting, train_sft
from tests.tiny import LORA, random_batch, stir, tiny_backbone

ROWS = [
    Demonstration(prompt="Name a colour.", response="Red."),
    Demonstration(prompt="Name a country of the south.", response="Peru is in the south."),
]


def test_full_fine_tuning_learns_the_demonstrations_by_heart() -> None:
    backbone = tiny_backbone(hidden=64)
    losses: list[float] = []
    config = SFTConfig(steps=80, batch_size=2, lr=1e-2)
    counts = train_sft(backbone, ROWS, config, LORA, lambda row: losses.append(row["loss"]))
    assert losses[-1] < 0.05 < losses[0]
    tokens = 80 * sum(len(backbone.tokens.response(row.response)) for row in ROWS)
    assert counts == {"steps": 80, "tokens": tokens, "dropped": 0}
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


def test_a_demonstration_that_is_too_long_is_left_out_and_counted() -> None:
    """Cut, it would lose its EOS: the model would learn to go on where a response ends."""
    backbone = tiny_backbone()
    tokens = backbone.tokens
    pairs = [(tokens.prompt(row.prompt), tokens.response(row.response)) for row in ROWS]
    lengths = [sum(map(len, pair)) for pair in pairs]
    assert lengths[0] < lengths[1]
    rows = fitting(backbone, ROWS, SFTConfig(max_length=lengths[1] - 1))
    assert rows == pairs[:1]
    assert rows[0][1][-1] == backbone.tokens.eos_id
    assert len(fitting(backbone, ROWS, SFTConfig(max_length=lengths[1]))) == 2
    config = SFTConfig(steps=1, batch_size=2, max_length=lengths[1] - 1)
    counts = train_sft(backbone, ROWS, config, LORA)
    assert counts == {"steps": 1, "tokens": len(rows[0][1]), "dropped": 1}


def test_demonstrations_must_fit_the_context_too() -> None:
    backbone = tiny_backbone()
    config = SFTConfig(max_length=256)
    tokens = backbone.tokens
    backbone.context = len(tokens.prompt(ROWS[0].prompt)) + len(tokens.response(ROWS[0].response))
    assert len(fitting(backbone, ROWS, config)) == 1
    backbone.context = 4
    with pytest.raises(UserError, match="none of 2 demonstrations fits 4 tokens"):
        train_sft(backbone, ROWS, config, LORA)


def test_an_adapter_leaves_the_base_alone() -> None:
    backbone = tiny_backbone()
    batch = random_batch(backbone)
    before = backbone.logprobs(batch, None).detach()
    train_sft(backbone, ROWS, SFTConfig(steps=3, batch_size=2, lr=1e-2, full=False), LORA)
    assert torch.equal(backbone.logprobs(batch, None), before)
    assert not torch.equal(backbone.logprobs(batch, SFT).detach(), before)


@pytest.mark.parametrize("full", [True, False])
def test_micro_batches_make_the_steps_of_the_whole_batch(full: bool) -> None:
    """Of 3 rows with unlike numbers of tokens: each token weighs as much, however they are cut."""
    rows = [*ROWS, Demonstration(prompt="Go.", response="No, not now, and not here either.")]
    found = []
    for size in (None, 3, 2, 1):
        backbone, losses = tiny_backbone(), []
        config = SFTConfig(steps=3, batch_size=3, lr=1e-2, full=full, microbatch_size=size)
        counts = train_sft(backbone, rows, config, LORA, lambda row: losses.append(row["loss"]))  # noqa: B023
        weights = backbone.model.parameters() if full else backbone.parameters(SFT)
        found.append((counts["tokens"], losses, [p.detach() for p in weights]))
    whole, same, *parts = found
    assert whole[1] == same[1]
    for tokens, losses, weights in parts:
        assert tokens == whole[0]
        assert losses == pytest.approx(whole[1], rel=1e-4)
        for got, wanted in zip(weights, whole[2], strict=True):
            torch.testing.assert_close(got, wanted, rtol=1e-2, atol=2e-4)


@pytest.mark.parametrize("size", [1, 2])
def test_micro_batches_gradients_add_up(size: int) -> None:
    rows = fitting(
        tiny_backbone(), ROWS * 2 + [Demonstration(prompt="Go.", response="Not now.")], SFTConfig()
    )
    found = []
    for microbatch in (None, size):
        backbone = tiny_backbone()
        backbone.add_adapter(SFT, LORA)
        stir(backbone, SFT)
        loss = _loss(backbone, rows, SFT)
        for part in microbatches([len(p) + len(r) for p, r in rows], microbatch):
            loss(part)[0].backward()
        found.append([p.grad for p in backbone.parameters(SFT)])
    for whole, parts in zip(*found, strict=True):
        torch.testing.assert_close(parts, whole, rtol=1e-4, atol=1e-5 * float(whole.abs().max()))


def test_epochs_are_passes_over_what_is_not_left_out() -> None:
    """Three rows that fit, two a step: 2 steps a pass, and each row's tokens once a pass."""
    backbone = tiny_backbone()
    rows = [*ROWS, Demonstration(prompt="Go.", response="Not now.")]
    longest = Demonstration(prompt="Name all.", response="Peru, " * 80)
    config = SFTConfig(steps=None, epochs=3, batch_size=2)
    counts = train_sft(backbone, [*rows, longest], config, LORA)
    tokens = sum(len(backbone.tokens.response(row.response)) for row in rows)
    assert counts == {"steps": 6, "tokens": 3 * tokens, "dropped": 1}


@pytest.mark.parametrize("budget", [{"epochs": 2}, {"steps": None}])
def test_steps_or_epochs_and_not_both(budget: dict[str, int | None]) -> None:
    with pytest.raises(ValidationError, match="give one of steps and epochs"):
        SFTConfig(**budget)


def test_schedule_and_warm_up_decide_the_rates() -> None:
    """A rate that stays at its peak moves weights further than one that falls; warm-up less far."""
    losses: dict[str, float] = {}
    for name, options in {
        "usual": {},
        "constant": {"lr_schedule": "constant"},
        "slow": {"warmup": 0.9},
    }.items():
        seen: list[float] = []
        config = SFTConfig(steps=12, batch_size=2, lr=2e-3, **options)
        train_sft(tiny_backbone(), ROWS, config, LORA, lambda row, to=seen: to.append(row["loss"]))
        losses[name] = seen[-1]
    assert losses["constant"] < losses["usual"] < losses["slow"]
