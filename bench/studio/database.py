"""The file of a study: one SQLite database, opened whole, written by one connection a process.

What a `write` block has done is on the disk when the block ends, or has not happened: the journal
is a write-ahead log that is synced at each commit (`synchronous=FULL`; `NORMAL` syncs at
checkpoints alone, so that a power failure, though no kill, takes the last answers with it, and it
saves some milliseconds that nobody who reads a text would notice). Readers see one state from
their first row to their last, and neither wait for the writer nor hold it up.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from bench.errors import UserError
from bench.studio.schema import APPLICATION_ID, MIGRATIONS

BUSY_S = 20.0  # how long a writer waits for those of other processes
OLDEST_SQLITE = (3, 38)  # STRICT tables, and JSON in every build
_HOW = "`python -m bench studio add` makes a study"


class Database:
    """An open study.

    Args:
        path: the file.
        create: make one where there is no file, or an empty one; its folder has to be there.

    Raises:
        UserError: it is no study, of a later version, damaged, or cannot be opened.
    """

    def __init__(self, path: Path, *, create: bool = False) -> None:
        if sqlite3.sqlite_version_info < OLDEST_SQLITE:
            wanted = ".".join(map(str, OLDEST_SQLITE))
            raise UserError(f"SQLite is {sqlite3.sqlite_version} here, the studio needs {wanted}")
        self.path = path
        if not path.is_file() and not create:
            raise UserError(f"there is no study {path}: {_HOW}")
        if path.is_dir():
            raise UserError(f"the study {path} is a folder: name a file in it")
        if not path.parent.is_dir():
            raise UserError(f"the study {path}: there is no folder {path.parent}; make it first")
        self._lock = threading.Lock()
        with self._named_errors("open"):
            self._writer = self._connect("rwc" if create else "rw")
            try:
                self._prepare(create)
            except BaseException:
                self._writer.close()
                raise

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """One transaction, alone in writing; on the disk when it ends, undone where it fails.

        Raises:
            UserError: it cannot be written, which says that nothing was (exit code 1).
        """
        with self._lock, self._named_errors("write"), self._transaction():
            yield self._writer

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """One state of everything, from a connection that cannot write.

        Raises:
            UserError: it cannot be read.
        """
        with self._named_errors("read"), closing(self._connect("ro")) as connection:
            connection.execute("BEGIN")
            yield connection

    def backup(self, out: Path) -> None:
        """Copy the study as it is now, while people work, into a file that stands by itself.

        Raises:
            UserError: there is such a file already, or it cannot be written.
        """
        if out.exists():
            raise UserError(f"there is a file {out} already: name another, or move it away")
        temporary = out.with_name(f".{out.name}.{os.getpid()}")
        try:
            with closing(sqlite3.connect(temporary)) as copy, closing(self._connect("ro")) as own:
                own.backup(copy)
                copy.execute("PRAGMA journal_mode = DELETE")  # else a log belongs to the copy
            temporary.replace(out)
        except (sqlite3.Error, OSError) as error:
            raise UserError(f"cannot write {out}: {error}", exit_code=1) from error
        finally:
            temporary.unlink(missing_ok=True)

    def close(self) -> None:
        """Close the file; the last one to do so puts the log into it."""
        with self._lock:
            self._writer.close()

    def _connect(self, mode: str) -> sqlite3.Connection:
        connection = sqlite3.connect(
            f"file:{quote(str(self.path.resolve()))}?mode={mode}",
            uri=True,
            timeout=BUSY_S,
            isolation_level=None,
            check_same_thread=False,  # the lock is held instead
        )
        connection.row_factory = sqlite3.Row
        connection.execute("PRAGMA foreign_keys = ON")
        return connection

    def _prepare(self, create: bool) -> None:
        version = self._version(create)
        # The file says so from then on, to whoever opens it.
        self._writer.execute("PRAGMA journal_mode = WAL")
        self._writer.execute("PRAGMA synchronous = FULL")
        if version < len(MIGRATIONS):
            self._migrate(create)
        found = [row[0] for row in self._writer.execute("PRAGMA quick_check(1)")]
        if found != ["ok"] or self._writer.execute("PRAGMA foreign_key_check").fetchone():
            what = " ".join(found[0].split()) if found != ["ok"] else "rows refer to none"
            raise UserError(f"the study {self.path} is damaged ({what}): go on from a backup")

    def _version(self, create: bool) -> int:
        """The schema's; 0 where there are no tables yet."""
        # In one statement: between two of them another process may make the tables.
        owner, version, tables = self._writer.execute(
            """SELECT (SELECT application_id FROM pragma_application_id),
                (SELECT user_version FROM pragma_user_version), (SELECT count(*) FROM sqlite_schema)
            """
        ).fetchone()
        if owner != APPLICATION_ID and (tables or version or not create):
            raise UserError(f"{self.path} is no study: {_HOW}")
        if version > len(MIGRATIONS):
            raise UserError(
                f"the study {self.path} is of schema {version}, made by a later GrainBench; this "
                f"one knows {len(MIGRATIONS)}: update it"
            )
        return version

    def _migrate(self, create: bool) -> None:
        """Lead an older schema to today's, in one transaction; another process may have done so."""
        with self._transaction():
            for statements in MIGRATIONS[self._version(create) :]:
                for statement in statements:
                    self._writer.execute(statement)
            self._writer.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            self._writer.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """All of the block, or nothing of it."""
        self._writer.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._writer.execute("COMMIT")
        except BaseException:
            if self._writer.in_transaction:
                self._writer.execute("ROLLBACK")
            raise

    @contextmanager
    def _named_errors(self, verb: str) -> Iterator[None]:
        """What SQLite says of the file, as a line; a mistake in our SQL stays one of ours."""
        try:
            yield
        except (sqlite3.IntegrityError, sqlite3.ProgrammingError):
            raise
        except sqlite3.DatabaseError as error:
            if getattr(error, "sqlite_errorname", "") == "SQLITE_ERROR":
                raise
            what = str(error)
            if what == "file is not a database":
                raise UserError(f"{self.path} is no study: {_HOW}") from error
            if "locked" in what:
                what = f"another process has been writing for {BUSY_S:.0f} s; try again"
            code = 1 if verb == "write" else 2
            raise UserError(
                f"cannot {verb} the study {self.path}: {what}", exit_code=code
            ) from error


def insert(connection: sqlite3.Connection, table: str, **row: Any) -> int:
    """Add a row; its number.

    Args:
        connection: of a transaction that writes.
        table: a table's name; it and the names of columns are the code's own, never a person's.
        row: value by column.
    """
    columns, places = ", ".join(row), ", ".join("?" * len(row))
    sql = f"INSERT INTO {table} ({columns}) VALUES ({places})"
    return int(connection.execute(sql, tuple(row.values())).lastrowid or 0)
