"""Pairs of responses: sampled from the SFT model, annotated, and edited."""

from __future__ import annotations

import random
from itertools import combinations
from pathlib import Path
from typing import Any

from bench.config import PreferenceConfig
from bench.data import Comparison, Edit, Preference, Ranking, read_rows, write_rows
from bench.editing.acceptance import require_answers
from bench.loading import plugin_options
from bench.models.rollout import Sampling, sample
from bench.pipeline import Context
from bench.protocols import Editor
from bench.registry import EDITORS
from bench.stages.sft import load_sft
from bench.training.optimisation import generator

SAMPLES, PREFERENCES, EDITS = "samples.jsonl", "preferences.jsonl", "edits.jsonl"
RANKINGS = "rankings.jsonl"  # beside the pairs where there are more than two responses


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
    texts: list[str] = []
    chunk = 8 * sampling.batch_size
    with context.progress.task("sample pairs", total=len(ids)) as task:
        for start in range(0, len(ids), chunk):
            drawn = sample(backbone, None, ids[start : start + chunk], sampling, rng)
            texts += [backbone.tokens.text(response) for response in drawn]
            task.advance(len(drawn))
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


def build_preferences(context: Context, out: Path, inputs: list[Path]) -> dict[str, Any]:
    """The annotator's choice between a prompt's first two responses, and the ranking of them all.

    Every two responses are compared once, noise included; what won as often has the same rank
    (arXiv:2203.02155 asks for a ranking at once).
    """
    config, seed = context.config.preferences, context.config.seed
    rng = random.Random(f"annotate:{seed}")
    rows, rankings = [], []
    for prompt, responses in _samples(inputs[0]):
        verdicts = {
            (i, j): (i, j)[context.suite.prefer(prompt, first, second, rng, config.flip)]
            for (i, first), (j, second) in combinations(enumerate(responses), 2)
        }
        chosen = verdicts[0, 1]
        rows.append(
            Preference(prompt=prompt, chosen=responses[chosen], rejected=responses[1 - chosen])
        )
        ranks = ranks_of_winners(list(verdicts.values()), len(responses))
        rankings.append(Ranking(prompt=prompt, responses=responses, ranks=ranks))
    write_rows(out / PREFERENCES, rows)
    if config.responses > 2:
        write_rows(out / RANKINGS, rankings)
    return {"pairs": len(rows)}


def _samples(folder: Path) -> list[tuple[str, list[str]]]:
    """Every prompt with its responses."""
    if (folder / RANKINGS).exists():
        return [(row.prompt, row.responses) for row in read_rows(folder / RANKINGS, Ranking)]
    rows = read_rows(folder / SAMPLES, Comparison)
    return [(row.prompt, [row.output_1, row.output_2]) for row in rows]


def ranks_of_winners(winners: list[int], responses: int) -> list[int]:
    """Ranks by number of wins, 0 best, equal numbers tied; `winners` has one index a comparison."""
    wins = [winners.count(i) for i in range(responses)]
    order = sorted(set(wins), reverse=True)
    return [order.index(n) for n in wins]


def build_edits(context: Context, out: Path, inputs: list[Path]) -> dict[str, Any]:
    """The minimal edit of every less preferred response y_l (arXiv:2406.02756, Section 2.1)."""
    pairs = read_rows(inputs[0] / PREFERENCES, Preference)
    responses = [(pair.prompt, pair.rejected) for pair in pairs]
    source, edited, stats = _edited(context, responses)
    rows = [
        Edit(prompt=prompt, original=original, edited=text, source=source)
        for (prompt, original), text in zip(responses, edited, strict=True)
    ]
    write_rows(out / EDITS, rows)
    unchanged = sum(row.original == row.edited for row in rows)
    return {"pairs": len(rows), "unchanged": unchanged} | stats


def make_editor(context: Context) -> Editor | None:
    """Who makes the minimal edits; None where the suite does.

    Raises:
        UserError: there is no such editor, or an option is wrong.
    """
    name = context.config.preferences.editor
    if name is None:
        return None
    editor: Editor = EDITORS.get(name)(
        plugin_options(context.config, "editor"),
        answers=context.answers / "edit.jsonl",
        say=context.progress.say,
    )
    return editor


def _edited(
    context: Context, responses: list[tuple[str, str]]
) -> tuple[str, list[str], dict[str, Any]]:
    """Who edited, the edited texts, and statistics; what has no edit stays as it was."""
    config, suite = context.config.preferences, context.suite
    editor = make_editor(context)
    if editor is None:
        rng = random.Random(f"edit:{context.config.seed}")
        texts = [suite.edit(*response, rng, config.miss) for response in responses]
        return f"{suite.name} editor", texts, {}
    results = editor.edit(responses)
    # As a stage's artifact they would be final.
    require_answers(results, config.max_missing, "no edits are kept (preferences.max_missing)")
    texts = [
        original if result.edited is None else result.edited
        for (_, original), result in zip(responses, results, strict=True)
    ]
    about = editor.about()
    record = {
        "name": editor.name,
        "source": editor.source,
        "cost_usd": about.pop("cost_usd", None),
        "details": about,
    }
    return editor.source, texts, {"editor": record}


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


def training_rankings(folder: Path, config: PreferenceConfig) -> list[Ranking]:
    """The rankings of the same prompts; none where there are only pairs."""
    if not (folder / RANKINGS).exists():
        return []
    return read_rows(folder / RANKINGS, Ranking)[: config.pairs]


def held_out_pairs(folder: Path, config: PreferenceConfig) -> list[Preference]:
    """The pairs kept back, about other prompts."""
    return read_pairs(folder)[config.pairs :]
