"""Responses of the SFT model, of which pairs are made."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.data import Comparison, Ranking, write_rows
from bench.models.rollout import Sampling, sample
from bench.stages.pairs import RANKINGS, SAMPLES
from bench.stages.sft import load_sft
from bench.training.checkpoints import Checkpoints
from bench.training.optimisation import generator

if TYPE_CHECKING:
    from bench.pipeline.stage import Context


def build_samples(context: Context, out: Path, inputs: list[Path]) -> dict[str, Any]:
    """K responses of the SFT model to each preference prompt, of which two make a pair.

    `preference` is still empty; all K, where K > 2, make a ranking in which all are tied.
    """
    config, seed = context.config.preferences, context.config.seed
    backbone = load_sft(context, inputs[0])
    prompts = context.suite.prompts("preference", config.pairs + config.held_out, seed)
    ids = [backbone.tokens.prompt(text) for text in prompts] * config.responses
    sampling = Sampling(config.max_new_tokens, config.temperature)
    rng = generator("samples", seed)
    checkpoints, texts = Checkpoints(out, context.progress.say), []
    if state := checkpoints.read():
        texts = state["texts"]
        rng.set_state(state["rng"])
    chunk = 8 * sampling.batch_size
    with context.progress.task("sample pairs", total=len(ids)) as task:
        task.reach(len(texts))
        for start in range(len(texts), len(ids), chunk):
            drawn = sample(backbone, None, ids[start : start + chunk], sampling, rng)
            texts += [backbone.tokens.text(response) for response in drawn]
            task.reach(len(texts))
            if checkpoints.due():
                checkpoints.write({"texts": texts, "rng": rng.get_state()})
    responses = [texts[i :: len(prompts)] for i in range(len(prompts))]
    rows = [
        Comparison(prompt=prompt, output_1=y[0], output_2=y[1], preference=None)
        for prompt, y in zip(prompts, responses, strict=True)
    ]
    write_rows(out / SAMPLES, rows)
    if config.responses > 2:
        ties = [0] * config.responses
        rankings = zip(prompts, responses, strict=True)
        write_rows(
            out / RANKINGS, [Ranking(prompt=p, responses=y, ranks=ties) for p, y in rankings]
        )
    return {"pairs": len(rows)} | backbone.tokens.cut_prompts(prompts)
