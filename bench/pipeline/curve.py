"""The curve of a stage that trains: a row a step, heard of as it grows, kept in a file."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

FILE = "metrics.jsonl"

Row = dict[str, float]
# Hears a stage's name and its rows so far, the newest last: more and more of them, and those of a
# stage that was stored before at once.
Listener = Callable[[str, Sequence[Row]], None]


class Curve:
    """Rows of one stage, which have their "step" among their numbers.

    Args:
        stage: its name.
        listen: called after each row.
    """

    def __init__(self, stage: str, listen: Listener) -> None:
        self.rows: list[Row] = []
        self._stage, self._listen = stage, listen

    def add(self, row: Row) -> None:
        """Append a row; a stage that goes on from a checkpoint first adds those before it."""
        self.rows.append(row)
        self._listen(self._stage, self.rows)

    def write(self, out: Path) -> None:
        """Keep it in the stage's folder."""
        (out / FILE).write_text("".join(json.dumps(row) + "\n" for row in self.rows))


def read_curve(folder: Path) -> list[Row]:
    """The rows that a stage kept; none where it has no curve."""
    file = folder / FILE
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
