"""Rows: their ids, by which pairs and edits join, and what is said of a file that is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench.data import (
    Comparison,
    Demonstration,
    Edit,
    Preference,
    Ranking,
    Row,
    read_edits,
    read_rows,
    write_rows,
)
from bench.errors import UserError

PAIR = {"prompt": "Go.", "chosen": "Yes.", "rejected": "No."}
EDIT = {"prompt": "Go.", "original": "No.", "edited": "No!", "source": "me"}
ROWS: list[tuple[type[Row], dict[str, Any]]] = [
    (Demonstration, {"prompt": "Go.", "response": "Yes."}),
    (Preference, PAIR),
    (Ranking, {"prompt": "Go.", "responses": ["a", "b"], "ranks": [0, 1]}),
    (Edit, EDIT),
    (Comparison, {"prompt": "Go.", "output_1": "a", "output_2": "b", "preference": None}),
]


@pytest.mark.parametrize(("kind", "fields"), ROWS)
def test_a_row_may_have_an_id_and_a_file_without_ids_stays_as_it_was(
    kind: type[Row], fields: dict[str, Any], tmp_path: Path
) -> None:
    path = tmp_path / "rows.jsonl"
    bare = kind.model_validate(fields)
    write_rows(path, [bare, bare])
    assert "id" not in path.read_text()
    assert read_rows(path, kind) == [bare, bare]
    named = [kind.model_validate({"id": name, **fields}) for name in ("a", "b")]
    write_rows(path, named)
    assert read_rows(path, kind) == named
    write_rows(path, [named[0], bare, named[0]])
    with pytest.raises(UserError, match=r"rows.jsonl, line 3, field id: 'a' is the id of line 1"):
        read_rows(path, kind)


@pytest.mark.parametrize("name", ["", 7])
def test_an_id_is_a_text(name: object, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(f'{{"id": {name!r}, "prompt": "p", "response": "r"}}'.replace("'", '"'))
    with pytest.raises(UserError, match=r"rows.jsonl, line 1, field id: "):
        read_rows(path, Demonstration)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"id": "b"}, "field id: no pair has the id 'b'"),
        ({"id": None}, "field id: an edit joins its pair by id, and this one has none"),
        ({"prompt": "Stop."}, "field prompt: the pair 'a' has another prompt"),
        ({"original": "Yes."}, "field original: it is not the rejected response of the pair 'a'"),
    ],
)
def test_an_edit_that_joins_no_pair_is_named(
    changed: dict[str, Any], said: str, tmp_path: Path
) -> None:
    pairs = [Preference(id="a", **PAIR), Preference(**PAIR)]
    good = Edit(id="a", **EDIT)
    path = tmp_path / "edits.jsonl"
    write_rows(path, [good])
    assert read_edits(path, pairs) == [good]
    bad = Edit.model_validate({"id": "a", **EDIT, **changed})
    path.write_text("\n" + bad.model_dump_json() + "\n")
    with pytest.raises(UserError, match=f"edits.jsonl, line 2, {said}"):
        read_edits(path, pairs)
