"""The quickened LoRA layers against PEFT's forward: outputs, gradients, when they step in."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from peft.tuners.lora import Linear as PeftLinear
from torch import Tensor

from bench.config.run import LoRAConfig
from bench.models.backbone import Backbone
from bench.models.fast.lora import LoRAProduct, fuse_lora
from tests.tiny import LORA, random_batch, stir, tiny_backbone


def with_policy(lora: LoRAConfig = LORA) -> Backbone:
    backbone = tiny_backbone()
    backbone.add_adapter("policy", lora)
    stir(backbone, "policy")
    return backbone


def plain(backbone: Backbone) -> Backbone:
    """The same model with PEFT's own forward."""
    for layer in backbone.model.modules():
        vars(layer).pop("forward", None)
    return backbone


def quickened(backbone: Backbone) -> int:
    return sum("forward" in vars(layer) for layer in backbone.model.modules())


def results(backbone: Backbone) -> tuple[Tensor, list[Tensor]]:
    batch = random_batch(backbone)
    logprobs = backbone.logprobs(batch, "policy")
    logprobs.square().sum().backward()
    return logprobs, [p.grad for p in backbone.parameters("policy") if p.grad is not None]


@pytest.mark.parametrize("targets", ["all-linear", ["q_proj", "v_proj"]])
def test_outputs_and_gradients_are_pefts(targets: list[str]) -> None:
    lora = LORA.model_copy(update={"target_modules": targets})
    ours, theirs = with_policy(lora), plain(with_policy(lora))
    assert quickened(ours) == (14 if targets == "all-linear" else 4)
    assert quickened(theirs) == 0
    logprobs, gradients = results(ours)
    expected, expected_gradients = results(theirs)
    torch.testing.assert_close(logprobs, expected, rtol=1e-5, atol=1e-5)
    assert len(gradients) == len(expected_gradients) > 0
    for gradient, wanted in zip(gradients, expected_gradients, strict=True):
        torch.testing.assert_close(gradient, wanted, rtol=1e-4, atol=1e-5 * wanted.abs().max())


def test_the_written_gradient_is_the_function_s() -> None:
    torch.manual_seed(0)
    shapes = (5, 4), (3, 4), (3,), (2, 4), (3, 2)
    x, w, b, a_, b_ = (torch.randn(shape, dtype=torch.float64) for shape in shapes)
    for tensor in (x, a_, b_):
        tensor.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda *t: LoRAProduct.apply(t[0], w, b, t[1], t[2], 0.7), (x, a_, b_)
    )


def test_adapters_off_is_the_base() -> None:
    backbone = with_policy()
    batch = random_batch(backbone)
    reference = tiny_backbone().logprobs(batch, None)
    assert torch.equal(backbone.logprobs(batch, None), reference)
    assert not torch.allclose(backbone.logprobs(batch, "policy"), reference)


def test_two_adapters_do_not_mix() -> None:
    both, alone = with_policy(), with_policy()
    both.add_adapter("value", LORA)
    stir(both, "value", seed=5)
    batch = random_batch(both)
    assert torch.equal(both.logprobs(batch, "policy"), alone.logprobs(batch, "policy"))
    assert not torch.allclose(both.logprobs(batch, "value"), alone.logprobs(batch, "policy"))


def test_what_is_not_plain_lora_keeps_pefts_forward() -> None:
    """With dropout the product is another: both paths must then be PEFT's, same random numbers."""
    backbone = with_policy()
    for layer in backbone.model.modules():
        if isinstance(layer, PeftLinear):
            layer.lora_dropout["policy"] = torch.nn.Dropout(0.5)
    backbone.model.train()
    other = plain(copy.deepcopy(backbone))
    fuse_lora(backbone.model)
    batch = random_batch(backbone)
    outputs = []
    for model in (backbone, other):
        torch.manual_seed(3)
        outputs.append(model.logprobs(batch, "policy"))
    assert torch.equal(*outputs)
    backbone.model.eval()
    assert not torch.allclose(outputs[0], backbone.logprobs(batch, "policy"))


