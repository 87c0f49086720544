"""The frozen base, its adapters and what is read off them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from bench.config.run import ModelConfig
from bench.errors import UserError
from bench.models.backbone import Backbone
from tests.tiny import LORA, random_batch, random_rows, stir, tiny_backbone


def plain_logprobs(backbone: Backbone, prompt: list[int], response: list[int]) -> torch.Tensor:
    """The slow path: one row, no padding, no cache, all logits, float64 softmax."""
    ids = torch.tensor([prompt + response])
    logits = backbone.model(input_ids=ids).logits[0].double()
    logprobs = torch.log_softmax(logits, dim=-1)
    start = len(prompt) - 1
    steps = range(len(response))
    return torch.stack([logprobs[start + t, response[t]] for t in steps])


@torch.no_grad()
def test_logprobs_equal_the_unpadded_model() -> None:
    backbone = tiny_backbone()
    prompts, responses = random_rows()
    batch = backbone.tokens.join(prompts, responses)
    logprobs = backbone.logprobs(batch, None)
    for i, (prompt, response) in enumerate(zip(prompts, responses, strict=True)):
        expected = plain_logprobs(backbone, prompt, response)
        torch.testing.assert_close(
            logprobs[i, : len(response)].double(), expected, atol=2e-5, rtol=1e-5
        )
        assert (logprobs[i, len(response) :] == 0).all()


@torch.no_grad()
def test_temperature_divides_the_logits() -> None:
    backbone = tiny_backbone()
    batch = random_batch(backbone)
    logits = backbone.logits(batch, None)
    expected = torch.log_softmax(logits / 0.5, -1).gather(2, batch.responses[..., None])[..., 0]
    torch.testing.assert_close(
        backbone.logprobs(batch, None, temperature=0.5), expected * batch.mask
    )


@torch.no_grad()
def test_a_new_adapter_is_the_reference_exactly() -> None:
    backbone = tiny_backbone()
    batch = random_batch(backbone)
    before = backbone.logprobs(batch, None)
    backbone.add_adapter("policy", LORA)
    assert torch.equal(backbone.logprobs(batch, "policy"), before)
    assert torch.equal(backbone.logprobs(batch, None), before)


@torch.no_grad()
def test_adapters_do_not_touch_each_other_or_the_reference() -> None:
    backbone = tiny_backbone()
    batch = random_batch(backbone)
    before = backbone.logprobs(batch, None)
    backbone.add_adapter("policy", LORA)
    backbone.add_adapter("value", LORA)
    stir(backbone, "policy")
    assert not torch.allclose(backbone.logprobs(batch, "policy"), before, atol=1e-2)
    assert torch.equal(backbone.logprobs(batch, "value"), before)
    assert torch.equal(backbone.logprobs(batch, None), before)


@torch.no_grad()
def test_copy_adapter_copies_and_does_not_tie() -> None:
    backbone = tiny_backbone()
    batch = random_batch(backbone)
    backbone.add_adapter("reward", LORA)
    backbone.add_adapter("value", LORA)
    stir(backbone, "reward")
    backbone.copy_adapter("reward", "value")
    copied = backbone.hidden(batch, "value")
    assert torch.equal(copied, backbone.hidden(batch, "reward"))
    stir(backbone, "reward", seed=2)
    assert torch.equal(backbone.hidden(batch, "value"), copied)


@torch.no_grad()
def test_hidden_columns_surround_the_response() -> None:
    """Column t is the state before token t: it must not see it; column t + 1 must."""
    backbone = tiny_backbone()
    prompt, response = [11, 12, 13], [21, 22, 23]
    one = backbone.hidden(backbone.tokens.join([prompt], [response]), None)
    other = backbone.hidden(backbone.tokens.join([prompt], [[21, 99, 23]]), None)
    assert one.shape[1] == len(response) + 1
    differs = (one - other).abs().amax(dim=2)[0] > 1e-6
    assert differs.tolist() == [False, False, True, True]


@torch.no_grad()
def test_a_saved_adapter_loads_with_peft_alone(tmp_path: Path) -> None:
    backbone = tiny_backbone()
    batch = random_batch(backbone)
    backbone.model.save_pretrained(tmp_path / "base")
    backbone.add_adapter("policy", LORA)
    stir(backbone, "policy")
    backbone.save_adapter("policy", tmp_path / "policy")
    assert (tmp_path / "policy" / "adapter_model.safetensors").exists()
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    model = PeftModel.from_pretrained(model, str(tmp_path / "policy")).eval()
    logits = model(
        input_ids=batch.ids,
        attention_mask=batch.attention.long(),
        position_ids=batch.positions,
    ).logits[:, batch.prompt_width - 1 : -1]
    torch.testing.assert_close(logits[batch.mask], backbone.logits(batch, "policy")[batch.mask])


@torch.no_grad()
def test_loading_and_dropping_adapters(tmp_path: Path) -> None:
    backbone = tiny_backbone()
    batch = random_batch(backbone)
    before = backbone.logprobs(batch, None)
    backbone.add_adapter("policy", LORA)
    stir(backbone, "policy")
    stirred = backbone.logprobs(batch, "policy")
    backbone.save_adapter("policy", tmp_path)
    backbone.drop_adapter("policy")
    assert torch.equal(backbone.logprobs(batch, None), before)
    backbone.add_adapter("again", folder=tmp_path)
    assert torch.equal(backbone.logprobs(batch, "again"), stirred)
    backbone.merge_adapter("again")
    torch.testing.assert_close(backbone.logprobs(batch, None), stirred, atol=1e-4, rtol=1e-4)


def test_a_model_that_is_not_there_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot load the model .*model\.path"):
        Backbone.load(str(tmp_path), ModelConfig(), "{prompt}")


def test_an_unusable_device_is_a_clear_error() -> None:
    from bench.models.devices import pick_device

    with pytest.raises(UserError, match=r"model\.device: nonsense"):
        pick_device("nonsense")


def test_text_survives_the_tokenizer() -> None:
    tokens = tiny_backbone().tokens
    text = "The capital of Australia is Canberra, and its currency is the dollar."
    ids = tokens.response(text)
    assert ids[-1] == tokens.eos_id != tokens.pad_id
    assert tokens.text(ids) == text
    assert "".join(tokens.pieces(ids[:-1])) == text
    spans = tokens.offsets(text)
    assert len(spans) == len(ids) - 1
    assert spans[0][0] == 0
    assert spans[-1][1] == len(text)
