"""Who works on a study. A person has a token, of which the study keeps a hash alone."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import sqlite3
import unicodedata
from dataclasses import dataclass

from bench.errors import UserError, unknown
from bench.studio.database import insert
from bench.studio.names import NAME, is_name

YOU = "you"  # who works on a study that has no people
_ADJUDICATES = "EXISTS (SELECT 1 FROM adjudicators a WHERE a.person = p.number) AS adjudicates"
_LIVE = f"""SELECT t.number, t.sha, p.number AS person, p.name, {_ADJUDICATES}
    FROM tokens t JOIN people p ON p.number = t.person
    WHERE NOT EXISTS (SELECT 1 FROM revocations r WHERE r.token = t.number)"""


@dataclass(frozen=True)
class Person:
    """Somebody who answers.

    Attributes:
        number: in the study.
        name: as results have it.
        invited: whether a token lets the person in.
        adjudicates: whether the person may see what others said, and decide where they disagree.
    """

    number: int
    name: str
    invited: bool = True
    adjudicates: bool = False


def invite(
    connection: sqlite3.Connection, name: str, now: float, *, adjudicates: bool = False
) -> str:
    """Add a person, or let one in again whose token was revoked; the new token, told once.

    Who has become an adjudicator remains one.

    Raises:
        UserError: the name cannot be used, or its token is valid.
    """
    name = _tidy(name)
    if not is_name(name) or name.casefold() == YOU:
        raise UserError(f"{name!r} is no name for a person: {NAME} that is not {YOU!r}")
    if name in {row["name"] for row in connection.execute(_LIVE)}:
        raise UserError(
            f"{name} has a token already; --revoke {name} ends it, then --add gives a new one"
        )
    token = secrets.token_urlsafe(32)
    person = _person(connection, name, now)
    insert(connection, "tokens", person=person, sha=_sha(token), at=now)
    if adjudicates:
        connection.execute("INSERT OR IGNORE INTO adjudicators VALUES (?, ?)", (person, now))
    return token


def revoke(connection: sqlite3.Connection, name: str, now: float) -> None:
    """End a person's token; what the person answered stays.

    Raises:
        UserError: nobody of this name has one.
    """
    live = {row["name"]: row["number"] for row in connection.execute(_LIVE)}
    name = name if name in live else _tidy(name)
    if name not in live:
        raise UserError(unknown("person with a token", name, live))
    insert(connection, "revocations", token=live[name], at=now)


def with_token(connection: sqlite3.Connection, token: str) -> Person | None:
    """Whose token this is; None: nobody's, or it was revoked."""
    sha, found = _sha(token), None
    for row in connection.execute(_LIVE):  # all of them, so that time tells nothing
        if hmac.compare_digest(row["sha"], sha):
            found = Person(row["person"], row["name"], adjudicates=bool(row["adjudicates"]))
    return found


def you(connection: sqlite3.Connection, now: float) -> Person:
    """The only user of a study without people.

    Raises:
        UserError: it has people, so that a token says who works.
    """
    if connection.execute("SELECT 1 FROM tokens").fetchone():
        raise UserError("this study has people: each works with the link that `people --add` gave")
    return Person(_person(connection, YOU, now), YOU, invited=False, adjudicates=True)


def listed(connection: sqlite3.Connection) -> list[Person]:
    """Everybody, in the order of coming."""
    live = {row["person"] for row in connection.execute(_LIVE)}
    return [
        Person(row["number"], row["name"], row["number"] in live, bool(row["adjudicates"]))
        for row in connection.execute(
            f"SELECT number, name, {_ADJUDICATES} FROM people p ORDER BY number"
        )
    ]


def _tidy(name: str) -> str:
    """The one way to write a name: two that look the same would be two people."""
    return unicodedata.normalize("NFC", name.strip())


def _person(connection: sqlite3.Connection, name: str, now: float) -> int:
    connection.execute("INSERT OR IGNORE INTO people (name, at) VALUES (?, ?)", (name, now))
    row = connection.execute("SELECT number FROM people WHERE name = ?", (name,)).fetchone()
    return int(row["number"])


def _sha(token: str) -> str:
    """A token has 256 random bits: a plain hash cannot be guessed back."""
    return hashlib.sha256(token.encode()).hexdigest()
