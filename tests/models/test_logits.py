"""The LM head in chunks: the numbers and gradients of the whole, and never the whole in memory."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import (
    BloomConfig,
    CohereConfig,
    Gemma2Config,
    GPT2Config,
    GPTNeoXConfig,
    GraniteConfig,
    LlamaConfig,
    MixtralConfig,
    OPTConfig,
    Phi3Config,
)
from transformers.models.auto import AutoModelForCausalLM

from bench.models.backbone import Backbone
from bench.models.fast import logits as module
from bench.models.fast.packing import Packed
from bench.models.layout import Padded
from bench.models.rollout import Sampling, draw_responses
from bench.rl import token_logprobs
from tests.tiny import LORA, random_batch, random_rows, stir, tiny_backbone

Patch = pytest.MonkeyPatch
SMALL = {
    "vocab_size": 1024, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64,
    "pad_token_id": 0, "initializer_range": 0.2,
}  # fmt: skip
# Each with what its forward does behind the head, if anything.
FAMILIES: dict[str, Any] = {
    "llama": lambda: LlamaConfig(**SMALL),
    "gpt2": lambda: GPT2Config(vocab_size=1024, n_embd=32, n_layer=2, n_head=4, n_positions=64),
    "neox": lambda: GPTNeoXConfig(**SMALL),
    "phi3": lambda: Phi3Config(**SMALL),
    "opt": lambda: OPTConfig(**SMALL, ffn_dim=64, word_embed_proj_dim=16),
    "bloom": lambda: BloomConfig(vocab_size=1024, hidden_size=32, n_layer=2, n_head=4),
    "mixtral": lambda: MixtralConfig(**SMALL, num_local_experts=4),
    "gemma2, a cap": lambda: Gemma2Config(**SMALL, head_dim=8, final_logit_softcapping=2.0),
    "cohere, a scale": lambda: CohereConfig(**SMALL, logit_scale=0.5),
    "granite, a divisor": lambda: GraniteConfig(**SMALL, logits_scaling=3.0),
}


def backbone_of(family: str) -> Backbone:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(FAMILIES[family]())
    return Backbone(model, tiny_backbone().tokens, torch.device("cpu"))


def in_chunks_of(tokens: int, monkeypatch: Patch, vocabulary: int = 1024) -> None:
    monkeypatch.setattr(module, "LOGITS_AT_ONCE", tokens * vocabulary)


@pytest.mark.parametrize("family", FAMILIES)
def test_log_probabilities_are_those_of_the_models_own_logits(
    family: str, monkeypatch: Patch
) -> None:
    backbone = backbone_of(family)
    batch = random_batch(backbone)
    with torch.no_grad():
        logits = backbone.logits(batch, None)
        found = torch.log_softmax(logits / 0.7, -1).gather(2, batch.responses[..., None])[..., 0]
        in_chunks_of(5, monkeypatch)
        ours = backbone.logprobs(batch, None, 0.7)
    torch.testing.assert_close(ours, found * batch.mask, rtol=1e-4, atol=1e-4)


def with_policy(packs: bool) -> Backbone:
    backbone = tiny_backbone()
    if not packs:
        backbone.lay_out = Padded
    backbone.add_adapter("policy", LORA)
    stir(backbone, "policy")
    return backbone


@pytest.mark.parametrize("packs", [True, False])
def test_gradients_are_those_of_the_whole(packs: bool, monkeypatch: Patch) -> None:
    """Of the adapters and, in full fine-tuning, of the head itself."""
    found = []
    for tokens in (1000, 5):
        in_chunks_of(tokens, monkeypatch)
        backbone = with_policy(packs)
        head = backbone.model.get_output_embeddings().weight.requires_grad_()
        logprobs, hidden = backbone.logprobs_and_hidden(random_batch(backbone), "policy", 0.7)
        loss = logprobs.square().sum() + hidden.square().sum()
        weights = [*backbone.parameters("policy"), head]
        found.append([logprobs, *torch.autograd.grad(loss, weights)])
    for whole, parts in zip(*found, strict=True):
        torch.testing.assert_close(parts, whole, rtol=1e-4, atol=1e-5 * float(whole.abs().max()))


def test_what_fits_into_one_chunk_is_the_whole_models_to_the_bit() -> None:
    """The library's forward of decoder and head in one, at the response tokens."""
    backbone = with_policy(True)
    batch, weights = random_batch(backbone), backbone.parameters("policy")
    ours = backbone.logprobs(batch, "policy", 0.7)
    packed = backbone.lay_out(batch, torch.nn.functional.pad(batch.mask, (0, 1)))
    assert isinstance(packed, Packed)
    keep = packed.numbers[:, :-1][batch.mask]
    logits = backbone.model(**packed.inputs, logits_to_keep=keep).logits
    tokens = batch.responses[batch.mask].unsqueeze(0)
    theirs = token_logprobs(logits.float() / 0.7, tokens)[0]
    assert torch.equal(ours[batch.mask], theirs)
    for got, wanted in zip(
        torch.autograd.grad(ours.sum(), weights),
        torch.autograd.grad(theirs.sum(), weights),
        strict=True,
    ):
        torch.testing.assert_close(got, wanted, rtol=1e-5, atol=1e-6)


class Largest(TorchDispatchMode):
    """The most numbers that any tensor had."""

    numel = 0

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        result = function(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, tuple | list) else (result,):
            if isinstance(tensor, Tensor):
                self.numel = max(self.numel, tensor.numel())
        return result


@pytest.mark.parametrize("packs", [True, False])
def test_logits_of_all_tokens_are_never_held_at_once(packs: bool, monkeypatch: Patch) -> None:
    """Forward and backward; no tensor is larger than a chunk's logits but the embedding itself."""
    backbone = with_policy(packs)
    batch = random_batch(backbone, 24)
    tokens = int(batch.mask.sum())
    embedding = backbone.model.get_input_embeddings().weight.numel()
    assert tokens > 4 * 32  # logits of a quarter would be larger than it
    in_chunks_of(32, monkeypatch)
    with Largest() as largest:
        backbone.logprobs(batch, "policy", 0.7).sum().backward()
    assert largest.numel <= max(embedding, 32 * 1024) < tokens * 1024 / 4


def test_a_forward_that_somebody_else_put_there_stays(monkeypatch: Patch) -> None:
    """As accelerate's hooks do: it is asked for the states, and is there afterwards."""
    backbone, asked = with_policy(True), []
    decoder = backbone.model.get_base_model().model
    plain = decoder.forward

    def other(*args: Any, **options: Any) -> Any:
        asked.append(True)
        return plain(*args, **options)

    monkeypatch.setattr(decoder, "forward", other)
    for _ in range(2):
        backbone.logprobs(random_batch(backbone), "policy")
    assert len(asked) == 2


def test_no_pass_keeps_the_states_of_all_layers() -> None:
    """Where log-probabilities and hidden states are read together, and in generation."""
    backbone, asked = with_policy(True), []
    backbone.model.get_base_model().model.register_forward_pre_hook(
        lambda module, args, options: asked.append(options.get("output_hidden_states")),
        with_kwargs=True,
    )
    backbone.logprobs_and_hidden(random_batch(backbone), "policy")
    prompts, _ = random_rows(3)
    drawn = draw_responses(
        backbone, "policy", prompts, Sampling(4), torch.Generator(), lambda x: x.sum(-1)
    )
    assert len(drawn[0].values) == len(drawn[0].ids)
    assert len(asked) > 4
    assert not any(asked)