def test_merged_draws_from_the_policy_and_leaves_the_base_as_it_was() -> None:
    backbone = with_policy()
    batch = random_batch(backbone)
    reference, policy = backbone.logprobs(batch, None), backbone.logprobs(batch, "policy")
    with backbone.merged("policy") as model:
        output = model(
            input_ids=batch.ids,
            attention_mask=batch.attention.long(),
            position_ids=batch.positions,
            logits_to_keep=batch.mask.shape[1] + 1,
        )
    merged = torch.log_softmax(output.logits[:, :-1], -1)
    chosen = merged.gather(2, batch.responses.unsqueeze(2)).squeeze(2) * batch.mask
    torch.testing.assert_close(chosen, policy, rtol=1e-4, atol=1e-4)
    assert torch.equal(backbone.logprobs(batch, None), reference)
    assert torch.equal(backbone.logprobs(batch, "policy"), policy)


def test_merged_restores_the_base_when_generation_fails() -> None:
    backbone = with_policy()
    batch = random_batch(backbone)
    reference = backbone.logprobs(batch, None)
    with pytest.raises(RuntimeError, match="stop"), backbone.merged("policy"):
        raise RuntimeError("stop")
    assert torch.equal(backbone.logprobs(batch, None), reference)


def test_merged_in_half_precision_and_beside_a_tied_head() -> None:
    """PEFT keeps adapters in float32; the head's weight is the embedding's as well."""
    backbone = tiny_backbone()
    backbone.model.to(torch.bfloat16)
    backbone.add_adapter("policy", LORA.model_copy(update={"target_modules": ["q_proj"]}))
    stir(backbone, "policy")
    embedding = backbone.model.get_input_embeddings().weight
    before = embedding.clone()
    batch = random_batch(backbone)
    with backbone.merged("policy") as model:
        assert torch.equal(backbone.model.get_input_embeddings().weight, before)
        logits = model(input_ids=batch.ids).logits
    assert logits.dtype == torch.bfloat16
    assert backbone.model.get_input_embeddings().weight is embedding


def in_bfloat16() -> Backbone:
    """A bfloat16 base with the float32 adapter that PEFT puts on it."""
    backbone = tiny_backbone()
    backbone.model.to(torch.bfloat16)
    backbone.add_adapter("policy", LORA)
    stir(backbone, "policy")
    assert {p.dtype for p in backbone.parameters("policy")} == {torch.float32}
    return backbone


def test_float32_masters_on_a_bfloat16_base_take_the_fast_path(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In every one of the 14 layers, and keep less for the backward than PEFT's own forward."""
    apply, layers = LoRAProduct.apply, []

    def counted(*tensors: Any) -> Any:
        layers.append(tensors[1].dtype)
        return apply(*tensors)

    monkeypatch.setattr(LoRAProduct, "apply", counted)
    kept = []
    for backbone in (in_bfloat16(), plain(in_bfloat16())):
        saved: dict[int, int] = {}

        def keep(tensor: Tensor, saved: dict[int, int] = saved) -> Tensor:
            saved[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            states = backbone.hidden(random_batch(backbone), "policy")
        kept.append(sum(saved.values()))
        assert states.requires_grad
    assert layers == [torch.bfloat16] * 14
    assert kept[0] < 0.8 * kept[1]


def test_gradients_reach_the_float32_masters() -> None:
    """They agree with a float32 model's on the same (rounded) weights as well as PEFT's do."""
    ours, theirs, exact = in_bfloat16(), plain(in_bfloat16()), in_bfloat16()
    exact.model.float()
    (_, found), (_, pefts), (_, wanted) = (results(model) for model in (ours, theirs, exact))
    assert len(found) == len(wanted) == 28
    for got, other, want in zip(found, pefts, wanted, strict=True):
        assert got.dtype == torch.float32
        apart = float((got - want).norm() / want.norm())
        assert apart <= max(0.1, 1.5 * float((other - want).norm() / want.norm()))
    flat, reference = (torch.cat([g.flatten() for g in each]) for each in (found, wanted))
    assert torch.nn.functional.cosine_similarity(flat, reference, dim=0) > 0.99
