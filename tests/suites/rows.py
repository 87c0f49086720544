"""Files for the tests of suites: written row by row, and runs of the three methods on them."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

WORDS = ["red", "blue", "old", "cold", "far", "near", "warm", "small"]


def write(path: Path, rows: Iterable[Any]) -> Path:
    """A list in a .json file, a row a line in a .jsonl file; .gz is gzipped."""
    rows = list(rows)
    is_lines = ".jsonl" in path.suffixes[-2:]
    text = "".join(json.dumps(row) + "\n" for row in rows) if is_lines else json.dumps(rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def word(i: int) -> str:
    return WORDS[i % len(WORDS)]
