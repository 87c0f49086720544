"""A study as one object: what commands and pages call.

Each method is one transaction, and may be called from any thread. A mistake of the person's, or of
the page's, is a `UserError` with one line to show.
"""

from __future__ import annotations

import json
import math
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from pydantic import ValidationError

from bench.config.loading import validation_message
from bench.errors import UserError
from bench.studio import adjudication, people
from bench.studio.adjudication import Dispute
from bench.studio.answers import Checker
from bench.studio.database import Database, insert
from bench.studio.items import Added, add_golds, add_items, number_of, read_golds
from bench.studio.people import Person
from bench.studio.queue import Assigned, Queue, assigned, lease
from bench.studio.settings import Settings
from bench.studio.tasks import TASKS, TaskName, read_items

LONGEST_S = 86400.0  # of one action: what is longer is a page that was left open


class NotGiven(UserError):
    """The person was never given the item."""


@dataclass(frozen=True)
class Progress:
    """How far a person is.

    Attributes:
        done: items that the person finished, hidden known answers among them.
        left: items that the person could still be given.
        seconds: median time of a finished item; None where none is.
    """

    done: int
    left: int
    seconds: float | None

    @property
    def left_s(self) -> float | None:
        """How long the rest takes at this pace."""
        return None if self.seconds is None else self.left * self.seconds


