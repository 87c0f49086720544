"""Responses to the evaluation prompts, each the best of n draws of the SFT model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.models.rollout import Sampling
from bench.rl import best_of_n_kl_bound
from bench.stages.best import Best
from bench.stages.outputs import evaluation_prompts, generators, write_outputs
from bench.stages.sft import load_sft
from bench.stages.sources.making import make_source

if TYPE_CHECKING:
    from bench.pipeline.stage import Context
    from bench.stages.planned_source import PlannedSource


def build_best_outputs(
    context: Context, out: Path, inputs: list[Path], n: int, chosen_by: PlannedSource
) -> dict[str, Any]:
    """What `build_outputs` makes, the samples at `evaluation.temperature` the best of n each.

    Nothing is greedy: n greedy responses are one and the same. Nor is the KL measured, since the
    probability of a best response is not known: what it is at most is written, as "kl_bound".

    Inputs: SFT; what the token source reads.
    """
    config = context.config.evaluation
    backbone = load_sft(context, inputs[0])
    there = backbone.adapters
    splits = evaluation_prompts(context)
    sampling = Sampling.of(context.config.model, config.max_new_tokens, config.temperature)
    source = make_source(chosen_by, context, backbone, iter(inputs[1:]))
    each, behind = generators(context.config)
    asked = [(splits["test"], rng) for rng in each]
    if "unseen" in splits:
        asked.append((splits["unseen"], behind))
    kept = Best(backbone, source, n, sampling).of(asked, context, out)
    for adapter in backbone.adapters - there:
        backbone.drop_adapter(adapter)
    sampled = kept[: config.samples]
    cut = write_outputs(
        out,
        backbone.tokens,
        splits,
        [best.ids for best in sampled],
        {"unseen": kept[-1].ids} if "unseen" in splits else {},
        {"kl_bound": best_of_n_kl_bound(n)},
    )
    return {"tokens": sum(best.tokens for best in sampled)} | cut
