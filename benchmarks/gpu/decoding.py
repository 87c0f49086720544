"""How near decoding is to what the memory's bandwidth allows."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import fmean

import torch

from bench.doctor.work import Weights, read_bytes
from bench.models.backbone import base_of
from bench.models.names import POLICY
from bench.models.rollout import Sampling, draw_responses
from benchmarks.gpu.machine import watch
from benchmarks.gpu.sections import Row, held
from benchmarks.gpu.setting import Setting

GOAL = 0.6


def decoding(setting: Setting) -> Iterator[Row]:
    """Tokens a second of a policy's rollout, at several numbers of rows."""
    yield Row(
        "bandwidth of a copy within the device, read and written",
        f"{setting.bandwidth / 1e9:.0f} GB/s",
        numbers={"bytes_per_second": setting.bandwidth},
    )
    setting.backbone.add_adapter(POLICY, setting.config.lora)
    for graphs in (True, False) if setting.graphs else (False,):
        setting.backbone.graphs = graphs
        for rows in setting.shape.decoded:
            yield _share(setting, rows)


def _share(setting: Setting, rows: int) -> Row:
    short, long = setting.shape.decoded_tokens
    ids = [setting.backbone.tokens.prompt(text) for text in setting.texts]
    asked = [ids[i % len(ids)] for i in range(rows)]
    _seconds(setting, asked, short)  # warm
    first, whole = (_seconds(setting, asked, tokens) for tokens in (short, long))
    # The difference: reading the prompts is in both, and so is what a loop does once.
    token_s = (whole - first) / (long - short)
    # Those passes found the prompt and the tokens before in the cache: on average so many.
    context = fmean(map(len, asked)) + (short + long - 1) / 2
    size = read_bytes(base_bytes(setting), cache_bytes(setting), rows, context)
    share = size / setting.bandwidth / token_s
    return held(
        f"decoding {rows} rows, " + ("as graphs" if setting.backbone.graphs else "plain"),
        f"{rows / token_s:.0f} tokens/s, {token_s * 1e3:.1f} ms a token: {share:.0%} of the limit",
        f"≥ {GOAL:.0%}",
        share >= GOAL,
        rows=rows,
        token_seconds=token_s,
        context=context,
        bytes=size,
        share=share,
    )


def _seconds(setting: Setting, prompts: list[list[int]], tokens: int) -> float:
    ppo = setting.config.ppo
    sampling = Sampling(tokens, ppo.temperature, len(prompts), ppo.merge_rollouts)
    rng = torch.Generator().manual_seed(0)
    drawn, taken = watch(
        setting.device,
        lambda: draw_responses(setting.backbone, POLICY, prompts, sampling, rng),
    )
    if {len(draw.ids) for draw in drawn} != {tokens}:
        raise RuntimeError("a response ended early: a token's time cannot be told")
    return taken.seconds


def base_bytes(setting: Setting) -> int:
    """Bytes of the base's weights that every token reads: of the embedding it reads one row."""
    base = base_of(setting.backbone.model)
    return setting.weights.base_bytes - base.get_input_embeddings().weight.nbytes


def cache_bytes(setting: Setting) -> int:
    """Bytes of one token's keys and values in all layers."""
    return Weights.of(setting.backbone.model, POLICY).cached * setting.dtype.itemsize
