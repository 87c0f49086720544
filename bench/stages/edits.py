"""The minimal edit of every less preferred response y_l (arXiv:2406.02756, Section 2.1)."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, median
from typing import TYPE_CHECKING, Any

from bench.data import Edit, Preference, read_rows, write_rows
from bench.editing.changes import TextChanges, text_changes
from bench.stages.pairs import EDITS, PREFERENCES

if TYPE_CHECKING:
    from bench.config.run import EditConfig
    from bench.pipeline.stage import Context


def build_edits(context: Context, out: Path, inputs: list[Path]) -> dict[str, Any]:
    """Edits by the suite itself; inputs: preferences."""
    config, suite = context.config, context.suite
    rng = random.Random(f"edit:{config.seed}")
    rows = [
        edit_of(
            pair,
            suite.edit(pair.prompt, pair.rejected, rng, config.edits.miss),
            f"{suite.name} editor",
        )
        for pair in read_rows(inputs[0] / PREFERENCES, Preference)
    ]
    return write_edits(out, rows, config.edits)


def edit_of(pair: Preference, text: str, source: str) -> Edit:
    """The row of a pair whose y_l became `text`."""
    return Edit(
        id=pair.id,
        prompt=pair.prompt,
        original=pair.rejected,
        edited=text,
        source=source,
        original_ids=pair.rejected_ids,
    )


def write_edits(out: Path, rows: Sequence[Edit], config: EditConfig) -> dict[str, Any]:
    """Write the edits, in the order of the pairs; returns counts, and how much was changed.

    A response whose edit changes too much stays as it was, and so teaches nothing.
    """
    changes = [text_changes(row.original, row.edited) for row in rows]
    too_much = [_too_much(change, config) for change in changes]
    kept = [
        row.model_copy(update={"edited": row.original}) if much else row
        for row, much in zip(rows, too_much, strict=True)
    ]
    write_rows(out / EDITS, kept)
    shares = [
        change.fraction
        for change, much, row in zip(changes, too_much, rows, strict=True)
        if not much and row.original != row.edited
    ]
    counts = {
        "pairs": len(kept),
        "unchanged": sum(row.original == row.edited for row in kept),
    }
    if config.max_changed is not None:
        counts["changed_too_much"] = sum(too_much)
    if not shares:
        return counts
    return counts | {"changed": {"mean": fmean(shares), "median": median(shares), "n": len(shares)}}


def _too_much(change: TextChanges, config: EditConfig) -> bool:
    """Whether an edit is over the limit; of a short response no share is small."""
    if config.max_changed is None or change.tokens <= config.always_allowed:
        return False
    return change.fraction > config.max_changed
