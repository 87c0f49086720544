"""The file: whole or refused, append-only, and nothing lost that was said to be saved."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from bench.errors import UserError
from bench.studio.database import Database
from bench.studio.schema import MIGRATIONS, TABLES
from bench.studio.study import Study
from tests.studio.studies import pairs, study

WRITER = """
import sys
from pathlib import Path
from bench.studio.study import Study
study = Study(Path(sys.argv[1]))
person = study.person()
while given := study.next(person, "edit"):
    number = study.save(person, given.item.id, {"kind": "nothing_to_mend"}, seconds=1)
    print(number, flush=True)
"""
MANY = """
import sys, time
from pathlib import Path
from bench.studio.study import Study
study = Study(Path(sys.argv[1]))
person = study.person(sys.argv[2])
end = time.monotonic() + float(sys.argv[3])
while time.monotonic() < end and (given := study.next(person, "edit")):
    print(study.save(person, given.item.id, {"kind": "skip"}, seconds=1), given.item.id, flush=True)
"""


def actions(path: Path) -> dict[int, str]:
    with closing(Database(path)) as database, database.read() as connection:
        rows = connection.execute(
            "SELECT a.number, i.id FROM actions a JOIN items i ON i.number = a.item"
        )
        return {row[0]: row[1] for row in rows}


def test_a_killed_writer_loses_nothing_that_it_was_told_is_saved(tmp_path: Path) -> None:
    study(tmp_path, pairs(2000), "edit").close()
    path = tmp_path / "study.db"
    said: set[int] = set()
    for kill in range(4):
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True
        ) as writer:
            assert writer.stdout is not None
            said.add(int(writer.stdout.readline()))
            time.sleep(0.1 + 0.07 * kill)
            writer.send_signal(signal.SIGKILL)
            said |= {int(line) for line in writer.stdout if line.endswith("\n")}
        assert writer.returncode == -signal.SIGKILL
        kept = actions(path)  # opens it, checks all pages and references
        assert said <= kept.keys()
        # One that was not told may be kept, the one that was cut off while it was told.
        assert len(kept) - len(said) <= kill + 1
        assert len(set(kept.values())) == len(kept)


def test_many_threads_and_processes_lose_no_row_and_share_no_item(tmp_path: Path) -> None:
    made = study(tmp_path, pairs(3000), "edit")
    tokens = [made.invite(f"p{i}") for i in range(20)]
    path = tmp_path / "study.db"
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", MANY, str(path), token, "2"], stdout=subprocess.PIPE, text=True
        )
        for token in tokens[:4]
    ]

    def work(token: str) -> dict[int, str]:
        person, said = made.person(token), {}
        assert person is not None
        end = time.monotonic() + 3
        while time.monotonic() < end and (given := made.next(person, "edit")):
            answer = {"kind": "nothing_to_mend"}
            said[made.save(person, given.item.id, answer, seconds=1)] = given.item.id
        return said

    with ThreadPoolExecutor(16) as pool:
        said = dict(pair for found in pool.map(work, tokens[4:]) for pair in found.items())
    answered = list(said.values())
    assert len(set(answered)) == len(answered)  # nobody had another one's
    for process in processes:
        for line in process.communicate()[0].splitlines():
            number, item = line.split()
            said[int(number)] = item
        assert process.returncode == 0
    assert len(said) > 40
    assert actions(path) == said


def test_rows_are_added_and_never_changed(tmp_path: Path) -> None:
    made = study(tmp_path, pairs(1), "edit")
    person = made.person()
    assert person is not None
    given = made.next(person, "edit")
    assert given is not None
    made.save(person, given.item.id, {"kind": "skip"}, seconds=1)
    made.set(overlap=2)
    for table in ("settings", "people", "items", "assignments", "leases", "actions"):
        for change in (f"UPDATE {table} SET at = 0", f"DELETE FROM {table}"):
            with (
                pytest.raises(sqlite3.IntegrityError, match="rows are added, never changed"),
                made.database.write() as connection,
            ):
                connection.execute(change)
    with made.database.read() as connection:
        strict = {r["name"]: r["strict"] for r in connection.execute("PRAGMA table_list")}
        assert all(strict[table] for table in TABLES)
        with pytest.raises(UserError, match=r"cannot read the study .*readonly"):
            _write_through(made)


def _write_through(made: Study) -> None:
    with made.database.read() as connection:
        connection.execute("INSERT INTO people (name, at) VALUES ('x', 0)")


def test_what_fails_midway_has_not_happened(tmp_path: Path) -> None:
    made = study(tmp_path, pairs(1), "edit")

    def fail() -> None:
        with made.database.write() as connection:
            connection.execute("INSERT INTO people (name, at) VALUES ('x', 0)")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert made.people() == []
    made.invite("y")  # and the next one can write
    with made.database.write() as connection:
        assert connection.execute("PRAGMA synchronous").fetchone()[0] == 2
        assert connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal"


def test_a_reader_sees_one_state_and_waits_for_nobody(tmp_path: Path) -> None:
    made = study(tmp_path, pairs(3), "edit")
    with made.database.read() as connection:
        count = "SELECT count(*) FROM items"
        assert connection.execute(count).fetchone()[0] == 3
        writer = threading.Thread(target=made.invite, args=("ana",))
        writer.start()
        writer.join(timeout=20)
        assert not writer.is_alive()
        assert connection.execute("SELECT count(*) FROM people").fetchone()[0] == 0
    assert [one.name for one in made.people()] == ["ana"]


def test_a_backup_stands_by_itself_while_people_work(tmp_path: Path) -> None:
    made = study(tmp_path, pairs(3), "edit")
    made.invite("ana")  # in the log, and not in the file
    out = tmp_path / "elsewhere" / "copy.db"
    with pytest.raises(UserError, match=r"cannot write .*copy\.db"):
        made.database.backup(out)
    out.parent.mkdir()
    made.database.backup(out)
    made.invite("ben")
    assert [path.name for path in out.parent.iterdir()] == ["copy.db"]
    assert [one.name for one in Study(out).people()] == ["ana"]
    with pytest.raises(UserError, match=r"there is a file .*copy\.db already"):
        made.database.backup(out)


def refused(path: Path, *, create: bool = False) -> str:
    with pytest.raises(UserError) as caught:
        Database(path, create=create)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2
    return str(caught.value)


def test_what_is_no_study_is_refused_in_one_line_and_left_alone(tmp_path: Path) -> None:
    assert "there is no study" in refused(tmp_path / "none.db")
    assert "there is no study" in refused(tmp_path)
    assert "there is no folder" in refused(tmp_path / "no" / "folder.db", create=True)
    assert "is a folder" in refused(tmp_path, create=True)
    text = tmp_path / "text.db"
    text.write_text('{"prompt": "a text"}\n' * 100)
    other = tmp_path / "other.db"
    with closing(sqlite3.connect(other)) as connection:
        connection.execute("CREATE TABLE mine (x)")
        connection.commit()
    for path in (text, other):
        before = path.read_bytes()
        for create in (False, True):
            assert refused(path, create=create).startswith(f"{path} is no study: ")
        assert path.read_bytes() == before
    empty = tmp_path / "empty.db"
    empty.touch()
    assert "is no study" in refused(empty)
    Database(empty, create=True).close()
    Database(empty).close()


def test_a_later_schema_and_a_damaged_file_are_refused(tmp_path: Path) -> None:
    study(tmp_path, pairs(200), "edit").close()
    path = tmp_path / "study.db"
    whole = path.read_bytes()
    later = Path(shutil.copy(path, tmp_path / "later.db"))
    with closing(sqlite3.connect(later)) as connection:
        connection.execute("PRAGMA user_version = 99")
    assert f"is of schema 99, made by a later GrainBench; this one knows {len(MIGRATIONS)}" in (
        refused(later)
    )
    middle = len(whole) // 2 // 4096 * 4096
    path.write_bytes(whole[:middle] + os.urandom(4096) + whole[middle + 4096 :])
    assert "is damaged" in refused(path) or "malformed" in refused(path)
    path.write_bytes(whole[:middle])
    assert "study.db" in refused(path)


def test_an_older_schema_is_led_to_todays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = study(tmp_path, pairs(2), "edit")
    made.close()
    more = (*MIGRATIONS, ("CREATE TABLE more (x INTEGER) STRICT", "INSERT INTO more VALUES (7)"))
    monkeypatch.setattr("bench.studio.database.MIGRATIONS", more)
    for _ in range(2):  # once
        with closing(Database(tmp_path / "study.db")) as database, database.read() as connection:
            assert [tuple(row) for row in connection.execute("SELECT * FROM more")] == [(7,)]
            assert connection.execute("PRAGMA user_version").fetchone()[0] == len(more)
            assert connection.execute("SELECT count(*) FROM items").fetchone()[0] == 2


def test_two_who_make_a_study_at_once_make_one(tmp_path: Path) -> None:
    path = tmp_path / "new.db"
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: Study(path, create=True), range(8)))
    made[0].invite("ana")
    assert [one.name for one in made[7].people()] == ["ana"]


def test_a_locked_study_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.studio.database.BUSY_S", 0.1)
    made = study(tmp_path, pairs(1), "edit")
    with closing(sqlite3.connect(tmp_path / "study.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(UserError, match=r"another process has been writing .* try again") as e:
            made.invite("ana")
        assert e.value.exit_code == 1
        other.execute("ROLLBACK")
    made.invite("ana")
    assert json.loads(made.settings().model_dump_json())["overlap"] == 1
