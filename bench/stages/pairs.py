"""The files of pairs that stages hand to each other."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bench.data import Annotation, Comparison, Demonstration, Edit, Preference, Ranking, read_rows

if TYPE_CHECKING:
    from bench.config.run import PreferenceConfig
    from bench.models.tokens import Tokens

SAMPLES, PREFERENCES, EDITS = "samples.jsonl", "preferences.jsonl", "edits.jsonl"
SPANS = "spans.jsonl"
RANKINGS = "rankings.jsonl"  # beside the pairs where there are more than two responses
RESPONSES = "responses.jsonl"  # instead of samples, where no pairs are made of them


def read_pairs(folder: Path, tokens: Tokens) -> list[Preference]:
    """The pairs of a preferences or an edits artifact; an edit is preferred to its original."""
    if (folder / EDITS).exists():
        return [edited_pair(row, tokens) for row in read_rows(folder / EDITS, Edit)]
    return read_rows(folder / PREFERENCES, Preference)


def edited_pair(row: Edit, tokens: Tokens) -> Preference:
    """An edit and its original; where that was drawn, the edit ends as it does."""
    drawn = row.original_ids
    same = drawn if row.edited == row.original else None  # what nobody changed is what was drawn
    return Preference(
        id=row.id,
        prompt=row.prompt,
        chosen=row.edited,
        rejected=row.original,
        chosen_ids=tokens.response(row.edited, same, edit_of=drawn),
        rejected_ids=drawn,
    )


def sft_samples(folder: Path, n: int, tokens: Tokens) -> list[tuple[str, list[int]]]:
    """Prompts and ids of the first n responses of a samples artifact; of each pair the first."""
    if (folder / RESPONSES).exists():
        single = read_rows(folder / RESPONSES, Demonstration)
        return [(row.prompt, tokens.response(row.response, row.response_ids)) for row in single[:n]]
    pairs = read_rows(folder / SAMPLES, Comparison)
    return [(row.prompt, tokens.response(row.output_1, row.ids_1)) for row in pairs[:n]]


def training_pairs(folder: Path, config: PreferenceConfig, tokens: Tokens) -> list[Preference]:
    """The pairs that reward models learn from: the first `pairs`."""
    return read_pairs(folder, tokens)[: config.pairs]


def training_rankings(folder: Path, config: PreferenceConfig) -> list[Ranking]:
    """The rankings of the same prompts; none where there are only pairs."""
    if not (folder / RANKINGS).exists():
        return []
    return read_rows(folder / RANKINGS, Ranking)[: config.pairs]


def training_annotations(folder: Path, config: PreferenceConfig) -> list[Annotation]:
    """The annotated responses of the same prompts; none in an artifact of another kind."""
    if not (folder / SPANS).exists():
        return []
    return read_rows(folder / SPANS, Annotation)[: config.pairs]


def held_out_pairs(folder: Path, config: PreferenceConfig, tokens: Tokens) -> list[Preference]:
    """The pairs kept back, about other prompts."""
    return read_pairs(folder, tokens)[config.pairs :]


def warnings(counts: dict[str, int], limit: str) -> list[str]:
    """What a user should know of the data that a model did, or did not, learn from.

    Args:
        counts: of `bench.training.comparisons.tokenise`.
        limit: the field that limits the tokens, and its value.
    """
    found = []
    if n := counts["identical"]:
        total = n + counts["pairs"]
        found.append(f"{n} of {total} pairs are twice the same response: left out")
    if n := counts["truncated"]:
        found.append(
            f"{n} responses cut to {limit} tokens with their prompt (or the model's context, if "
            "less): raise it to keep them whole"
        )
    return found
