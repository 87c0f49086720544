"""Tables in files: .json (a list of rows) or .jsonl (a row a line), either with .gz.

A row comes with its place in the file, so that whoever finds a mistake in it can say where.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.errors import UserError

FORMS = ".json (a list of rows) or .jsonl (a row, which is a JSON object, a line), also with .gz"
"""What a table may be, for a message: a file is read by the ending of its name."""


def read_table(path: Path) -> Iterator[tuple[str, Any]]:
    """The rows as they are in the file, and where in it: "line 7" or "row 7".

    Raises:
        UserError: it cannot be read, or is no JSON; naming file and place.
    """
    text = _text(path)
    if ".jsonl" in path.suffixes[-2:]:
        for number, line in enumerate(text.split("\n"), start=1):  # not splitlines: U+2028 is text
            if line.strip():
                row = _json(line, f"{path}, line {number}")
                if isinstance(row, list):
                    raise UserError(f"{path}, line {number}: a list, no row; it has to be {FORMS}")
                yield f"line {number}", row
        return
    rows = _json(text, str(path))
    if not isinstance(rows, list):
        begins = f"begins with {shortened(text.strip())}"
        raise UserError(f"{path} is not a list of rows, but {begins}; it has to be {FORMS}")
    for number, row in enumerate(rows, start=1):
        yield f"row {number}", row


def shortened(text: str, most: int = 60) -> str:
    """The beginning of a text, at most `most` characters, quoted for a message."""
    return repr(text if len(text) <= most else text[:most] + "...")


def _text(path: Path) -> str:
    try:
        content = path.read_bytes()
        if path.suffix == ".gz":
            content = gzip.decompress(content)
        return content.decode("utf-8-sig")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or f"{error}; it has to be {FORMS}"
        raise UserError(f"cannot read {path}: {reason}") from error


def _json(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:  # an integer of too many digits; lists in lists
        raise UserError(f"{where}: not JSON: {error}; it has to be {FORMS}") from error
