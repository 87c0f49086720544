"""Packed batches against padded ones: the same numbers and gradients, and less work."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.attention.varlen import varlen_attn
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, MistralConfig
from transformers.models.mistral import MistralForCausalLM

from bench.config.run import ModelConfig
from bench.models import layout
from bench.models.backbone import Backbone
from bench.models.fast import attention
from bench.models.fast.attention import Kernel, Rows, Span, Varlen, kernels, takes_groups
from bench.models.fast.packing import Packed
from bench.models.layout import LayOut, Padded, choose
from bench.models.sequences import Sequences
from bench.suites.testbed.suite import Testbed
from tests.tiny import LORA, random_rows, stir, tiny_backbone

Patch = pytest.MonkeyPatch
Build = Callable[[Backbone], Sequences]


def backbone(lay_out: LayOut | None = None) -> Backbone:
    """With an adapter; None: the layout that the model takes by itself."""
    result = tiny_backbone()
    assert result.packs
    result.lay_out = lay_out or result.lay_out
    result.add_adapter("policy", LORA)
    stir(result, "policy")
    return result


def packed(batch: Sequences, wanted: Tensor | None = None) -> Packed:
    """By rows; None: all states but padding's are read."""
    if wanted is None:
        wanted = torch.nn.functional.pad(batch.mask, (1, 0), value=True)
    return Packed.of(batch, wanted, Rows)


def reference_varlen(query: Tensor, key: Tensor, value: Tensor, *args: Any, **kw: Any) -> Tensor:
    """What `varlen_attn` documents, row by row in plain products; it runs on CUDA alone itself."""
    given = inspect.signature(varlen_attn).bind(query, key, value, *args, **kw).arguments
    groups = query.shape[1] // key.shape[1]
    assert kw.get("enable_gqa", False) == (groups > 1)
    assert kw["window_size"] == (-1, 0)
    starts = given["cu_seq_q"], given["cu_seq_k"]
    assert [x.dtype for x in starts] == [torch.int32, torch.int32]
    lengths = [x.diff() for x in starts]
    assert [int(x.max()) for x in lengths] == [given["max_q"], given["max_k"]]
    found = []
    for q, k, v in zip(
        query.split(lengths[0].tolist()),
        key.split(lengths[1].tolist()),
        value.split(lengths[1].tolist()),
        strict=True,
    ):
        k, v = (x.repeat_interleave(groups, dim=1) for x in (k, v))
        scores = torch.einsum("qhd,khd->hqk", q, k) * (kw["scale"] or q.shape[2] ** -0.5)
        # The last query sees the last key.
        seen = torch.ones(scores.shape[1:], dtype=torch.bool).tril(len(k) - len(q))
        weights = scores.masked_fill(~seen, -torch.inf).softmax(dim=2)
        found.append(torch.einsum("hqk,khd->qhd", weights, v))
    return torch.cat(found)


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
@pytest.mark.parametrize("kernel", [Rows, Varlen])
def test_numbers_and_gradients_are_those_of_the_padded_batch(
    build: Build, kernel: type[Kernel], monkeypatch: Patch
) -> None:
    monkeypatch.setattr(attention, "varlen_attn", reference_varlen)
    packed, padded = backbone(partial(Packed.of, kernel=kernel)), backbone(Padded)
    ours, theirs = (measured(model, build(model)) for model in (packed, padded))
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
    packing = packed(batch)
    assert packing.ids.tolist() == [[7, 8, 11, 12, 13, 1, 2, 3, 4, 21, 31, 32]]
    assert packing.positions.tolist() == [[0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 2, 3]]
    assert packing.numbers[0].tolist() == [1, 2, 3, 4]
    assert packing.numbers[2, :3].tolist() == [1, 10, 11]
    prompts, responses = packing.spans
    assert isinstance(prompts, Rows)
    assert isinstance(responses, Rows)
    assert prompts.span.queries[0, :2].tolist() == [0, 1]
    assert prompts.span.queries[1].tolist() == [5, 6, 7, 8]
    assert (prompts.mask, prompts.tokens.tolist()) == (None, [0, 1, 5, 6, 7, 8])
    assert responses.span.keys[:, :4].tolist() == [[0, 1, 2, 3], [5, 6, 7, 8], [0, 1, 10, 11]]
    assert responses.tokens.tolist() == [2, 3, 4, 9, 10, 11]
    assert responses.mask is not None
    assert responses.mask[2, 0, :2].tolist() == [[True] * 3 + [False] * 2, [True] * 4 + [False]]


