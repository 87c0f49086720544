"""Packed batches against padded ones: the same numbers and gradients, and less work."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, MistralConfig
from transformers.models.mistral import MistralForCausalLM

from bench.models.backbone import Backbone
from bench.models.fast.packing import Packing, can_pack
from bench.models.sequences import Sequences
from tests.tiny import LORA, random_rows, stir, tiny_backbone

Patch = pytest.MonkeyPatch


def backbone(packs: bool) -> Backbone:
    result = tiny_backbone()
    assert result.packs
    result.packs = packs
    result.add_adapter("policy", LORA)
    stir(result, "policy")
    return result


def pairs(tokens: Backbone) -> Sequences:
    """Six responses to three prompts, each prompt twice."""
    prompts, responses = random_rows(6)
    return tokens.tokens.join(prompts[:3] * 2, responses)


def distinct(tokens: Backbone) -> Sequences:
    return tokens.tokens.join(*random_rows(6))


def measured(model: Backbone, batch: Sequences) -> dict[str, Tensor]:
    states = torch.nn.functional.pad(batch.mask, (1, 0), value=True)
    logprobs, both = model.logprobs_and_hidden(batch, "policy", 0.7)
    return {
        "logprobs": model.logprobs(batch, "policy", 0.7),
        "hidden": model.hidden(batch, "policy")[states],
        "logprobs of both": logprobs,
        "hidden of both": both[states],
    }


@pytest.mark.parametrize("build", [pairs, distinct])
def test_numbers_and_gradients_are_those_of_the_padded_batch(build: object) -> None:
    packed, padded = backbone(True), backbone(False)
    ours, theirs = (measured(model, build(model)) for model in (packed, padded))  # type: ignore[operator]
    weights = torch.Generator().manual_seed(3)
    total = [0.0, 0.0]
    for name, wanted in theirs.items():
        torch.testing.assert_close(ours[name], wanted, rtol=1e-4, atol=1e-5)
        factor = torch.randn(wanted.shape, generator=weights)
        total = [total[0] + (ours[name] * factor).sum(), total[1] + (wanted * factor).sum()]
    for loss in total:
        loss.backward()  # type: ignore[union-attr]
    for got, wanted in zip(packed.parameters("policy"), padded.parameters("policy"), strict=True):
        assert wanted.grad is not None
        torch.testing.assert_close(
            got.grad, wanted.grad, rtol=1e-4, atol=1e-5 * float(wanted.grad.abs().max())
        )


def test_a_shared_prompt_and_padding_are_left_out() -> None:
    """Rows (prompt, response): (2, 3), (4, 1), (2, 2) with the first prompt again: 5 + 5 + 2."""
    join = tiny_backbone().tokens.join
    batch = join([[7, 8], [1, 2, 3, 4], [7, 8]], [[11, 12, 13], [21], [31, 32]])
    packing = Packing.of(batch)
    assert packing.ids.tolist() == [[7, 8, 11, 12, 13, 1, 2, 3, 4, 21, 31, 32]]
    assert packing.positions.tolist() == [[0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 2, 3]]
    assert packing.states[0].tolist() == [1, 2, 3, 4]
    assert packing.states[2, :3].tolist() == [1, 10, 11]
    prompts, responses = packing.blocks
    assert prompts.queries[0, :2].tolist() == [0, 1]
    assert prompts.queries[1].tolist() == [5, 6, 7, 8]
    assert (prompts.mask, prompts.tokens.tolist()) == (None, [0, 1, 5, 6, 7, 8])
    assert responses.keys[:, :4].tolist() == [[0, 1, 2, 3], [5, 6, 7, 8], [0, 1, 10, 11]]
    assert responses.tokens.tolist() == [2, 3, 4, 9, 10, 11]
    assert responses.mask is not None
    assert responses.mask[2, 0, :2].tolist() == [[True] * 3 + [False] * 2, [True] * 4 + [False]]


def test_the_last_layer_attends_from_the_states_that_are_read_alone() -> None:
    """The second response's first token, and the state before the first response (token 1)."""
    batch = tiny_backbone().tokens.join([[7, 8], [7, 8]], [[11, 12], [21, 22]])
    read = torch.tensor([[True, False, False], [False, True, False]])
    (last,) = Packing.of(batch, read).last
    assert last.queries.tolist() == [[1], [4]]
    assert last.mask is not None
    assert last.mask[:, 0, 0].tolist() == [[True, True, False, False], [True] * 3 + [False]]
    assert Packing.of(batch, read).read.tolist() == [1, 4]


def test_rows_of_a_batch_keep_knowing_whose_prompt_they_share() -> None:
    join = tiny_backbone().tokens.join
    batch = join([[1], [2], [1], [2]], [[5], [6], [7], [8]])
    assert batch.prompt_of.tolist() == [0, 1, 0, 1]
    assert batch.rows([3, 2, 1]).prompt_of.tolist() == [0, 1, 0]


SMALL = {
    "vocab_size": 300, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
    "num_attention_heads": 4, "max_position_embeddings": 64,
}  # fmt: skip


def test_other_families_pack_too() -> None:
    """Grouped queries; learned positions."""
    torch.manual_seed(0)
    grouped = LlamaForCausalLM(LlamaConfig(**SMALL, num_key_value_heads=2)).eval()
    learned = GPT2LMHeadModel(
        GPT2Config(vocab_size=300, n_embd=32, n_layer=2, n_head=4, n_positions=64)
    ).eval()
    assert can_pack(grouped)
    assert can_pack(learned)


def test_a_masked_block_asks_no_kernel_for_grouped_queries(monkeypatch: Patch) -> None:
    """A GPU has no fast kernel for groups with a mask: the math one would run unnoticed."""
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(**SMALL, num_key_value_heads=2)).eval()
    tokens = tiny_backbone().tokens
    whom = Backbone(model, tokens, torch.device("cpu"))
    attend, asked = torch.nn.functional.scaled_dot_product_attention, []

    def watched(query: Tensor, key: Tensor, *rest: Any, **options: Any) -> Tensor:
        asked.append((options["attn_mask"] is None, options["enable_gqa"], key.shape[1]))
        return attend(query, key, *rest, **options)

    batch = tokens.join([[7, 8], [9]], [[11, 12], [21, 22]])
    with torch.no_grad():
        whom.packs = False
        expected = whom.logprobs(batch, None)
        whom.packs = True
        monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", watched)
        torch.testing.assert_close(whom.logprobs(batch, None), expected, rtol=1e-4, atol=1e-5)
    assert set(asked) == {(True, True, 2), (False, False, 4)}


def test_what_packing_would_change_stays_padded() -> None:
    """A window of two tokens; a model whose attention sees more than packing passes on."""
    torch.manual_seed(0)
    window = MistralForCausalLM(MistralConfig(**SMALL, num_key_value_heads=4, sliding_window=2))
    assert not can_pack(window.eval())

    class Leaning(LlamaForCausalLM):
        """Adds a bias by the place in the batch, as a model that ignores position ids would."""

        def __init__(self, config: LlamaConfig) -> None:
            super().__init__(config)
            self.model.embed_tokens.register_forward_hook(
                lambda module, given, output: (
                    output + 0.1 * torch.arange(output.shape[1]).view(1, -1, 1)
                )
            )

    leaning = Leaning(LlamaConfig(**SMALL)).eval()
    assert not can_pack(leaning)
    assert leaning.config._attn_implementation == "sdpa"
