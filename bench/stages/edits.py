"""The minimal edit of every less preferred response y_l (arXiv:2406.02756, Section 2.1)."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.data import Edit, Preference, read_rows, write_rows
from bench.stages.pairs import EDITS, PREFERENCES

if TYPE_CHECKING:
    from bench.pipeline.stage import Context


def build_edits(context: Context, out: Path, inputs: list[Path]) -> dict[str, Any]:
    """Edits by the suite itself; inputs: preferences."""
    config, suite = context.config, context.suite
    rng = random.Random(f"edit:{config.seed}")
    rows = [
        edit_of(
            pair,
            suite.edit(pair.prompt, pair.rejected, rng, config.preferences.miss),
            f"{suite.name} editor",
        )
        for pair in read_rows(inputs[0] / PREFERENCES, Preference)
    ]
    return write_edits(out, rows)


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


def write_edits(out: Path, rows: Sequence[Edit]) -> dict[str, Any]:
    """Write the edits, in the order of the pairs; returns counts."""
    write_rows(out / EDITS, rows)
    return {"pairs": len(rows), "unchanged": sum(row.original == row.edited for row in rows)}
