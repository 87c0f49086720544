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
    responses = less_preferred(inputs[0])
    texts = [suite.edit(*response, rng, config.preferences.miss) for response in responses]
    return write_edits(out, responses, texts, f"{suite.name} editor")


def less_preferred(folder: Path) -> list[tuple[str, str]]:
    """(prompt, y_l) of every pair of a preferences artifact."""
    return [(pair.prompt, pair.rejected) for pair in read_rows(folder / PREFERENCES, Preference)]


def write_edits(
    out: Path, responses: Sequence[tuple[str, str]], texts: Sequence[str], source: str
) -> dict[str, Any]:
    """Write the edited texts, in the order of the responses; returns counts."""
    rows = [
        Edit(prompt=prompt, original=original, edited=text, source=source)
        for (prompt, original), text in zip(responses, texts, strict=True)
    ]
    write_rows(out / EDITS, rows)
    return {"pairs": len(rows), "unchanged": sum(row.original == row.edited for row in rows)}
