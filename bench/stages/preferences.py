"""Pairs of responses: sampled from the SFT model, annotated, and edited."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from bench.config import PreferenceConfig
from bench.data import Comparison, Edit, Preference, read_rows, write_rows
from bench.models.rollout import Sampling, sample
from bench.pipeline import Context
from bench.stages.sft import load_sft
from bench.training.optimisation import generator

SAMPLES, PREFERENCES, EDITS = "samples.jsonl", "preferences.jsonl", "edits.jsonl"


def build_samples(context: Context, out: Path, inputs: list[Path]) -> dict[str, Any]:
    """Two responses of the SFT model to each preference prompt (`preference` still empty)."""
    config, seed = context.config.preferences, context.config.seed
    backbone = load_sft(context, inputs[0])
    prompts = context.suite.prompts("preference", config.pairs + config.held_out, seed)
    ids = [backbone.tokens.prompt(text) for text in prompts]
    sampling = Sampling(config.max_new_tokens, config.temperature)
    rng = generator("samples", seed)
    texts = []
    chunk = 8 * sampling.batch_size
    with context.progress.task("sample pairs", total=2 * len(prompts)) as task:
        for start in range(0, 2 * len(ids), chunk):
            drawn = sample(backbone, None, (ids + ids)[start : start + chunk], sampling, rng)
            texts += [backbone.tokens.text(response) for response in drawn]
            task.advance(len(drawn))
    pairs = zip(prompts, texts[: len(prompts)], texts[len(prompts) :], strict=True)
    rows = [Comparison(prompt=p, output_1=a, output_2=b, preference=None) for p, a, b in pairs]
    write_rows(out / SAMPLES, rows)
    return {"pairs": len(rows)}


def build_preferences(context: Context, out: Path, inputs: list[Path]) -> dict[str, Any]:
    """The annotator's choice between the two responses of every pair."""
    config, seed = context.config.preferences, context.config.seed
    rng = random.Random(f"annotate:{seed}")
    rows = []
    for pair in read_rows(inputs[0] / SAMPLES, Comparison):
        both = pair.output_1, pair.output_2
        chosen = context.suite.prefer(pair.prompt, *both, rng, config.flip)
        rows.append(Preference(prompt=pair.prompt, chosen=both[chosen], rejected=both[1 - chosen]))
    write_rows(out / PREFERENCES, rows)
    return {"pairs": len(rows)}


def build_edits(context: Context, out: Path, inputs: list[Path]) -> dict[str, Any]:
    """The minimal edit of every less preferred response y_l (arXiv:2406.02756, Section 2.1)."""
    config, seed = context.config.preferences, context.config.seed
    rng = random.Random(f"edit:{seed}")
    rows = [
        Edit(
            prompt=pair.prompt,
            original=pair.rejected,
            edited=context.suite.edit(pair.prompt, pair.rejected, rng, config.miss),
            source=f"{context.suite.name} editor",
        )
        for pair in read_rows(inputs[0] / PREFERENCES, Preference)
    ]
    write_rows(out / EDITS, rows)
    return {"pairs": len(rows), "unchanged": sum(row.original == row.edited for row in rows)}


def read_pairs(folder: Path) -> list[Preference]:
    """The pairs of a preferences or an edits artifact; an edit is preferred to its original."""
    if (folder / EDITS).exists():
        return [
            Preference(prompt=row.prompt, chosen=row.edited, rejected=row.original)
            for row in read_rows(folder / EDITS, Edit)
        ]
    return read_rows(folder / PREFERENCES, Preference)


def training_pairs(folder: Path, config: PreferenceConfig) -> list[Preference]:
    """The pairs that reward models learn from: the first `pairs`."""
    return read_pairs(folder)[: config.pairs]


def held_out_pairs(folder: Path, config: PreferenceConfig) -> list[Preference]:
    """The pairs kept back, about other prompts."""
    return read_pairs(folder)[config.pairs :]
