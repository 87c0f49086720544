"""The best of n responses of the SFT model to each prompt that policies are trained on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.data import Demonstration, write_rows
from bench.models.rollout import Sampling
from bench.stages.best import Best
from bench.stages.drawing import draw_prompts, short_enough
from bench.stages.pairs import RESPONSES
from bench.stages.sft import load_sft
from bench.stages.sources.making import make_source
from bench.training.optimisation import generator

if TYPE_CHECKING:
    from bench.pipeline.stage import Context
    from bench.stages.planned_source import PlannedSource

CHUNK = 1024  # prompts with one generator; a round over so many lies between two checkpoints


def build_best_responses(
    context: Context, out: Path, inputs: list[Path], n: int, chosen_by: PlannedSource
) -> dict[str, Any]:
    """One response to each prompt of `ppo.prompts`, drawn as PPO's rollouts are.

    Inputs: SFT; what the token source reads.
    """
    config = context.config
    backbone = load_sft(context, inputs[0])
    there, most = backbone.adapters, config.ppo.prompt_max_tokens
    drawn = draw_prompts(context.suite, "ppo", config)
    prompts = short_enough(drawn, backbone.tokens, most, "ppo.prompt_max_tokens")
    source = make_source(chosen_by, context, backbone, iter(inputs[1:]))
    asked = [
        (prompts[start : start + CHUNK], generator("best_responses", config.seed, start))
        for start in range(0, len(prompts), CHUNK)
    ]
    sampling = Sampling.of(config.model, config.ppo.max_new_tokens, config.ppo.temperature)
    kept = Best(backbone, source, n, sampling).of(asked, context, out)
    for adapter in backbone.adapters - there:
        backbone.drop_adapter(adapter)
    ids = [response for best in kept for response in best.ids]
    rows = [
        Demonstration(prompt=prompt, response=backbone.tokens.text(own), response_ids=own)
        for prompt, own in zip(prompts, ids, strict=True)
    ]
    write_rows(out / RESPONSES, rows)
    stats = {"tokens": sum(best.tokens for best in kept)}
    if left_out := len(drawn) - len(prompts):
        stats["long_prompts"] = left_out
    return stats | backbone.tokens.cut_prompts(prompts)
