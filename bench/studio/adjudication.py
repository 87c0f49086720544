"""Items on which people disagree, and what an adjudicator says of them in their place.

An adjudication is a row of its own kind: what people said stays as it is, and so do their numbers
of agreement. What comes out of the study is the adjudicator's word from then on, whoever answers
later, until it is taken back.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import Any

from bench.errors import UserError
from bench.studio.agreement import unlike
from bench.studio.answers import Checker
from bench.studio.database import insert
from bench.studio.items import number_of
from bench.studio.people import Person
from bench.studio.results import Answered, Results, results_of
from bench.studio.settings import Settings
from bench.studio.tasks import TaskName


class NoDispute(UserError):
    """People do not disagree on the item."""


@dataclass(frozen=True)
class Dispute:
    """An item on which people disagree.

    Attributes:
        answered: the item, what each person said (`given`; `value` is in the item's own terms,
            whatever order the person saw), and the adjudicator's word, if there is one.
        alike: from 0 to 1, how far people agree: below 1.
    """

    answered: Answered
    alike: float


def disputes(connection: sqlite3.Connection, person: Person, task: TaskName) -> list[Dispute]:
    """The items on which people disagree: those not yet adjudicated first, the least alike first.

    Raises:
        UserError: the person may not adjudicate.
    """
    _check(person)
    found = _disputed(results_of(connection, task))
    return sorted(found, key=lambda one: (one.answered.adjudicated is not None, one.alike))


def dispute(connection: sqlite3.Connection, person: Person, item: str) -> Dispute:
    """The item of an id, on which people disagree.

    Raises:
        UserError: the person may not adjudicate, or people do not disagree on it.
    """
    _check(person)
    row = connection.execute("SELECT task FROM items WHERE id = ?", (item,)).fetchone()
    found = [] if row is None else _disputed(results_of(connection, row["task"], item))
    if not found:
        raise NoDispute(f"people do not disagree on the item {item}")
    [one] = found
    return one


def adjudicate(
    connection: sqlite3.Connection,
    person: Person,
    item: str,
    answer: dict[str, Any],
    settings: Settings,
    now: float,
) -> int:
    """Keep an adjudicator's word; the row's number.

    Args:
        connection: of a transaction that writes.
        person: the adjudicator.
        item: its id.
        answer: as people give it, responses in the item's own order: "a" is the first.
        settings: of the study.
        now: seconds since 1970.

    Raises:
        UserError: the person may not adjudicate, people do not disagree on the item, or this is no
            answer to it.
    """
    found = dispute(connection, person, item).answered.item
    said = Checker(found, range(len(found.responses)), settings).checked(answer)
    number = number_of(connection, item)
    kept = {"kind": said.kind, "answer": said.model_dump_json(), "at": now}
    return insert(connection, "adjudications", person=person.number, item=number, **kept)


def undo(connection: sqlite3.Connection, person: Person, task: TaskName, now: float) -> str | None:
    """Take back the person's last adjudication of a task that stands; its item's id.

    Returns:
        None where there is none. What the person, or another, said before is in force again.

    Raises:
        UserError: the person may not adjudicate.
    """
    _check(person)
    last = connection.execute(
        "SELECT s.number, s.item, i.id FROM ruling s JOIN items i ON i.number = s.item "
        "WHERE s.person = ? AND i.task = ? ORDER BY s.number DESC LIMIT 1",
        (person.number, task),
    ).fetchone()
    if last is None:
        return None
    undone = {"kind": "undo", "answer": "{}", "undoes": last["number"], "at": now}
    insert(connection, "adjudications", person=person.number, item=last["item"], **undone)
    return str(last["id"])


def _check(person: Person) -> None:
    if not person.adjudicates:
        raise UserError(
            f"{person.name} is no adjudicator: `people --add NAME --adjudicator` invites one"
        )


def _disputed(results: Results) -> list[Dispute]:
    found = ((answered, unlike(answered)) for answered in results.items)
    return [Dispute(answered, alike) for answered, alike in found if alike is not None]
