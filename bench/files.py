"""Files that a user names: read, and written whole or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from bench.errors import UserError

# A database of SQLite, such as a study is, and the log beside it while it is open.
_DATABASE, _LOGS = b"SQLite format 3\0", (b"\x37\x7f\x06\x82", b"\x37\x7f\x06\x83")


def file_sha256(path: Path) -> str:
    """Hash a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def content_sha(path: Path) -> str:
    """SHA-256 of a file's content, in hex.

    Raises:
        UserError: it cannot be read.
    """
    try:
        return file_sha256(path)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error


@dataclass(frozen=True)
class FileState:
    """What a file held when it was read.

    Attributes:
        sha: SHA-256 of the content, in hex.
        size, mtime_ns: by which it is seen that nobody wrote to it since.
    """

    sha: str
    size: int
    mtime_ns: int

    @classmethod
    def of(cls, path: Path) -> FileState:
        """Of the file as it is now.

        Raises:
            UserError: it cannot be read.
        """
        try:
            status = path.stat()  # first: what is written meanwhile is seen later
        except OSError as error:
            raise UserError(f"cannot read {path}: {error.strerror}") from error
        return cls(content_sha(path), status.st_size, status.st_mtime_ns)

    def holds(self, path: Path) -> bool:
        """Whether nobody wrote to the file since."""
        try:
            status = path.stat()
        except OSError:
            return False
        return (status.st_size, status.st_mtime_ns) == (self.size, self.mtime_ns)


def is_database(path: Path) -> bool:
    """Whether a file is a database of SQLite, as a study is."""
    return _begins(path, _DATABASE)


def check_writable(path: Path) -> None:
    """Find out whether `write_atomically` can write `path`, before anything is paid for.

    Raises:
        UserError: it cannot.
    """
    if path.is_dir():
        raise UserError(f"cannot write {path}: it is a folder; name a file in it")
    _keep_databases(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _temporary(path).touch()
        _temporary(path).unlink()
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from error


def write_atomically(path: Path, text: str) -> None:
    """Write a file at one stroke, in UTF-8; its folder is made where missing.

    Who reads meanwhile, or after a failure, sees what was there before, whole.

    Raises:
        UserError: it cannot be written (exit code 1), or is a database.
    """
    _keep_databases(path)
    temporary = _temporary(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        raise UserError(
            f"cannot write {path}: {error.strerror}; mend that and run the same command again",
            exit_code=1,
        ) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def write_json_option(path: Path, text: str) -> None:
    """Write the file that a verb's `--json` names.

    Raises:
        UserError: it cannot be written, or is a database.
    """
    _keep_databases(path)
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot write --json {path}: {error.strerror}") from error


def _keep_databases(path: Path) -> None:
    """Refuse to write over what people said: no file that is written here is a database."""
    if _begins(path, _DATABASE, *_LOGS):
        raise UserError(f"cannot write {path}: it is a study, or its log; name another file")


def _begins(path: Path, *beginnings: bytes) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(_DATABASE)).startswith(beginnings)
    except OSError:
        return False


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}")