def test_rows_with_prompts_of_their_own_attend_in_one_piece() -> None:
    """Nothing is gathered twice and nothing put back: results lie in the order of the tokens."""
    batch = tiny_backbone().tokens.join([[7, 8], [1, 2, 3, 4]], [[11, 12, 13], [21]])
    packing = packed(batch)
    (rows,) = packing.spans
    assert isinstance(rows, Rows)
    assert rows.span.queries.tolist() == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]
    assert (rows.mask, rows.tokens.tolist(), packing._home) == (None, list(range(10)), None)


def test_the_last_layer_attends_from_the_states_that_are_read_alone() -> None:
    """The second response's first token, and the state before the first response (token 1)."""
    batch = tiny_backbone().tokens.join([[7, 8], [7, 8]], [[11, 12], [21, 22]])
    wanted = torch.tensor([[True, False, False], [False, True, False]])
    packing = packed(batch, wanted)
    (last,) = packing.last
    assert isinstance(last, Rows)
    assert last.span.queries.tolist() == [[1], [4]]
    assert last.mask is not None
    assert last.mask[:, 0, 0].tolist() == [[True, True, False, False], [True] * 3 + [False]]
    assert packing.read.tolist() == [1, 4]


def test_a_row_of_which_nothing_is_read_has_no_query() -> None:
    batch = tiny_backbone().tokens.join([[7, 8], [7, 8]], [[11, 12], [21, 22]])
    packing = packed(batch, torch.tensor([[False, False, False], [True, False, True]]))
    (last,) = packing.last
    assert last.tokens.tolist() == [1, 4, 5]  # and what lies between two that are read
    assert packing.read.tolist() == [1, 5]


def test_rows_of_a_batch_keep_knowing_whose_prompt_they_share() -> None:
    join = tiny_backbone().tokens.join
    batch = join([[1], [2], [1], [2]], [[5], [6], [7], [8]])
    assert batch.prompt_of.tolist() == [0, 1, 0, 1]
    assert batch.rows([3, 2, 1]).prompt_of.tolist() == [0, 1, 0]


def packs(model: Any) -> bool:
    return choose(model) is not Padded


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
    assert packs(grouped)
    assert packs(learned)


def test_a_masked_block_asks_no_kernel_for_grouped_queries(monkeypatch: Patch) -> None:
    """A GPU has no fast kernel for groups with a mask: the math one would run unnoticed."""
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(**SMALL, num_key_value_heads=2)).eval()
    tokens = tiny_backbone().tokens
    whom = Backbone(model, tokens, torch.device("cpu"))
    attend, asked = attention.scaled_dot_product_attention, []

    def watched(query: Tensor, key: Tensor, *rest: Any, **options: Any) -> Tensor:
        asked.append((options["attn_mask"] is None, options["enable_gqa"], key.shape[1]))
        return attend(query, key, *rest, **options)

    batch = tokens.join([[7, 8], [9]], [[11, 12], [21, 22]])
    with torch.no_grad():
        own, whom.lay_out = whom.lay_out, Padded
        expected = whom.logprobs(batch, None)
        whom.lay_out = own
        monkeypatch.setattr(attention, "scaled_dot_product_attention", watched)
        torch.testing.assert_close(whom.logprobs(batch, None), expected, rtol=1e-4, atol=1e-5)
    assert set(asked) == {(True, True, 2), (False, False, 4)}


