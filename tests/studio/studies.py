"""Small studies for the tests, and people who answer them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from bench.studio.people import Person
from bench.studio.queue import Assigned
from bench.studio.study import Study
from bench.studio.tasks import TaskName

ORIGINAL = "The sky is green today"


class Clock:
    """A time that tests move."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def write(path: Path, rows: Iterable[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def pairs(n: int, first: int = 0) -> list[dict[str, Any]]:
    return [
        {
            "id": f"pair{i}",
            "prompt": f"What is the sky's colour on day {i}?",
            "chosen": "The sky is blue today",
            "rejected": ORIGINAL,
        }
        for i in range(first, first + n)
    ]


def rankings(n: int) -> list[dict[str, Any]]:
    return [{"id": f"r{i}", "prompt": f"q{i}", "responses": ["x", "y", "z"]} for i in range(n)]


def study(
    folder: Path, rows: Iterable[dict[str, Any]], task: TaskName, clock: Clock | None = None
) -> Study:
    """A new study of these rows, without hidden items."""
    made = Study(folder / "study.db", create=True, clock=clock or Clock())
    made.add(write(folder / "rows.jsonl", rows), task)
    return made


def people(made: Study, *names: str) -> list[Person]:
    tokens = [made.invite(name) for name in names]
    found = [made.person(token) for token in tokens]
    return [one for one in found if one is not None]


def chosen(given: Assigned, text: str) -> dict[str, Any]:
    """The answer that the response with this text is better, wherever it is shown."""
    return {"kind": "prefer", "choice": "ab"[given.texts.index(text)]}


def edited(text: str) -> dict[str, Any]:
    return {"kind": "edit", "text": text}


def answer_all(made: Study, person: Person, task: TaskName, answer: dict[str, Any]) -> list[str]:
    """Give one answer to all that the person is given; the ids of the items' rows."""
    done = []
    while given := made.next(person, task):
        made.save(person, given.item.id, answer, seconds=2.0)
        done.append(str(given.item.content.id))
    return done
