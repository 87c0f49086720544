"""What work costs: formulas by hand, the stages of a run, and what is told of them."""

from __future__ import annotations

from transformers import LlamaForCausalLM

from bench.config.run import LoRAConfig
from bench.doctor.work import Weights, forward_flops, read_bytes, update_flops
from bench.models.adapters import attach
from benchmarks.work import Work, llama_config

SMALL = Weights(
    layers=2,
    attention=10,
    mlp=20,
    inputs=6,
    adapter_attention=3,
    adapter_mlp=4,
    head=7,
    width=5,
    cached=3,
)


def test_flops_of_a_forward_by_hand() -> None:
    """A prompt of 1 token and a response of 2, in 2 layers.

    Base: 3 tokens through 2 x 10 and, but for the last layer, 20: 120 products; the last MLP and
    the head at 2 tokens: 2 x (20 + 7) = 54. Adapter: 3 x (2 x 3 + 4) + 2 x 4 = 38. Attention: 6
    pairs in the first layer, in the last the 5 of the response's queries: 4 x 5 x 11 = 220.
    """
    rows = [(1, 2)]
    assert forward_flops(SMALL, rows, head=True) == 2 * 174 + 2 * 38 + 220
    assert forward_flops(SMALL, rows, head=True, adapter=False) == 2 * 174 + 220
    assert forward_flops(SMALL, rows, head=False) == 2 * 160 + 2 * 38 + 220
    assert forward_flops(SMALL, rows * 3, head=True) == 3 * 644


def test_flops_of_an_update_leave_the_frozen_base_s_weight_gradient_out() -> None:
    """Backward: the base once more, less 3 x 6 below which nothing is trained; adapters twice."""
    backward = 2 * (174 - 18) + 2 * 2 * 38 + 2 * 220
    assert update_flops(SMALL, [(1, 2)], head=True) == 644 + backward


def test_weights_are_read_off_the_model() -> None:
    work = Work(hidden=8, layers=2, heads=2, ffn=12, vocabulary=16)
    model = attach(
        LlamaForCausalLM(llama_config(work)), "policy", LoRAConfig(r=2, target_modules="all-linear")
    )
    model = attach(model, "other", LoRAConfig(r=4, target_modules="all-linear"))
    found = Weights.of(model, "policy")
    assert (found.layers, found.head, found.width, found.cached) == (2, 8 * 16, 8, 2 * 2 * 8)
    assert (found.attention, found.mlp, found.inputs) == (4 * 64, 3 * 96, 3 * 64)
    assert (found.adapter_attention, found.adapter_mlp) == (4 * 2 * 16, 3 * 2 * 20)


def test_a_token_reads_the_weights_once_and_every_row_s_cache() -> None:
    assert read_bytes(100, 3, rows=4, context=10.5) == 100 + 4 * 10.5 * 3