@pytest.mark.parametrize(
    ("dtype", "width", "takes"),
    [(torch.bfloat16, 128, True), (torch.float32, 128, False), (torch.bfloat16, 512, False)],
)
def test_a_gpu_takes_groups_where_flash_attention_does(
    dtype: torch.dtype, width: int, takes: bool
) -> None:
    with FakeTensorMode():
        query = torch.empty(1, 4, 8, width, device="cuda", dtype=dtype)
        assert takes_groups(None, query) == takes
        assert not takes_groups(torch.ones(1, 1, 8, 8, dtype=torch.bool, device="cuda"), query)


def test_varlen_is_tried_first_where_it_can_run() -> None:
    gpu, cpu = torch.device("cuda"), torch.device("cpu")
    assert kernels(gpu, torch.bfloat16) == [Varlen, Rows]
    assert kernels(gpu, torch.float32) == kernels(cpu, torch.bfloat16) == [Rows]


class Raises(Rows):
    def attend(self, *args: Any) -> Tensor:
        raise RuntimeError("FlashAttention only supports Ampere GPUs or newer.")


class Misaligned(Rows):
    """Lets every query see one key too few."""

    def __init__(self, span: Span) -> None:
        super().__init__(replace(span, key_counts=span.key_counts - 1))


def test_a_model_that_the_trial_does_not_fit_stays_padded() -> None:
    settings = GPT2Config(vocab_size=300, n_embd=32, n_layer=2, n_head=4, n_positions=8)
    model = GPT2LMHeadModel(settings).eval()
    assert choose(model) is Padded
    assert model.config._attn_implementation == "sdpa"


def test_an_unheard_of_error_leaves_the_model_as_it_was(monkeypatch: Patch) -> None:
    class Unheard(Rows):
        def attend(self, *args: Any) -> Tensor:
            raise AssertionError("x")

    model = LlamaForCausalLM(LlamaConfig(**SMALL)).eval()
    monkeypatch.setattr(layout, "kernels", lambda *_: [Unheard])
    with pytest.raises(AssertionError):
        choose(model)
    assert model.config._attn_implementation == "sdpa"


def test_what_is_trained_gets_a_layout_in_float32(monkeypatch: Patch) -> None:
    """FlashAttention, which a model in bfloat16 would get on a GPU, takes no float32."""
    asked: list[torch.dtype] = []

    def noted(_: torch.device, dtype: torch.dtype) -> list[type[Kernel]]:
        asked.append(dtype)
        return [Rows]

    monkeypatch.setattr(layout, "kernels", noted)
    config = ModelConfig(dtype="bfloat16")
    for trains in (False, True):
        backbone = Backbone.load(Testbed.model_path, config, "{prompt}", trains=trains)
        assert backbone.model.dtype == asked[-1]
    assert asked == [torch.bfloat16, torch.float32]


def test_padding_is_never_read() -> None:
    """What asks for all states gets those that are there, and nobody's keys are miscounted."""
    model = backbone()
    batch = distinct(model)
    real = torch.nn.functional.pad(batch.mask, (1, 0), value=True)
    found = model.hidden(batch, "policy", torch.ones_like(real))
    torch.testing.assert_close(found[real], model.hidden(batch, "policy")[real])


@pytest.mark.parametrize("kernel", [Raises, Misaligned])
def test_a_kernel_that_fails_or_gives_other_numbers_is_passed_over(
    kernel: type[Kernel], monkeypatch: Patch
) -> None:
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(**SMALL)).eval()
    monkeypatch.setattr(layout, "kernels", lambda *_: [kernel, Rows])
    chosen = choose(model)
    assert isinstance(chosen, partial)
    assert chosen.keywords == {"kernel": Rows}
    monkeypatch.setattr(layout, "kernels", lambda *_: [kernel])
    model.set_attn_implementation("sdpa")
    assert choose(model) is Padded
    assert model.config._attn_implementation == "sdpa"


def test_what_packing_would_change_stays_padded() -> None:
    """A window of two tokens; a model whose attention sees more than packing passes on."""
    torch.manual_seed(0)
    window = MistralForCausalLM(MistralConfig(**SMALL, num_key_value_heads=4, sliding_window=2))
    assert not packs(window.eval())

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
    assert not packs(leaning)
    assert leaning.config._attn_implementation == "sdpa"
