"""Which layers an adapter may be put on, and that it is trained where it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from bench.config.run import LoRAConfig, ModelConfig
from bench.errors import UserError
from bench.models.adapters import adapter_parameters, attach
from bench.models.loading import load_outline
from tests.tiny import LORA, tiny_backbone

SMALL = {
    "vocab_size": 300, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64,
}  # fmt: skip


def on(*targets: str) -> LoRAConfig:
    return LORA.model_copy(update={"target_modules": list(targets)})


def llama(**changes: Any) -> Any:
    return LlamaForCausalLM(LlamaConfig(**SMALL | changes))


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (["embed_tokens"], r"model\.embed_tokens is an embedding"),
        (["q_proj", "embed_tokens"], r"model\.embed_tokens is an embedding"),
        (["lm_head"], "lm_head shares its weight with the input embedding"),
        (["q_prj"], r"Target modules .*'q_prj'.* not found .* layers: down_proj, gate_proj"),
        (["q_proj", "v_prj"], r"unknown layer 'v_prj'; did you mean 'v_proj'\? \(one of: down"),
        (["mlp"], "Target module LlamaMLP.* is not supported"),
        (["norm"], "Target module LlamaRMSNorm.* is not supported"),
        ([], "target_modules"),
    ],
)
@pytest.mark.parametrize("outline", [False, True])
def test_what_cannot_be_trained_is_refused_in_a_line(
    targets: list[str], message: str, outline: bool
) -> None:
    with torch.device("meta" if outline else "cpu"):
        model = llama(tie_word_embeddings=True)
    with pytest.raises(UserError, match=rf"^lora\.target_modules.*{message}") as raised:
        attach(model, "policy", on(*targets), outline=outline)
    assert "\n" not in str(raised.value)


def test_a_second_adapter_is_checked_like_the_first() -> None:
    model = attach(llama(tie_word_embeddings=True), "policy", LORA)
    for target in ("embed_tokens", "lm_head", "q_prj"):
        with pytest.raises(UserError, match=r"lora\.target_modules"):
            attach(model, "value", on("q_proj", target))


def test_a_head_of_its_own_may_carry_an_adapter() -> None:
    """Not tied, it is a linear layer like any other: it is trained, and merges to the same."""
    model = attach(llama(tie_word_embeddings=False), "policy", on("lm_head"))
    weights = adapter_parameters(model, "policy")
    assert [tuple(w.shape) for w in weights] == [(4, 32), (300, 4)]
    with torch.no_grad():
        weights[1].normal_()
    ids = torch.arange(8).unsqueeze(0)
    before = model(input_ids=ids).logits
    torch.testing.assert_close(model.merge_and_unload()(input_ids=ids).logits, before)


@pytest.mark.parametrize("family", ["GPT2", "GPTNeoX", "OPT", "Bloom", "Phi3", "Gemma2", "Mixtral"])
def test_all_linear_finds_weights_in_every_family(family: str) -> None:
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(getattr(transformers, f"{family}Config")())
    assert adapter_parameters(attach(model, "policy", LORA, outline=True), "policy")


def test_an_outline_has_the_layers_and_no_weights(tmp_path: Path) -> None:
    backbone = tiny_backbone()
    backbone.model.save_pretrained(tmp_path)
    outline = load_outline(str(tmp_path), ModelConfig())
    shapes = {name: tuple(p.shape) for name, p in outline.named_parameters()}
    assert shapes == {name: tuple(p.shape) for name, p in backbone.model.named_parameters()}
    assert {p.device.type for p in outline.parameters()} == {"meta"}
    with pytest.raises(UserError, match=r"cannot load the model .*model\.path"):
        load_outline(str(tmp_path / "nowhere"), ModelConfig())
