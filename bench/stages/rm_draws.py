"""Responses of the SFT model to the test prompts, N each: of them reward models choose the best."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.models.rollout import Sampling, sample
from bench.stages.drawing import draw_prompts
from bench.stages.sft import load_sft
from bench.training.checkpoints import Checkpoints
from bench.training.optimisation import generator

if TYPE_CHECKING:
    from bench.pipeline.stage import Context

DRAWS = "draws.json"


def build_rm_draws(context: Context, out: Path, inputs: list[Path], n: int) -> dict[str, Any]:
    """N rounds of a response to each prompt; goes on where an interrupted attempt stopped.

    Inputs: SFT.
    """
    config = context.config.evaluation
    backbone = load_sft(context, inputs[0])
    prompts = draw_prompts(context.suite, "test", context.config)
    ids = [backbone.tokens.prompt(text) for text in prompts]
    sampling = Sampling.of(context.config.model, config.max_new_tokens, config.temperature)
    rng, drawn = generator("rm_draws", context.config.seed), list[list[list[int]]]()
    checkpoints = Checkpoints(out, context.progress.say)
    if state := checkpoints.read():
        drawn = state["drawn"]
        rng.set_state(state["rng"])
    with context.progress.task("draws for best of n", total=n) as task:
        task.reach(len(drawn))
        while len(drawn) < n:
            drawn.append(sample(backbone, None, ids, sampling, rng))
            task.advance(1)
            if checkpoints.due():
                checkpoints.write({"drawn": drawn, "rng": rng.get_state()})
    (out / DRAWS).write_text(json.dumps({"prompts": prompts, "ids": drawn}) + "\n")
    return {"tokens": sum(len(one) for own in drawn for one in own)}
