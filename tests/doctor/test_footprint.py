"""Passes on tensors without data against the same passes on a CPU, by the profiler's own count."""

from __future__ import annotations

from collections.abc import Callable
from itertools import accumulate
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig

from bench.doctor.footprint import Footprint, Held
from bench.models.backbone import Backbone, base_of
from bench.models.fast import logits as module
from bench.models.rollout import Sampling, draw_responses
from bench.models.sequences import Sequences
from tests.tiny import LORA, tiny_backbone

COMMON = {"max_position_embeddings": 128, "pad_token_id": 0, "eos_token_id": 1}
SHAPES: dict[str, Callable[[], Any]] = {
    "narrow, wide vocabulary": lambda: LlamaConfig(
        vocab_size=4096, hidden_size=32, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=4, **COMMON,
    ),
    "deep, grouped queries": lambda: LlamaConfig(
        vocab_size=1024, hidden_size=96, intermediate_size=256, num_hidden_layers=6,
        num_attention_heads=6, num_key_value_heads=2, **COMMON,
    ),
    "GPT-2": lambda: GPT2Config(
        vocab_size=1024, n_embd=64, n_layer=3, n_head=4, n_positions=128, pad_token_id=0
    ),
}  # fmt: skip
ROWS, PROMPT, NEW = 8, 24, 40
WIDTH = PROMPT + NEW


def real(shape: str, *, recomputes: bool = False) -> Backbone:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(SHAPES[shape]())
    backbone = Backbone(model, tiny_backbone().tokens, torch.device("cpu"))
    backbone.vocabulary = model.config.vocab_size  # not the tokenizer's
    backbone.recomputes = recomputes
    return backbone


def footprint(backbone: Backbone) -> Footprint:
    return Footprint(
        base_of(backbone.model).config, LORA, torch.float32, recomputes=backbone.recomputes
    )


def rows(backbone: Backbone) -> Sequences:
    """Of one length, with unlike prompts: no padding, and nothing is shared."""
    ids = torch.randint(10, 1000, (ROWS, WIDTH), generator=torch.Generator().manual_seed(1))
    return backbone.tokens.join(ids[:, :PROMPT].tolist(), ids[:, PROMPT:].tolist())


def peak(function: Callable[[], object]) -> float:
    """The most bytes that a call adds, by torch's profiler."""
    function()  # the first call allocates what stays
    with torch.profiler.profile(profile_memory=True) as profile:
        function()
    events = profile.profiler.kineto_results.events()
    return max(accumulate(event.nbytes() for event in events if event.name() == "[memory]"))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("recomputes", [False, True])
def test_an_update_is_within_15_per_cent_of_the_measured_peak(shape: str, recomputes: bool) -> None:
    """With the head and without, for LoRA."""
    backbone = real(shape, recomputes=recomputes)
    backbone.add_adapter("policy", LORA)
    batch, weights = rows(backbone), backbone.parameters("policy")
    gradients = sum(p.nbytes for p in weights)

    def logprobs() -> object:
        return torch.autograd.grad(backbone.logprobs(batch, "policy").sum(), weights)

    def hidden() -> object:
        states = backbone.hidden(batch, "policy")[:, 1:]
        return torch.autograd.grad(states.sum(), weights, allow_unused=True)

    counted = footprint(backbone)
    for logits, step in ((True, logprobs), (False, hidden)):
        found = counted.update(ROWS, WIDTH, NEW, logits=logits) + gradients
        assert found == pytest.approx(peak(step), rel=0.15), (shape, logits)


@pytest.mark.parametrize("shape", SHAPES)
def test_full_fine_tuning_is_within_15_per_cent_of_the_measured_peak(shape: str) -> None:
    backbone = real(shape)
    counted = footprint(backbone).update(ROWS, WIDTH, NEW, logits=True, full=True)
    batch = rows(backbone)
    backbone.model.requires_grad_(True)
    for weight in backbone.model.parameters():  # as in the second of several micro-batches
        weight.grad = torch.zeros_like(weight)
    measured = peak(lambda: backbone.logprobs(batch, None).sum().backward())
    assert counted == pytest.approx(measured, rel=0.15)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_rollout_is_within_15_per_cent_of_the_measured_peak(shape: str) -> None:
    """The cache, and beside it the prompts' pass or, with many words, a draw."""
    backbone = real(shape)
    prompts = rows(backbone).ids[:, :PROMPT].tolist()
    sampling = Sampling(NEW, batch_size=ROWS)
    measured = peak(
        lambda: draw_responses(backbone, None, prompts, sampling, torch.Generator().manual_seed(0))
    )
    counted = footprint(backbone)
    cache, reading = counted.generation(ROWS, PROMPT, NEW)
    heads = getattr(backbone.model.config, "num_key_value_heads", 4)
    width = backbone.model.config.hidden_size // backbone.model.config.num_attention_heads
    layers = backbone.model.config.num_hidden_layers
    assert cache == 2 * layers * ROWS * WIDTH * heads * width * 4
    assert cache + max(reading, counted.drawing(ROWS)) == pytest.approx(measured, rel=0.15)


def test_logits_in_chunks_are_counted_as_they_are_held(monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = real("narrow, wide vocabulary")
    whole = footprint(backbone).update(ROWS, WIDTH, NEW, logits=True)
    monkeypatch.setattr(module, "LOGITS_AT_ONCE", 20 * 4096)
    parts = footprint(backbone).update(ROWS, WIDTH, NEW, logits=True)
    assert whole - parts > 2 * 4 * 250 * 4096  # of 320 tokens 20 remain


def test_what_is_no_longer_there_is_not_held() -> None:
    with Held() as held:
        a = torch.ones(100)
        b = a + 1
        view = b[:10]
        a = view * 2
        now = held.now
    assert held.peak == 4 * 210
    assert now == 4 * 110


def test_counting_leaves_the_live_model_s_attention_as_it_is() -> None:
    """The configuration is the model's own: what counts chooses another attention, on a copy."""
    model = tiny_backbone().model
    before = model.config._attn_implementation, model.config.dtype
    Footprint(model.config, LORA, torch.bfloat16, recomputes=False)
    assert (model.config._attn_implementation, model.config.dtype) == before
