"""Who gets which item next.

A person's own unfinished item comes first. Another one has room: fewer people than it is for have
answered it or are at it. Who is at an item holds a lease, which ends by itself; who skipped it has
not answered it.
"""

from __future__ import annotations

import json
import random
import sqlite3
from dataclasses import dataclass
from typing import Any

from bench.studio.database import insert
from bench.studio.items import share_of
from bench.studio.people import Person
from bench.studio.settings import Settings
from bench.studio.tasks import Item, TaskName

# How many others, than whom `:person` names, answered item `i` or are at it.
_OTHERS = """(SELECT count(*) FROM assignments a WHERE a.item = i.number AND a.person <> :person
    AND coalesce(
        (SELECT c.kind <> 'skip' FROM current c
            WHERE c.item = a.item AND c.person = a.person AND c.done),
        EXISTS (SELECT 1 FROM leases l
            WHERE l.item = a.item AND l.person = a.person AND l.until > :now)))"""
_ROOM = f"{_OTHERS} < CASE WHEN i.draw < :share THEN :overlap ELSE 1 END"
_MINE = "SELECT 1 FROM assignments m WHERE m.item = i.number AND m.person = :person"
_IS_GOLD = "SELECT 1 FROM golds g WHERE g.item = i.number"
_FREE = f"""FROM items i WHERE i.task = :task AND NOT EXISTS ({_MINE})
    AND NOT EXISTS ({_IS_GOLD}) AND {_ROOM}"""
# CROSS JOIN is SQLite's way to say which table is gone through: the smaller one here.
_HIDDEN = f"""FROM golds g CROSS JOIN items i ON i.number = g.item
    WHERE i.task = :task AND NOT EXISTS ({_MINE})"""
_UNFINISHED = f"""FROM assignments a JOIN items i ON i.number = a.item
    WHERE a.person = :person AND i.task = :task
    AND NOT EXISTS (SELECT 1 FROM current c
        WHERE c.item = a.item AND c.person = a.person AND c.done)
    AND (EXISTS ({_IS_GOLD}) OR {_ROOM})"""


@dataclass(frozen=True)
class Assigned:
    """An item as one person has it.

    Attributes:
        item: what it is.
        shown: places of its responses, in the order in which the person sees them.
        answer: what the person said of it so far, as it was saved; None: nothing.
        done: whether that is final.
        seconds: spent on it so far.
    """

    item: Item
    shown: tuple[int, ...]
    answer: dict[str, Any] | None
    done: bool
    seconds: float

    @property
    def texts(self) -> tuple[str, ...]:
        """The responses in the order in which the person sees them."""
        return tuple(self.item.responses[place] for place in self.shown)


