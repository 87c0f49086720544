"""Mixtures of experts and models that carry a state: run with the right numbers, or refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from transformers import AutoModelForCausalLM

from bench.config.run import ModelConfig
from bench.errors import UserError
from bench.models.adapters import attach
from bench.models.backbone import Backbone
from bench.models.loading import load_outline
from bench.models.rollout import Sampling, draw_responses
from bench.models.stateful import carries_state, check_cache, check_decoding
from tests.tiny import LORA, random_rows, stir, stop_often, tiny_backbone

SMALL: dict[str, Any] = {
    "vocab_size": 1024, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 128,
    "eos_token_id": 1, "pad_token_id": 0, "bos_token_id": None, "initializer_range": 0.2,
}  # fmt: skip
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32, "head_dim": 8}
MAMBA = {"mamba_n_heads": 8, "mamba_d_head": 8, "mamba_d_state": 16}
ATTENTION = ["q_proj", "k_proj", "v_proj", "o_proj"]
FAMILIES: dict[str, dict[str, Any]] = {
    "Mixtral": {"num_local_experts": 4},
    "Qwen3Moe": EXPERTS,
    "Qwen3Next": EXPERTS
    | {"num_hidden_layers": 4, "shared_expert_intermediate_size": 32, "linear_num_value_heads": 4}
    | {"linear_num_key_heads": 2, "linear_key_head_dim": 8, "linear_value_head_dim": 8},
    "Bamba": MAMBA | {"mamba_expand": 2, "attn_layer_indices": [1]},
    "FalconH1": MAMBA | {"mamba_d_ssm": 64},
    "Jamba": {"num_experts": 2, "attn_layer_period": 2, "attn_layer_offset": 1},
    "Lfm2": {"full_attn_idxs": [1]},
    "RecurrentGemma": {"num_hidden_layers": 3, "lru_width": 32, "attention_window_size": 128},
}
RUN = [name for name in FAMILIES if name != "RecurrentGemma"]


def model_of(family: str) -> Any:
    torch.manual_seed(0)
    config = getattr(transformers, f"{family}Config")(**SMALL | FAMILIES[family])
    return AutoModelForCausalLM.from_config(config)


@pytest.mark.parametrize("merge", [True, False])
@pytest.mark.parametrize("family", RUN)
def test_rollouts_are_the_policy_s(family: str, merge: bool) -> None:
    """Rows end and leave at unlike steps; what was kept is what each row has alone."""
    backbone = Backbone(model_of(family), tiny_backbone().tokens, torch.device("cpu"))
    stop_often(backbone)
    named = LORA.model_copy(update={"target_modules": ATTENTION})
    backbone.add_adapter("policy", named if family in ("FalconH1", "Jamba") else LORA)
    stir(backbone, "policy")
    prompts, _ = random_rows(10)
    rng = torch.Generator().manual_seed(0)
    drawn = draw_responses(backbone, "policy", prompts, Sampling(20, merge=merge), rng)
    assert len({len(response.ids) for response in drawn}) > 3
    for prompt, response in zip(prompts, drawn, strict=True):
        alone = backbone.tokens.join([prompt], [response.ids])
        expected = backbone.logprobs(alone, "policy")[0].detach()
        torch.testing.assert_close(torch.tensor(response.logprobs), expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("family", ["Mixtral", "Qwen3Moe"])
def test_merged_experts_leave_the_base_as_it_was(family: str) -> None:
    backbone = Backbone(model_of(family), tiny_backbone().tokens, torch.device("cpu"))
    before = {name: p.clone() for name, p in backbone.model.named_parameters()}
    backbone.add_adapter("policy", LORA)
    stir(backbone, "policy")
    with backbone.merged("policy"):
        pass
    backbone.drop_adapter("policy")
    after = dict(backbone.model.named_parameters())
    assert before.keys() == after.keys()
    assert all(torch.equal(after[name], p) for name, p in before.items())


@pytest.mark.parametrize("family", ["Bamba", "Jamba", "Lfm2", "Qwen3Next"])
def test_a_state_that_follows_its_row_passes(family: str) -> None:
    model = model_of(family).eval()
    assert carries_state(model.config)
    check_decoding(model)


def test_a_state_that_takes_padding_for_text_is_refused_when_the_model_is_loaded(
    tmp_path: Path,
) -> None:
    model_of("RecurrentGemma").save_pretrained(tmp_path)
    tiny_backbone().tokens.tokenizer.save_pretrained(tmp_path)
    with pytest.raises(UserError, match="RecurrentGemmaForCausalLM gives other numbers token by"):
        Backbone.load(str(tmp_path), ModelConfig(device="cpu"), "{prompt}")


def test_a_model_without_a_cache_of_keys_is_refused_before_anything_runs(tmp_path: Path) -> None:
    settings = {"vocab_size": 64, "hidden_size": 16, "num_hidden_layers": 1, "state_size": 4}
    transformers.MambaConfig(**settings).save_pretrained(tmp_path)
    with pytest.raises(UserError, match="MambaForCausalLM keeps its state outside past_key_values"):
        load_outline(str(tmp_path), ModelConfig())


@pytest.mark.parametrize(
    ("family", "said"),
    [("Jamba", "weight of dt_proj around its adapter"), ("FalconH1", "'out_proj' is incompatible")],
)
def test_layers_that_are_never_called_carry_no_adapter(family: str, said: str) -> None:
    with pytest.raises(UserError, match=rf"^lora\.target_modules: .*{said}.*q_proj"):
        attach(model_of(family), "policy", LORA)


def test_an_ordinary_model_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_backbone().model
    check_cache(model)
    refuse: Callable[..., Any] = lambda *args, **kwargs: pytest.fail("asked")
    monkeypatch.setattr(model, "forward", refuse)
    check_decoding(model)
