"""Responses of the SFT model, of which pairs are made."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.data import Comparison, Demonstration, Ranking, write_rows
from bench.models.rollout import Sampling, sample
from bench.stages.drawing import draw_prompts
from bench.stages.pairs import RANKINGS, RESPONSES, SAMPLES, training_pairs
from bench.stages.sft import load_sft
from bench.training.checkpoints import Checkpoints
from bench.training.optimisation import generator

if TYPE_CHECKING:
    from bench.models.backbone import Backbone
    from bench.pipeline.stage import Context


def build_samples(context: Context, out: Path, inputs: list[Path]) -> dict[str, Any]:
    """K responses of the SFT model to each preference prompt, of which two make a pair.

    `preference` is still empty; all K, where K > 2, make a ranking in which all are tied.
    """
    config = context.config.preferences
    backbone = load_sft(context, inputs[0])
    prompts = draw_prompts(context.suite, "preference", context.config)
    drawn = _drawn(context, backbone, out, prompts * config.responses, "sample pairs")
    rows, rankings = [], []
    # K rounds over all prompts: response k to prompt i is drawn[k * len(prompts) + i].
    for i, prompt in enumerate(prompts):
        ids = drawn[i :: len(prompts)]
        y = [backbone.tokens.text(response) for response in ids]
        rows.append(
            Comparison(
                prompt=prompt,
                output_1=y[0],
                output_2=y[1],
                preference=None,
                ids_1=ids[0],
                ids_2=ids[1],
            )
        )
        ties = [0] * len(ids)
        rankings.append(Ranking(prompt=prompt, responses=y, ranks=ties, response_ids=ids))
    write_rows(out / SAMPLES, rows)
    if config.responses > 2:
        write_rows(out / RANKINGS, rankings)
    aside = context.config.evaluation.heldout_pairs
    counts = {"pairs": len(rows)} | ({"set_aside": aside} if aside else {})
    return counts | backbone.tokens.cut_prompts(prompts)


def build_responses(context: Context, out: Path, inputs: list[Path]) -> dict[str, Any]:
    """Responses of the SFT model to the prompts of pairs that the suite brought; no pair is made.

    They fix the mean and the scale of a reward model's output, and so there are
    `reward_model.normalisation_samples` of them; several to a prompt where there are fewer prompts.
    Inputs: SFT, preferences.
    """
    config = context.config
    backbone = load_sft(context, inputs[0])
    pairs = training_pairs(inputs[1], config.preferences, backbone.tokens)
    distinct = list(dict.fromkeys(pair.prompt for pair in pairs))
    prompts = [
        distinct[i % len(distinct)] for i in range(config.reward_model.normalisation_samples)
    ]
    drawn = _drawn(context, backbone, out, prompts, "sample responses")
    rows = [
        Demonstration(prompt=prompt, response=backbone.tokens.text(ids), response_ids=ids)
        for prompt, ids in zip(prompts, drawn, strict=True)
    ]
    write_rows(out / RESPONSES, rows)
    return backbone.tokens.cut_prompts(distinct)


def _drawn(
    context: Context, backbone: Backbone, out: Path, prompts: list[str], what: str
) -> list[list[int]]:
    """Ids of a response to each prompt; goes on where an interrupted attempt stopped."""
    config = context.config.preferences
    ids = [backbone.tokens.prompt(text) for text in prompts]
    sampling = Sampling.of(context.config.model, config.max_new_tokens, config.temperature)
    rng = generator("samples", context.config.seed)
    drawn: list[list[int]] = []
    checkpoints = Checkpoints(out, context.progress.say)
    if state := checkpoints.read():
        drawn = state["drawn"]
        rng.set_state(state["rng"])
    chunk = 8 * sampling.batch_size  # between two checkpoints; prompts of like length go together
    with context.progress.task(what, total=len(ids)) as task:
        task.reach(len(drawn))
        for start in range(len(drawn), len(ids), chunk):
            drawn += sample(backbone, None, ids[start : start + chunk], sampling, rng)
            task.reach(len(drawn))
            if checkpoints.due():
                checkpoints.write({"drawn": drawn, "rng": rng.get_state()})
    return drawn
