"""Files into a study: items, and known answers to some that nobody sees are known."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.errors import UserError
from bench.studio.tasks import Item, TaskName, Value, read_items


@dataclass(frozen=True)
class Added:
    """What a file brought.

    Attributes:
        new: items that the study did not have.
        known: items that it had.
        golds: known answers that it did not have.
    """

    new: int
    known: int
    golds: int = 0


def read_golds(path: Path, task: TaskName) -> list[tuple[Item, Value]]:
    """The items of a file with their known answers.

    Raises:
        UserError: as `read_items`, or a row has no answer.
    """
    found = []
    for number, (item, value) in enumerate(read_items(path, task), start=1):
        if value is None:
            raise UserError(f"{path}, row {number}: a hidden item needs its answer, this has none")
        found.append((item, value))
    return found


def add_items(connection: sqlite3.Connection, items: Sequence[Item], now: float) -> Added:
    """Add the items that the study does not have yet, in their order."""
    new = sum(_add(connection, item, now) for item in items)
    return Added(new, len(items) - new)


def add_golds(
    connection: sqlite3.Connection, golds: Sequence[tuple[Item, Value]], now: float
) -> Added:
    """Add known answers, with their items; an item that has one keeps it."""
    added = add_items(connection, [item for item, _ in golds], now)
    before = connection.total_changes
    connection.executemany(
        "INSERT OR IGNORE INTO golds (item, value, at) SELECT number, ?, ? FROM items WHERE id = ?",
        [(json.dumps(value, ensure_ascii=False), now, item.id) for item, value in golds],
    )
    return Added(added.new, added.known, connection.total_changes - before)


def _add(connection: sqlite3.Connection, item: Item, now: float) -> int:
    cursor = connection.execute(
        "INSERT OR IGNORE INTO items (id, task, row, draw, at) VALUES (?, ?, ?, ?, ?)",
        (item.id, item.task, item.content.model_dump_json(), share_of(item.id), now),
    )
    return cursor.rowcount


def number_of(connection: sqlite3.Connection, item: str) -> int:
    """Of an item that the study has, by its id."""
    return int(connection.execute("SELECT number FROM items WHERE id = ?", (item,)).fetchone()[0])


def share_of(*texts: object) -> float:
    """A number in [0, 1) that is always the same for the same texts."""
    digest = hashlib.sha256("\n".join(map(str, texts)).encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48