class Study:
    """An open study.

    Args:
        path: the file.
        create: make it where it is not there.
        clock: seconds since 1970.

    Raises:
        UserError: as `Database`.
    """

    def __init__(
        self, path: Path, *, create: bool = False, clock: Callable[[], float] = time.time
    ) -> None:
        self.database = Database(path, create=create)
        self._clock = clock

    def close(self) -> None:
        """Close the file."""
        self.database.close()

    def settings(self) -> Settings:
        """What holds for the whole study."""
        with self.database.read() as connection:
            return _settings(connection)

    def tasks(self) -> list[TaskName]:
        """The tasks that there are items of."""
        with self.database.read() as connection:
            found = {row[0] for row in connection.execute("SELECT DISTINCT task FROM items")}
        return [task for task in TASKS if task in found]

    def set(self, **changes: Any) -> Settings:
        """Change settings by name; None: as it was.

        Raises:
            UserError: a value is not allowed.
        """
        with self.database.write() as connection:
            before = _settings(connection)
            given = {name: value for name, value in changes.items() if value is not None}
            try:
                after = Settings(**(before.model_dump() | given))
            except ValidationError as error:
                raise UserError(validation_message(error, Settings)) from error
            if after != before:
                insert(connection, "settings", value=after.model_dump_json(), at=self._clock())
        return after

    def add(self, path: Path, task: TaskName) -> Added:
        """Add a file's items (`read_items`); those that are there already are counted.

        Raises:
            UserError: a row is wrong; nothing of the file is added then.
        """
        items = [item for item, _ in read_items(path, task)]
        with self.database.write() as connection:
            return add_items(connection, items, self._clock())

    def add_golds(self, path: Path, task: TaskName) -> Added:
        """Add a file's known answers; its items are hidden among the others, and not exported.

        Raises:
            UserError: as `add`, or a row has no answer.
        """
        golds = read_golds(path, task)
        with self.database.write() as connection:
            return add_golds(connection, golds, self._clock())

    def invite(self, name: str, *, adjudicates: bool = False) -> str:
        """Add a person; the token is told once and kept nowhere.

        Raises:
            UserError: as `people.invite`.
        """
        with self.database.write() as connection:
            return people.invite(connection, name, self._clock(), adjudicates=adjudicates)

    def revoke(self, name: str) -> None:
        """End a person's token.

        Raises:
            UserError: as `people.revoke`.
        """
        with self.database.write() as connection:
            people.revoke(connection, name, self._clock())

    def people(self) -> list[Person]:
        """Everybody who was invited or has worked."""
        with self.database.read() as connection:
            return people.listed(connection)

    def person(self, token: str | None = None) -> Person | None:
        """Whose token this is, None: nobody's; without one the study's only user.

        Raises:
            UserError: no token was given, and the study has people.
        """
        if token is not None:
            with self.database.read() as connection:
                return people.with_token(connection, token)
        with self.database.write() as connection:
            return people.you(connection, self._clock())

    def next(self, person: Person, task: TaskName) -> Assigned | None:
        """The person's unfinished item, else another one; None where there is none left."""
        with self.database.read() as connection:
            first = self._queue(connection, person, task).first_free()
        with self.database.write() as connection:
            return self._queue(connection, person, task).next(first)

    def item(self, person: Person, item: str) -> Assigned:
        """An item that the person was given, with what the person said of it.

        Raises:
            NotGiven: it was not given to the person.
        """
        with self.database.read() as connection:
            return _given(connection, person, item)

    def save(
        self,
        person: Person,
        item: str,
        answer: dict[str, Any],
        *,
        seconds: float,
        done: bool = True,
    ) -> int:
        """Keep what a person says of an item; on the disk when this returns.

        Args:
            person: who says it.
            item: its id.
            answer: as {"kind": "prefer", "choice": "a"}, see `bench.studio.answers`.
            seconds: that it took since the item was shown or last saved.
            done: False: a draft, with which the item stays the person's next one.

        Returns:
            The action's number.

        Raises:
            UserError: the item was not given to the person, or this is no answer to it.
        """
        if not (math.isfinite(seconds) and 0 <= seconds <= LONGEST_S):
            raise UserError(f"seconds={seconds}: from 0 to {LONGEST_S:.0f}")
        with self.database.read() as connection:  # items do not change: checked without the lock
            given, settings = _given(connection, person, item), _settings(connection)
        checked = Checker(given.item, given.shown, settings).checked(answer, done=done)
        with self.database.write() as connection:
            number = number_of(connection, item)
            if not done:
                lease(connection, person, number, self._clock(), settings)
            said = {"kind": checked.kind, "answer": checked.model_dump_json(), "done": done}
            took = {"seconds": seconds, "at": self._clock()}
            return insert(connection, "actions", person=person.number, item=number, **said, **took)

    def undo(self, person: Person, task: TaskName) -> Assigned | None:
        """Take back the person's last action of a task that stands; None where there is none.

        Returns:
            Its item, as it was before the action; the person's next one unless it was done then.
        """
        with self.database.write() as connection:
            last = connection.execute(
                "SELECT s.number, s.item, i.id FROM standing s JOIN items i ON i.number = s.item "
                "WHERE s.person = ? AND i.task = ? ORDER BY s.number DESC LIMIT 1",
                (person.number, task),
            ).fetchone()
            if last is None:
                return None
            now = self._clock()
            undone = {"kind": "undo", "answer": "{}", "done": 0, "undoes": last["number"]}
            when = {"seconds": 0.0, "at": now}
            insert(connection, "actions", person=person.number, item=last["item"], **undone, **when)
            lease(connection, person, last["item"], now, _settings(connection))
            return _given(connection, person, last["id"])

    def disputes(self, person: Person, task: TaskName) -> list[Dispute]:
        """The items on which people disagree, what is not adjudicated yet first.

        Raises:
            UserError: as `adjudication.disputes`.
        """
        with self.database.read() as connection:
            return adjudication.disputes(connection, person, task)

    def dispute(self, person: Person, item: str) -> Dispute:
        """An item on which people disagree.

        Raises:
            UserError: as `adjudication.dispute`.
        """
        with self.database.read() as connection:
            return adjudication.dispute(connection, person, item)

    def adjudicate(self, person: Person, item: str, answer: dict[str, Any]) -> int:
        """Decide what comes out of an item on which people disagree; the row's number.

        Raises:
            UserError: as `adjudication.adjudicate`.
        """
        with self.database.write() as connection:
            given = answer, _settings(connection), self._clock()
            return adjudication.adjudicate(connection, person, item, *given)

    def undo_adjudication(self, person: Person, task: TaskName) -> str | None:
        """Take back the person's last adjudication that stands; its item's id, None: there is none.

        Raises:
            UserError: as `adjudication.undo`.
        """
        with self.database.write() as connection:
            return adjudication.undo(connection, person, task, self._clock())

    def progress(self, person: Person, task: TaskName) -> Progress:
        """How far a person is, and how fast."""
        with self.database.read() as connection:
            left = self._queue(connection, person, task).left()
            rows = connection.execute(
                """SELECT sum(a.seconds) AS seconds FROM actions a
                JOIN current c ON c.item = a.item AND c.person = a.person
                JOIN items i ON i.number = a.item
                WHERE a.person = ? AND i.task = ? AND c.done GROUP BY a.item""",
                (person.number, task),
            ).fetchall()
        times = [row["seconds"] for row in rows]
        return Progress(len(times), left, median(times) if times else None)

    def _queue(self, connection: sqlite3.Connection, person: Person, task: TaskName) -> Queue:
        return Queue(connection, person, task, _settings(connection), self._clock())


def _settings(connection: sqlite3.Connection) -> Settings:
    row = connection.execute("SELECT value FROM settings ORDER BY number DESC LIMIT 1").fetchone()
    return Settings() if row is None else Settings(**json.loads(row["value"]))


def _given(connection: sqlite3.Connection, person: Person, item: str) -> Assigned:
    found = assigned(connection, person, item)
    if found is None:
        raise NotGiven(f"the item {item} was not given to {person.name}")
    return found
