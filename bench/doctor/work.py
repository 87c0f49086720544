"""What the work costs at least: floating-point operations that count, and bytes that must be read.

Pure arithmetic, so that it can be checked by hand; a multiplication and an addition are 2 FLOPs.
`bench.doctor.hours` makes the stages of a run, and seconds, of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from torch import nn

Row = tuple[int, int]  # tokens of a prompt, and of its response


@dataclass(frozen=True)
class Weights:
    """A decoder's linear maps by what they cost; numbers of weights.

    Attributes:
        layers: how many there are.
        attention, mlp: of one layer.
        inputs: of one layer's attention, its maps to queries, keys and values.
        adapter_attention, adapter_mlp: of an adapter on one layer.
        head: from the last state to logits.
        width: of all heads' queries together.
        cached: numbers in a token's keys and values, all layers together.
    """

    layers: int
    attention: int
    mlp: int
    inputs: int
    adapter_attention: int
    adapter_mlp: int
    head: int
    width: int
    cached: int

    @classmethod
    def of(cls, model: Any, adapter: str) -> Weights:
        """Those of a model with an adapter that is called `adapter`.

        Families name the parts of a layer differently: what is not in a module `mlp` counts as
        attention, which is right but for the last layer, where prompts need the attention alone.
        """
        config = model.config.get_text_config()
        head = model.get_output_embeddings().weight
        # A look-up is no product, and the head has a number of its own.
        apart = {id(head)} | {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
        found = dict.fromkeys(("attention", "mlp", "inputs", "lora attention", "lora mlp"), 0)
        for name, weight in model.named_parameters():
            lora = ".lora_" in name
            if weight.ndim < 2 or id(weight) in apart or (lora and f".{adapter}." not in name):
                continue
            part = "mlp" if ".mlp." in name else "attention"
            found["lora " * lora + part] += weight.numel()
            if not lora and any(f".{x}_proj." in name for x in "qkv"):
                found["inputs"] += weight.numel()
        layers = config.num_hidden_layers
        heads = getattr(config, "num_attention_heads", 0)
        size = getattr(config, "head_dim", None) or config.hidden_size // max(1, heads)
        shared = getattr(config, "num_key_value_heads", None) or heads  # fewer: GQA
        return cls(
            layers,
            attention=found["attention"] // layers,
            mlp=found["mlp"] // layers,
            inputs=found["inputs"] // layers,
            adapter_attention=found["lora attention"] // layers,
            adapter_mlp=found["lora mlp"] // layers,
            head=head.numel(),
            width=heads * size,
            cached=2 * layers * shared * size,
        )


def _pairs(prompt: int, response: int) -> int:
    """Pairs of a query and a key that it sees, in a causal layer."""
    total = prompt + response
    return total * (total + 1) // 2


def _passed(weights: Weights, row: Row, *, head: bool) -> int:
    """Products of a token with a base weight: each is one multiplication and one addition.

    In the last layer only the response's states are read, so that its MLP is needed there alone.
    """
    tokens = sum(row)
    everywhere = weights.layers * weights.attention + (weights.layers - 1) * weights.mlp
    return tokens * everywhere + row[1] * (weights.mlp + weights.head * head)


def _adapted(weights: Weights, row: Row) -> int:
    """The same of an adapter's weights."""
    everywhere = (
        weights.layers * weights.adapter_attention + (weights.layers - 1) * weights.adapter_mlp
    )
    return sum(row) * everywhere + row[1] * weights.adapter_mlp


def _attended(weights: Weights, row: Row) -> int:
    """FLOPs of queries with keys and of attention with values, 2 each."""
    last = _pairs(*row) - _pairs(row[0], 0)
    return 4 * weights.width * ((weights.layers - 1) * _pairs(*row) + last)


def forward_flops(
    weights: Weights, rows: Iterable[Row], *, head: bool, adapter: bool = True
) -> int:
    """FLOPs that a forward pass needs.

    Args:
        weights: of the model.
        rows: prompt and response tokens.
        head: whether the responses' log-probabilities are asked for.
        adapter: whether an adapter acts.
    """
    return sum(
        2 * _passed(weights, row, head=head)
        + 2 * adapter * _adapted(weights, row)
        + _attended(weights, row)
        for row in rows
    )


def update_flops(weights: Weights, rows: Iterable[Row], *, head: bool) -> int:
    """FLOPs that forward and backward of an adapter's update need.

    The base is frozen: a gradient goes through its weights (2 a weight and token, as in the
    forward) and none is made of them. Attention has four products backward where it has two
    forward, an adapter two where it has one. Below the first layer nothing is trained, so its
    queries, keys and values pass no gradient on. A checkpoint's second forward is no use to
    anybody but the memory, and is not counted.
    """
    rows = list(rows)
    forward = forward_flops(weights, rows, head=head)
    backward = sum(
        2 * (_passed(weights, row, head=head) - weights.inputs * sum(row))
        + 4 * _adapted(weights, row)
        + 2 * _attended(weights, row)
        for row in rows
    )
    return forward + backward


def read_bytes(base: int, per_token: int, rows: float, context: float) -> float:
    """Bytes that decoding one token a row must read: the weights once, and every row's cache.

    Args:
        base: bytes of the weights.
        per_token: bytes of one token's keys and values in all layers.
        rows: decoded together, on average.
        context: tokens in a row's cache.
    """
    return base + rows * context * per_token
