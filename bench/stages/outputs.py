"""Responses to the evaluation prompts."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from bench.models.names import POLICY
from bench.models.rollout import Sampling, sample
from bench.stages.distance import sampled_kl
from bench.stages.drawing import draw_prompts
from bench.stages.matched import MATCHED
from bench.stages.sft import load_sft
from bench.training.checkpoints import Checkpoints
from bench.training.optimisation import generator

if TYPE_CHECKING:
    from bench.config.run import RunConfig
    from bench.models.backbone import Backbone
    from bench.models.tokens import Tokens
    from bench.pipeline.stage import Context

OUTPUTS = "outputs.json"
Responses = list[list[int]]  # ids of a response to each prompt


def build_outputs(context: Context, out: Path, inputs: list[Path]) -> dict[str, Any]:
    """Responses to the test prompts, sampled and, if asked for, greedy; and to unseen ones.

    And the KL at T = 1, on the test prompts; and both of the checkpoint at matched KL, if any.

    Inputs: SFT and, unless SFT itself is evaluated, the policy.
    """
    config = context.config.evaluation
    backbone = load_sft(context, inputs[0])
    adapter = None
    if len(inputs) > 1:
        adapter = POLICY
        backbone.add_adapter(POLICY, folder=inputs[1] / "policy")
    splits = evaluation_prompts(context)
    limits = context.config.model, config.max_new_tokens
    warm, greedy = (Sampling.of(*limits, t) for t in (config.temperature, 0.0))
    each, rng = generators(context.config)
    asked = [(splits["test"], warm, own) for own in each]
    more = {}  # by name
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
    sampled, rest = drawn[: config.samples], drawn[config.samples :]
    named, measured = dict(zip(more, rest, strict=True)), {"kl": kl}
    backbone.drop_adapter(POLICY)
    if adapter is not None and config.matched_kl is not None:
        backbone.add_adapter(POLICY, folder=inputs[1] / MATCHED)
        rng = generator("evaluate_matched", context.config.seed, config.seed)
        named[MATCHED] = _responses(backbone, adapter, splits["test"], warm, rng)
        measured["kl_matched"] = sampled_kl(
            backbone, adapter, splits["test"], Sampling.of(*limits), rng
        )
        backbone.drop_adapter(POLICY)
    cut = write_outputs(out, backbone.tokens, splits, sampled, named, measured)
    return {"tokens": sum(len(ids) for part in sampled for ids in part)} | cut


def evaluation_prompts(context: Context) -> dict[str, list[str]]:
    """The prompts that are answered, by split."""
    return {
        split: prompts
        for split in ("test", "unseen")
        if (prompts := draw_prompts(context.suite, split, context.config))
    }


def generators(config: RunConfig) -> tuple[list[torch.Generator], torch.Generator]:
    """One for each sample of the test prompts, and one for all that comes behind them."""
    seed, own = config.seed, config.evaluation.seed
    each = [generator("evaluate", seed, own, i) for i in range(config.evaluation.samples)]
    return each, generator("evaluate", seed, own)


def write_outputs(
    out: Path,
    tokens: Tokens,
    splits: dict[str, list[str]],
    sampled: Sequence[Responses],
    more: Mapping[str, Responses],
    measured: Mapping[str, Any],
) -> dict[str, int]:
    """Write a text a response, and beside it the ids that were drawn: what a reward model scores.

    Args:
        out: the stage's folder.
        tokens: make texts of ids.
        splits: the prompts.
        sampled: ids of a response to each test prompt, of each sample.
        more: of greedy responses, of those to unseen prompts and of those of the checkpoint at
            matched KL, by name, likewise.
        measured: what else is known of them.

    Returns:
        How many prompts were cut, if any.
    """

    def texts(responses: Responses) -> list[str]:
        return [tokens.text(response) for response in responses]

    outputs: dict[str, Any] = {"prompts": splits, "sampled": list(map(texts, sampled))}
    outputs |= {"sampled_ids": sampled, **measured}
    for name, ids in more.items():
        outputs |= {name: texts(ids), f"{name}_ids": ids}
    (out / OUTPUTS).write_text(json.dumps(outputs) + "\n")
    return tokens.cut_prompts(text for prompts in splits.values() for text in prompts)


def _responses(
    backbone: Backbone,
    adapter: str | None,
    prompts: list[str],
    sampling: Sampling,
    rng: torch.Generator,
) -> Responses:
    """Ids of a response to each prompt."""
    ids = [backbone.tokens.prompt(text) for text in prompts]
    return sample(backbone, adapter, ids, sampling, rng)