@dataclass(frozen=True)
class Queue:
    """The queue of one person and one task, in one transaction.

    Attributes:
        connection: of the transaction; `next` writes.
        person: who asks.
        task: for what.
        settings: of the study.
        now: seconds since 1970.
    """

    connection: sqlite3.Connection
    person: Person
    task: TaskName
    settings: Settings
    now: float

    def first_free(self) -> int | None:
        """Number of the first item that has room; None: there is none.

        The more was answered, the longer is the search. It may be made before the transaction that
        writes, from which `next` goes on: nobody waits for it then.
        """
        row = self._one(f"SELECT i.number {_FREE} ORDER BY i.number LIMIT 1")
        return None if row is None else int(row["number"])

    def next(self, first: int | None = 0) -> Assigned | None:
        """The person's next item, leased from now on; None: there is none left.

        Args:
            first: what `first_free` found shortly before; somebody may have taken it since.
        """
        row = self._one(
            f"SELECT i.* {_UNFINISHED} ORDER BY (SELECT max(l.number) FROM leases l "
            "WHERE l.item = a.item AND l.person = a.person) DESC LIMIT 1"
        )
        if row is None and self._gold_is_due():
            row = self._one(f"SELECT i.* {_HIDDEN} ORDER BY i.number LIMIT 1")
        if row is None and first is not None:
            row = self._one(
                f"SELECT i.* {_FREE} AND i.number >= :first ORDER BY i.number LIMIT 1", first=first
            )
        if row is None:
            return None
        self._assign(row)
        return assigned(self.connection, self.person, row["id"])

    def left(self) -> int:
        """Items that the person could still be given, known answers apart."""
        return sum(
            int(self._one(f"SELECT count(*) AS n {which}")["n"]) for which in (_UNFINISHED, _FREE)
        )

    def _one(self, sql: str, **more: Any) -> Any:
        named = more | self.settings.model_dump(include={"share", "overlap"})
        named |= {"person": self.person.number, "task": self.task, "now": self.now}
        return self.connection.execute(sql, named).fetchone()

    def _gold_is_due(self) -> bool:
        given = self._one(
            "SELECT count(*) AS n FROM assignments a CROSS JOIN items i ON i.number = a.item "
            "WHERE a.person = :person AND i.task = :task"
        )["n"]
        drawn = share_of("gold", self.settings.seed, self.person.name, self.task, given)
        return drawn < self.settings.gold_rate

    def _assign(self, row: sqlite3.Row) -> None:
        """Give the item to the person, for the first time or once more."""
        self.connection.execute(
            "INSERT OR IGNORE INTO assignments (person, item, shown, at) VALUES (?, ?, ?, ?)",
            (self.person.number, row["number"], json.dumps(self._order(row)), self.now),
        )
        lease(self.connection, self.person, row["number"], self.now, self.settings)

    def _order(self, row: sqlite3.Row) -> list[int]:
        """In which order the person sees the item's responses.

        Drawn; of two responses the order that fewer people saw comes first.
        """
        item = Item.stored(row["id"], row["task"], row["row"])
        order = list(range(len(item.responses)))
        random.Random(f"{self.settings.seed}:{item.id}:{self.person.name}").shuffle(order)
        if len(order) != 2:
            return order
        seen = "SELECT count(*) AS n FROM assignments WHERE item = ? AND shown = ?"
        often, seldom = (
            self.connection.execute(seen, (row["number"], json.dumps(way))).fetchone()["n"]
            for way in (order, order[::-1])
        )
        return order[::-1] if often > seldom else order


def assigned(connection: sqlite3.Connection, person: Person, item: str) -> Assigned | None:
    """An item as the person has it; None where it was never given to the person."""
    row = connection.execute(
        """SELECT i.id, i.task, i.row, a.shown, c.answer, coalesce(c.done, 0) AS done,
            (SELECT coalesce(sum(seconds), 0) FROM actions t
                WHERE t.item = a.item AND t.person = a.person) AS seconds
        FROM assignments a JOIN items i ON i.number = a.item
        LEFT JOIN current c ON c.item = a.item AND c.person = a.person
        WHERE a.person = ? AND i.id = ?""",
        (person.number, item),
    ).fetchone()
    if row is None:
        return None
    return Assigned(
        Item.stored(row["id"], row["task"], row["row"]),
        tuple(json.loads(row["shown"])),
        None if row["answer"] is None else json.loads(row["answer"]),
        bool(row["done"]),
        row["seconds"],
    )


def lease(
    connection: sqlite3.Connection, person: Person, item: int, now: float, settings: Settings
) -> None:
    """Hold an item for a person from now on, unless it is held for long enough already."""
    held = connection.execute(
        "SELECT max(number), until FROM leases WHERE item = ? AND person = ?", (item, person.number)
    ).fetchone()["until"]
    if held is not None and held - now > settings.lease_s / 2:
        newest = connection.execute(
            "SELECT item FROM leases WHERE person = ? ORDER BY number DESC LIMIT 1",
            (person.number,),
        ).fetchone()
        if newest["item"] == item:
            return
    until = now + settings.lease_s
    insert(connection, "leases", person=person.number, item=item, at=now, until=until)
