"""What is current: each person's last word on each item, and what several people's come to.

Where an adjudicator decided, that alone counts; what people said stands beside it.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from statistics import fmean

from bench.studio.answers import Answer, Checker, parsed
from bench.studio.database import Database
from bench.studio.settings import Settings
from bench.studio.tasks import Item, TaskName, Value

# What becomes of an item that nobody gave a value to, the strongest first.
WITHOUT = ("cannot_be_mended", "skip")
UNANSWERED = "unanswered"


@dataclass(frozen=True)
class Given:
    """What one person finally said of one item.

    Attributes:
        item: of which.
        person: name.
        answer: in the terms of what was shown.
        value: the same in the item's own terms; None where there is none.
        seconds: spent on the item, drafts and what was taken back included; an adjudicator's time
            is not taken.
        at: when it was saved, seconds since 1970.
    """

    item: Item
    person: str
    answer: Answer
    value: Value | None
    seconds: float
    at: float


@dataclass(frozen=True)
class Answered:
    """An item and what people said of it, who began first being the first.

    Attributes:
        item: the item.
        given: one a person; none: nobody has answered.
        gold: the known answer of a hidden item.
        adjudicated: what an adjudicator said, which counts in place of all that people gave.
    """

    item: Item
    given: tuple[Given, ...]
    gold: Value | None = None
    adjudicated: Given | None = None

    @property
    def counted(self) -> tuple[Given, ...]:
        """What the result is made of."""
        return self.given if self.adjudicated is None else (self.adjudicated,)

    @property
    def values(self) -> list[Value]:
        """Those that count."""
        return [one.value for one in self.counted if one.value is not None]

    @property
    def said(self) -> list[Value]:
        """What people said, an adjudicator apart: his word is not about how far they agree."""
        return [one.value for one in self.given if one.value is not None]

    @property
    def first(self) -> Given | None:
        """The first one with a value that counts; texts and marks of several are not mixed."""
        return next((one for one in self.counted if one.value is not None), None)

    @property
    def preference(self) -> float | None:
        """Mean of those that count: 1 is for output_1, 2 for output_2."""
        return fmean(value["preference"] for value in self.values) if self.values else None

    @property
    def ranks(self) -> list[int] | None:
        """By the mean rank of those that count, 0 best; equal means are ties."""
        if not self.values:
            return None
        # Sums of integers: means that are equal are equal.
        sums = [sum(ranks) for ranks in zip(*(v["ranks"] for v in self.values), strict=True)]
        places = sorted(set(sums))
        return [places.index(one) for one in sums]

    @property
    def status(self) -> str:
        """Says "ok", or why there is no value."""
        if self.values:
            return "ok"
        kinds = {one.answer.kind for one in self.counted}
        return next((kind for kind in WITHOUT if kind in kinds), UNANSWERED)


@dataclass(frozen=True)
class Results:
    """All of one task, in the order of its items.

    Attributes:
        task: which.
        items: those that people are asked about.
        golds: hidden ones whose answer was known before.
    """

    task: TaskName
    items: tuple[Answered, ...]
    golds: tuple[Answered, ...]

    @property
    def people(self) -> list[str]:
        """Who answered an item that is no hidden one."""
        return sorted({one.person for answered in self.items for one in answered.given})

    @property
    def several(self) -> int:
        """How many items have a value of more than one person: who skipped one gave none."""
        return sum(len(answered.said) > 1 for answered in self.items)

    @property
    def adjudicated(self) -> int:
        """How many items an adjudicator decided."""
        return sum(answered.adjudicated is not None for answered in self.items)

    def by_texts(self) -> dict[tuple[str, ...], Answered]:
        """Items by prompt and responses; of rows with the same texts, one that has a value."""
        found: dict[tuple[str, ...], Answered] = {}
        for answered in self.items:
            key = answered.item.content.prompt, *answered.item.responses
            if key not in found or not found[key].values:
                found[key] = answered
        return found

    @property
    def sha(self) -> str:
        """SHA-256 over what counts of which item, and nothing else."""
        said = [
            [answered.item.id, one.answer.kind, one.value]
            for answered in self.items
            for one in answered.counted
        ]
        text = json.dumps(said, sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()


def results_of(connection: sqlite3.Connection, task: TaskName, item: str | None = None) -> Results:
    """Of one state of the study: all items, or the one with an id."""
    golds = {
        row["id"]: json.loads(row["value"])
        for row in connection.execute(
            "SELECT i.id, g.value FROM golds g JOIN items i ON i.number = g.item WHERE i.task = ?",
            (task,),
        )
    }
    rows = connection.execute(
        """SELECT i.id, i.row, p.name, a.shown, c.answer, c.at,
            (SELECT sum(t.seconds) FROM actions t
                WHERE t.item = c.item AND t.person = c.person) AS seconds
        FROM items i
        LEFT JOIN current c ON c.item = i.number AND c.done
        LEFT JOIN assignments a ON a.item = c.item AND a.person = c.person
        LEFT JOIN people p ON p.number = c.person
        WHERE i.task = ? AND i.id = coalesce(?, i.id) ORDER BY i.number, a.at, c.number""",
        (task, item),
    )
    ruled = _adjudicated(connection, task)
    found = [
        _answered(task, list(group), golds, ruled)
        for _, group in groupby(rows, key=lambda row: row["id"])
    ]
    return Results(
        task,
        tuple(one for one in found if one.gold is None),
        tuple(one for one in found if one.gold is not None),
    )


def read_results(path: Path, task: TaskName) -> Results:
    """Of a study that is not open.

    Raises:
        UserError: it is none, or cannot be read.
    """
    with closing(Database(path)) as database, database.read() as connection:
        return results_of(connection, task)


def _adjudicated(connection: sqlite3.Connection, task: TaskName) -> dict[str, Given]:
    """The last adjudication that stands, by item."""
    rows = connection.execute(
        """SELECT i.id, i.row, p.name, r.answer, 0.0 AS seconds, r.at
        FROM ruling r JOIN items i ON i.number = r.item JOIN people p ON p.number = r.person
        WHERE i.task = ? ORDER BY r.number""",
        (task,),
    )
    found = {}
    for row in rows:
        item = Item.stored(row["id"], task, row["row"])
        found[item.id] = _given(item, row, range(len(item.responses)))
    return found


def _answered(
    task: TaskName,
    rows: Sequence[sqlite3.Row],
    golds: dict[str, Value],
    ruled: dict[str, Given],
) -> Answered:
    item = Item.stored(rows[0]["id"], task, rows[0]["row"])
    given = tuple(
        _given(item, row, json.loads(row["shown"])) for row in rows if row["answer"] is not None
    )
    return Answered(item, given, golds.get(item.id), ruled.get(item.id))


def _given(item: Item, row: sqlite3.Row, shown: Sequence[int]) -> Given:
    answer = parsed(row["answer"])
    value = Checker(item, shown, Settings()).value(answer)
    return Given(item, row["name"], answer, value, row["seconds"], row["at"])
