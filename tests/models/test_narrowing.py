"""The last layer's MLP at what is read: the same numbers from less work."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn
from transformers import (
    BloomConfig,
    BloomForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
    OPTConfig,
    OPTForCausalLM,
)

from bench.models import backbone as module
from bench.models.backbone import Backbone
from bench.models.fast.narrowing import last_mlp, last_mlp_at
from bench.models.layout import Padded
from bench.models.sequences import Sequences
from tests.tiny import LORA, random_batch, stir, tiny_backbone

LLAMA = LlamaConfig(
    vocab_size=50, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2
)
FAMILIES: dict[str, Callable[[], nn.Module]] = {
    "llama": lambda: LlamaForCausalLM(LLAMA),
    "gpt2": lambda: GPT2LMHeadModel(GPT2Config(vocab_size=50, n_embd=16, n_layer=2, n_head=2)),
}
OTHERS: dict[str, Callable[[], nn.Module]] = {
    "bloom": lambda: BloomForCausalLM(
        BloomConfig(vocab_size=50, hidden_size=16, n_layer=2, n_head=2)
    ),
    "mixtral": lambda: MixtralForCausalLM(
        MixtralConfig(
            vocab_size=50, hidden_size=16, intermediate_size=24, num_hidden_layers=2,
            num_attention_heads=2, num_key_value_heads=2, num_local_experts=2,
        )
    ),
    "opt": lambda: OPTForCausalLM(
        OPTConfig(
            vocab_size=50, hidden_size=16, ffn_dim=24, num_hidden_layers=2,
            num_attention_heads=2, word_embed_proj_dim=16,
        )
    ),
}  # fmt: skip


@pytest.mark.parametrize("family", FAMILIES)
def test_the_states_at_the_places_are_what_they_were(family: str) -> None:
    """Places 0, 7 and 11 of two rows of six: the first's first, the second's second and last."""
    torch.manual_seed(0)
    decoder = FAMILIES[family]().eval().base_model
    ids = torch.arange(12).view(2, 6)
    seen: list[torch.Size] = []
    layer = decoder.layers[-1] if family == "llama" else decoder.h[-1]  # type: ignore[index, union-attr]
    layer.mlp.register_forward_hook(lambda _, args, out: seen.append(args[0].shape))
    places = torch.tensor([0, 7, 11])
    plain = decoder(input_ids=ids).last_hidden_state.flatten(0, 1)
    with last_mlp_at(decoder, places, ids.shape):
        narrow = decoder(input_ids=ids).last_hidden_state.flatten(0, 1)
    torch.testing.assert_close(narrow[places], plain[places])
    assert [shape.numel() // 16 for shape in seen] == [12, 3]
    again = decoder(input_ids=ids).last_hidden_state.flatten(0, 1)
    assert torch.equal(again, plain)


@pytest.mark.parametrize("family", OTHERS)
def test_what_is_not_a_plain_mlp_is_left_alone(family: str) -> None:
    torch.manual_seed(0)
    decoder = OTHERS[family]().eval().base_model
    assert last_mlp(decoder) is None
    ids = torch.arange(12).view(2, 6)
    plain = decoder(input_ids=ids).last_hidden_state
    with last_mlp_at(decoder, torch.tensor([0]), ids.shape):
        assert torch.equal(decoder(input_ids=ids).last_hidden_state, plain)


def test_the_hooks_go_when_the_pass_fails() -> None:
    decoder = LlamaForCausalLM(LLAMA).eval().base_model
    ids = torch.arange(6).view(1, 6)
    plain = decoder(input_ids=ids).last_hidden_state
    with pytest.raises(IndexError), last_mlp_at(decoder, torch.tensor([0]), ids.shape):
        decoder(input_ids=ids + 50)
    assert torch.equal(decoder(input_ids=ids).last_hidden_state, plain)


def gradients(model: Backbone, batch: Sequences) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """States that are read, and the gradients of a random weighing of them."""
    read = torch.zeros(len(batch), batch.mask.shape[1] + 1, dtype=torch.bool)
    read[torch.arange(len(batch)), batch.lengths] = True
    read[0, 0] = read[2, 1] = True
    states = model.hidden(batch, "reward", read)[read]
    weights = torch.randn(states.shape, generator=torch.Generator().manual_seed(1))
    parameters = model.parameters("reward")
    return states, list(torch.autograd.grad((states * weights).sum(), parameters))


@pytest.mark.parametrize("packs", [True, False])
def test_states_and_gradients_are_those_of_the_whole_pass(
    packs: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_backbone()
    model.add_adapter("reward", LORA)
    stir(model, "reward")
    batch = random_batch(model)
    if not packs:
        model.lay_out = Padded
    narrow = gradients(model, batch)
    model.lay_out = Padded
    monkeypatch.setattr(module, "last_mlp_at", lambda *args: torch.enable_grad())
    plain = gradients(model, batch)
    torch.testing.assert_close(narrow[0], plain[0], rtol=1e-5, atol=1e-5)
    for got, wanted in zip(narrow[1], plain[1], strict=True):
        assert (got - wanted).norm() <= 1e-5 * wanted.norm()
