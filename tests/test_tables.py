"""Tables in files are read with the place of each row."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path

import pytest

from bench.errors import UserError
from bench.tables import FORMS as NAMED
from bench.tables import read_table, shortened

FORMS = f"it has to be {re.escape(NAMED)}$"
ROWS = [{"a": "1"}, {"a": "\u2028"}]


@pytest.mark.parametrize("name", ["t.json", "t.json.gz", "t.jsonl", "t.jsonl.gz"])
def test_rows_come_with_their_places(name: str, tmp_path: Path) -> None:
    lines = "\n\n".join(json.dumps(row, ensure_ascii=False) for row in ROWS)
    text = lines if ".jsonl" in name else json.dumps(ROWS)
    content = text.encode()
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    places = ["line 1", "line 3"] if ".jsonl" in name else ["row 1", "row 2"]
    assert list(read_table(tmp_path / name)) == list(zip(places, ROWS, strict=True))


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("t.jsonl", b'{"a": 1}\n{"a": ', r"t.jsonl, line 2: not JSON"),
        ("t.json", b'{"a": 1}', r"t.json is not a list of rows, but begins with '\{\"a\": 1\}'"),
        ("t.json.gz", b"[]", "cannot read .*t.json.gz"),
        ("t.json", b"\xff", "cannot read .*t.json"),
        ("t.json", b'{"a": 1}\n{"a": 2}', FORMS),  # JSONL by another name
        ("t.json", b'{"a": 1}\n', FORMS),
        ("t.json", b"a,b\n1,2\n", FORMS),
        ("t.csv", b"a,b\n1,2\n", FORMS),
        ("t.jsonl", b"a,b\n1,2\n", FORMS),
        ("t.jsonl", b'[\n{"a": 1}\n]', FORMS),
        ("t.jsonl", b'[{"a": 1}]', FORMS),
        ("t.json", gzip.compress(b"[]", mtime=0), FORMS),
        ("t.jsonl.gz", b"{}", FORMS),
        ("t.jsonl", b"{}\n" + b"[" * 100_000, r"t.jsonl, line 2: not JSON"),
        ("t.jsonl", b'{"a": 1' + b"0" * 5000 + b"}", r"t.jsonl, line 1: not JSON"),
    ],
)
def test_what_is_no_table_is_named(name: str, content: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=said):
        list(read_table(tmp_path / name))


def test_shortened() -> None:
    assert shortened("a\n" * 40) == repr("a\n" * 30 + "...")
