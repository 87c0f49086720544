"""The files of pairs that stages hand to each other."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bench.data import Edit, Preference, Ranking, read_rows

if TYPE_CHECKING:
    from bench.config.run import PreferenceConfig

SAMPLES, PREFERENCES, EDITS = "samples.jsonl", "preferences.jsonl", "edits.jsonl"
RANKINGS = "rankings.jsonl"  # beside the pairs where there are more than two responses


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
