"""Who marks the errors that segment models learn, and what nobody has looked at."""

from __future__ import annotations

import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bench.config.loading import load_config
from bench.data import Annotation, Preference, Span, read_rows, write_rows
from bench.errors import UserError
from bench.stages.pairs import PREFERENCES, SPANS, training_annotations
from bench.stages.spans import build_spans, given_spans
from bench.suites.testbed import editor, gold
from bench.suites.testbed.suite import Testbed


def built(folder: Path, suite: Any, pairs: list[Preference], *overrides: str) -> list[Annotation]:
    (folder / "in").mkdir()
    write_rows(folder / "in" / PREFERENCES, pairs)
    config: Any = load_config("testbed", list(overrides))
    context: Any = SimpleNamespace(config=config, suite=suite)
    build_spans(context, folder, [folder / "in"])
    return read_rows(folder / SPANS, Annotation)


def drawn(n: int) -> list[Preference]:
    written = Testbed().demonstrations(n, 0)
    return [
        Preference(prompt=prompt, chosen="Yes.", rejected=text, rejected_ids=[i])
        for i, (prompt, text) in enumerate(written)
    ]


@pytest.mark.parametrize(("miss", "low", "high"), [(0.0, 1, 1), (0.3, 0.6, 0.8), (1.0, 0, 0)])
def test_the_testbed_marks_what_is_not_overlooked(
    miss: float, low: float, high: float, tmp_path: Path
) -> None:
    """Of the same responses as the edits, in their order, ids and all."""
    pairs, suite = drawn(300), Testbed()
    rows = built(tmp_path, suite, pairs, f"edits.miss={miss}")
    assert [(row.prompt, row.response, row.response_ids) for row in rows] == [
        (pair.prompt, pair.rejected, pair.rejected_ids) for pair in pairs
    ]
    there = [gold.spans(pair.prompt, pair.rejected) for pair in pairs]
    assert all(set(row.spans or ()) <= set(own) for row, own in zip(rows, there, strict=True))
    share = sum(len(row.spans or ()) for row in rows) / sum(map(len, there))
    assert low <= share <= high
    config = load_config("testbed", ["preferences.pairs=200"]).preferences
    assert training_annotations(tmp_path, config) == rows[:200]
    assert training_annotations(tmp_path / "in", config) == []


def test_errors_are_overlooked_by_editor_and_marker_in_one_way() -> None:
    seen = [editor.noticed(random.Random(i), 0.1) for i in range(2000)]
    assert 0.88 < sum(seen) / len(seen) < 0.92
    prompt, text = Testbed().demonstrations(6, 0)[1]  # two wrong values
    spans = gold.spans(prompt, text)
    for seed in range(20):
        rng = random.Random(seed)
        noticed = [span for span in spans if editor.noticed(rng, 0.5)]
        assert editor.mark(prompt, text, random.Random(seed), miss=0.5) == noticed


class Given:
    """A suite whose files know the errors of some responses."""

    name = "given"

    def spans(self, prompt: str, response: str) -> list[Span] | None:
        spaces = Span(start=3, end=9, kind="a"), Span(start=9, end=10, kind="b")
        return None if response == "?" else [*spaces]


def test_given_errors_lose_the_white_space_at_their_ends(tmp_path: Path) -> None:
    """Which the first token of a next sentence may begin with."""
    pair = Preference(id="1", prompt="Go.", chosen="Yes.", rejected="Red  old.  Far.")
    (row,) = built(tmp_path, Given(), [pair])
    assert row.spans == [Span(start=5, end=9, kind="a")]
    assert row.id == "1"


def test_what_nobody_has_looked_at_is_kept_as_such_or_too_much(tmp_path: Path) -> None:
    pairs = [Preference(prompt="Go.", chosen="Yes.", rejected=text) for text in ("Red  old. ", "?")]
    rows = given_spans(Given(), pairs, 0.5)
    assert [row.spans is None for row in rows] == [False, True]
    with pytest.raises(UserError, match=r"given has no error spans .* of 1 of 2 pairs, more"):
        given_spans(Given(), pairs, 0.4)
