"""Responses to the evaluation prompts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from bench.models.names import POLICY
from bench.models.rollout import Sampling, sample
from bench.stages.distance import sampled_kl
from bench.stages.drawing import draw_prompts
from bench.stages.sft import load_sft
from bench.training.checkpoints import Checkpoints
from bench.training.optimisation import generator

if TYPE_CHECKING:
    from bench.models.backbone import Backbone
    from bench.pipeline.stage import Context

OUTPUTS = "outputs.json"


def build_outputs(context: Context, out: Path, inputs: list[Path]) -> dict[str, Any]:
    """Responses to the test prompts, sampled and, if asked for, greedy; to unseen ones, likewise.

    And the KL at T = 1, on the test prompts.

    Inputs: SFT and, unless SFT itself is evaluated, the policy.
    """
    config, seed = context.config.evaluation, context.config.seed
    backbone = load_sft(context, inputs[0])
    adapter = None
    if len(inputs) > 1:
        adapter = POLICY
        backbone.add_adapter(POLICY, folder=inputs[1] / "policy")
    splits = {
        split: prompts
        for split in ("test", "unseen")
        if (prompts := draw_prompts(context.suite, split, context.config))
    }
    limits = context.config.model, config.max_new_tokens
    warm, greedy = (Sampling.of(*limits, t) for t in (config.temperature, 0.0))
    rng = generator("evaluate", seed, config.seed)
    asked = [
        (splits["test"], warm, generator("evaluate", seed, config.seed, i))
        for i in range(config.samples)
    ]
    more = {}  # by name; what comes behind the samples shares one generator
    if config.greedy:
        more["greedy"] = splits["test"], greedy, rng
    if "unseen" in splits:
        more["unseen"] = splits["unseen"], warm, rng
    asked += more.values()
    checkpoints, drawn = Checkpoints(out, context.progress.say), []
    if state := checkpoints.read():
        drawn = state["drawn"]
        rng.set_state(state["rng"])
    with context.progress.task("generate", total=len(asked) + 1) as task:
        task.reach(len(drawn))
        for part in asked[len(drawn) :]:
            drawn.append(_responses(backbone, adapter, *part))
            task.reach(len(drawn))
            if checkpoints.due():
                checkpoints.write({"drawn": drawn, "rng": rng.get_state()})
        kl = sampled_kl(backbone, adapter, splits["test"], Sampling.of(*limits), rng)
        task.advance(1)
    # A text a response, and beside it the ids that were drawn: what a reward model scores.
    texts = [[backbone.tokens.text(response) for response in part] for part in drawn]
    n = config.samples
    outputs = {"prompts": splits, "sampled": texts[:n], "sampled_ids": drawn[:n], "kl": kl}
    for name, own, ids in zip(more, texts[n:], drawn[n:], strict=True):
        outputs |= {name: own, f"{name}_ids": ids}
    (out / OUTPUTS).write_text(json.dumps(outputs) + "\n")
    backbone.drop_adapter(POLICY)
    cut = backbone.tokens.cut_prompts(text for texts in splits.values() for text in texts)
    return {"tokens": sum(len(ids) for part in drawn[:n] for ids in part)} | cut


def _responses(
    backbone: Backbone,
    adapter: str | None,
    prompts: list[str],
    sampling: Sampling,
    rng: torch.Generator,
) -> list[list[int]]:
    """Ids of a response to each prompt."""
    ids = [backbone.tokens.prompt(text) for text in prompts]
    return sample(backbone, adapter, ids, sampling, rng)
