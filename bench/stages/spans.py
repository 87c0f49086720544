"""The errors of every less preferred response, as people or a program marked them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.data import Annotation, Preference, Span, read_rows, write_rows
from bench.errors import UserError
from bench.plugins.capabilities import SimulatedMarker, Spans
from bench.stages.pairs import PREFERENCES, SPANS

if TYPE_CHECKING:
    from bench.pipeline.stage import Context


def build_spans(context: Context, out: Path, inputs: list[Path]) -> dict[str, Any]:
    """One annotated response a pair, in the pairs' order: y_l, as in edits; inputs: preferences."""
    config, suite = context.config, context.suite
    pairs = read_rows(inputs[0] / PREFERENCES, Preference)
    if isinstance(suite, SimulatedMarker):
        rng, miss = random.Random(f"mark:{config.seed}"), config.edits.miss
        found = [list(suite.mark(pair.prompt, pair.rejected, rng, miss)) for pair in pairs]
        rows = [_annotation(*row) for row in zip(pairs, found, strict=True)]
    else:
        rows = given_spans(suite, pairs, config.edits.max_missing)
    write_rows(out / SPANS, rows)
    return {"pairs": len(rows), "unchanged": sum(not row.spans for row in rows)}


def given_spans(suite: Spans, pairs: Sequence[Preference], max_missing: float) -> list[Annotation]:
    """What a suite's files say of y_l of each pair.

    Raises:
        UserError: nobody has looked at more than the share `max_missing` of them.
    """
    rows = []
    for pair in pairs:
        found = suite.spans(pair.prompt, pair.rejected)
        rows.append(_annotation(pair, None if found is None else list(found)))
    missing = sum(row.spans is None for row in rows)
    if missing > max_missing * len(rows):
        raise UserError(
            f"the suite {getattr(suite, 'name', '')} has no error spans of the less preferred "
            f"response of {missing} of {len(rows)} pairs, more than edits.max_missing="
            f"{max_missing:g}: raise it, or choose other pairs"
        )
    return rows


def _annotation(pair: Preference, spans: list[Span] | None) -> Annotation:
    text = pair.rejected
    trimmed = None if spans is None else [own for span in spans if (own := _trimmed(span, text))]
    return Annotation(
        id=pair.id,
        prompt=pair.prompt,
        response=text,
        spans=trimmed,
        response_ids=pair.rejected_ids,
    )


def _trimmed(span: Span, text: str) -> Span | None:
    """Without white space at its ends, which a token of the next segment may begin with."""
    marked = text[span.start : span.end]
    if not marked.strip():
        return None
    start = span.start + len(marked) - len(marked.lstrip())
    return Span(start=start, end=start + len(marked.strip()), kind=span.kind)
