"""Layers computed again in the backward: the same bits, less memory; packed, padded, with LoRA."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from bench.config.run import ModelConfig
from bench.errors import UserError
from bench.models import backbone as module
from bench.models.backbone import Backbone
from bench.models.fast.checkpointing import layers_of
from bench.models.layout import Padded
from bench.suites.testbed.suite import Testbed
from tests.tiny import LORA, random_batch, stir, tiny_backbone


def measured(recomputes: bool, packs: bool, full: bool, dtype: torch.dtype) -> list[Tensor]:
    """A reward model's and a policy's outputs, with the gradients of all that is trained."""
    backbone = tiny_backbone()
    backbone.recomputes = recomputes
    if not packs:
        backbone.lay_out = Padded
    backbone.model.to(dtype)
    adapter = None if full else "policy"
    if full:
        backbone.model.requires_grad_(True)
        weights = list(backbone.model.parameters())
    else:
        backbone.add_adapter("policy", LORA)
        backbone.add_adapter("other", LORA)
        stir(backbone, "policy")
        stir(backbone, "other", seed=9)
        weights = backbone.parameters("policy")
    batch = random_batch(backbone)
    last = torch.nn.functional.pad(batch.mask, (0, 1)) & False
    last[torch.arange(len(batch)), batch.lengths] = True  # where a sequence model reads R
    states = backbone.hidden(batch, adapter, last)[last]
    logprobs, hidden = backbone.logprobs_and_hidden(batch, adapter)
    loss = states.float().square().sum() + logprobs.square().sum() + hidden.float().sum()
    if not full:
        with torch.no_grad():
            backbone.logprobs(batch, "other")  # another adapter is active when the backward runs
        backbone.parameters("policy")[0].requires_grad_(True)
        for weight in weights:
            weight.requires_grad_(True)
    return [states.detach(), logprobs.detach(), *torch.autograd.grad(loss, weights)]


@pytest.mark.parametrize("packs", [True, False])
@pytest.mark.parametrize("full", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_numbers_and_gradients_are_equal_to_the_bit(
    packs: bool, full: bool, dtype: torch.dtype
) -> None:
    for got, wanted in zip(
        measured(True, packs, full, dtype), measured(False, packs, full, dtype), strict=True
    ):
        assert wanted.abs().max() > 0
        assert torch.equal(got, wanted)


def kept(backbone: Backbone) -> int:
    """Bytes that a pass keeps for its backward."""
    batch, saved = random_batch(backbone, 16), {}

    def keep(tensor: Tensor) -> Tensor:
        saved[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        backbone.hidden(batch, "policy").sum()
    return sum(saved.values())


def test_only_the_layers_inputs_are_kept() -> None:
    backbone = tiny_backbone(hidden=64)
    backbone.add_adapter("policy", LORA)
    whole = kept(backbone)
    backbone.recomputes = True
    assert kept(backbone) < whole / 4
    assert not any(
        "forward" in vars(layer) for layer in layers_of(module.decoder_of(backbone.model))
    )


def test_without_gradients_nothing_is_wrapped(monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = tiny_backbone()
    backbone.recomputes = True
    monkeypatch.setattr("bench.models.fast.checkpointing._twice", None)
    with torch.no_grad():
        backbone.logprobs(random_batch(backbone), None)


def test_the_configuration_switches_it_on_and_what_cannot_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    load: Callable[[bool], Backbone] = lambda on: Backbone.load(
        Testbed.model_path, ModelConfig(gradient_checkpointing=on), Testbed.prompt_template
    )
    assert [load(on).recomputes for on in (True, False)] == [True, False]
    monkeypatch.setattr(module, "layers_of", lambda decoder: [])
    with pytest.raises(UserError, match="LlamaForCausalLM has no list of layers"):
        load(True)
