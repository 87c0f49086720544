"""The store of finished stages: folders that are whole or not there.

::

    root/<stage>/<key>/          an artifact: its files and meta.json
    root/partial/<stage>-<key>/  one that is being made, or was interrupted at a checkpoint
    root/corrupt/...             artifacts that no longer match their checksums, moved aside
    root/locks/                  one lock a key, so that two processes do not make the same thing;
                                 they may be of several machines (`bench.locks`)

A stage writes into the partial folder; when it is done, its files' checksums are taken, everything
is flushed to the disk, and the folder is renamed into place. A reader never sees half an artifact.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import filelock
import platformdirs

from bench.errors import UserError
from bench.files import file_sha256
from bench.locks import acquire, is_lost, make_lock

META = "meta.json"
CHECKPOINT = "checkpoint"
_SPENT = "seconds"  # in the checkpoint: what earlier, interrupted attempts took
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_DENIED = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR}
_FULL_TEXTS = (
    "No space left on device", "Disk quota exceeded", "os error 27", "os error 28", "os error 122",
    # torch.save tells only that less was written than it gave.
    "unexpected pos", "PytorchStreamWriter failed writing",
)  # fmt: skip
_WAIT_QUIETLY_S = 5.0
_NOTE_EVERY_S = 1.0


@dataclass(frozen=True)
class Artifact:
    """A finished stage.

    Attributes:
        path: the folder with its files.
        meta: stage, key, seconds, stats, files {name: {sha256, size}}, created_at.
    """

    path: Path
    meta: dict[str, Any]

    @property
    def seconds(self) -> float:
        """What it took to make it."""
        return float(self.meta["seconds"])

    @property
    def stats(self) -> dict[str, Any]:
        """What the stage reported about itself."""
        return dict(self.meta["stats"])


@dataclass
class Build:
    """A stage that is being made.

    Attributes:
        path: where it writes. Of an interrupted attempt only ``path/checkpoint`` is still there.
        stats: what it reports; JSON-able.
        artifact: set where another process made it while this one waited: nothing is left to do.
    """

    path: Path
    stats: dict[str, Any] = field(default_factory=dict)
    artifact: Artifact | None = None


class DamagedError(Exception):
    """An artifact's files are not what was written."""


class Store:
    """Artifacts by stage and key.

    Args:
        root: the folder; made when something is first written.
        warn: receives one line about an artifact that is moved aside or waited for.
    """

    def __init__(self, root: Path | None = None, warn: Callable[[str], None] | None = None) -> None:
        self.root = (root or default_root()).expanduser().absolute()
        self.warn = warn or (lambda line: print(line, file=sys.stderr))  # noqa: T201
        self._verified: set[Path] = set()
        self._locks: dict[str, filelock.BaseFileLock] = {}

    def find(self, stage: str, key: str) -> Artifact | None:
        """Return the artifact if it is there and whole; one that is not is moved aside.

        Raises:
            UserError: the store cannot be read.
        """
        # First without the lock: a reader need not wait for whoever holds it.
        path = self.root / stage / key
        with self._errors():
            try:
                return self._whole(path)
            except DamagedError:
                pass
        with self._errors(), contextlib.ExitStack() as stack:
            self._lock(stage, key, stack)
            try:  # once more: another process may have mended it meanwhile
                return self._whole(path)
            except DamagedError as damage:
                self._set_aside(path, damage)
        return None

    @contextlib.contextmanager
    def building(self, stage: str, key: str) -> Iterator[Build]:
        """Make an artifact: write into ``build.path``; it is stored if the block ends well.

        An exception leaves nothing but a ``checkpoint`` folder, if the stage wrote one; the next
        attempt finds it in ``build.path``.

        Raises:
            UserError: the store cannot be written, or the disk is full.
        """
        with contextlib.ExitStack() as stack:
            with self._errors(_DENIED | {errno.ENOENT}):  # /proc/x cannot be made
                lock = self._lock(stage, key, stack)
            if found := self.find(stage, key):  # who held the lock made it
                yield Build(found.path, artifact=found)
                return
            build = Build(self.root / "partial" / f"{stage}-{key}")
            clock = _Clock()
            try:
                with self._errors():
                    clock.before = _prepare(build.path)
                    if (build.path / CHECKPOINT).is_dir():
                        self.warn(f"{stage}: going on where an interrupted run stopped")
                    with _noting(build.path, clock):
                        yield build
                    if not is_lost(lock):
                        self._commit(build, stage, key, round(clock.seconds(), 3))
            # Ctrl-C, too: its checkpoint is what the next attempt goes on from.
            except BaseException:
                if not is_lost(lock):
                    _abandon(build.path, clock)
                    raise
            if is_lost(lock):  # the folder is another process's by now
                raise UserError(
                    f"{stage}: gave no sign of life for so long that another process took its "
                    "place in the store; run the same command again to go on",
                    exit_code=1,
                )

    def _whole(self, path: Path) -> Artifact | None:
        """Read and check an artifact; files that this process checked before by their size only."""
        if not path.exists():
            return None
        artifact = Artifact(path, _read_meta(path))
        _verify(artifact, checksums=path not in self._verified)
        self._verified.add(path)
        return artifact

    def _commit(self, build: Build, stage: str, key: str, seconds: float) -> None:
        meta = {
            "stage": stage,
            "key": key,
            "seconds": seconds,
            "stats": build.stats,
            "files": _inventory(build.path),
            "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        # The checkpoint goes last: should the disk be full at the metadata, it is still there.
        _write_synced(build.path / META, json.dumps(meta, indent=1, sort_keys=True) + "\n")
        shutil.rmtree(build.path / CHECKPOINT, ignore_errors=True)
        # A rename is atomic, but not on the disk at once: the files are flushed before it, and the
        # folder that holds the new name after it.
        _sync_folder(build.path)
        final = self.root / stage / key
        final.parent.mkdir(parents=True, exist_ok=True)
        try:
            build.path.replace(final)
        except OSError:
            # Another machine's, which NFS did not show yet when this one had waited for the lock.
            if not (final / META).exists():
                raise
            shutil.rmtree(build.path, ignore_errors=True)
        _sync_folder(final.parent)

    def _lock(self, stage: str, key: str, stack: contextlib.ExitStack) -> filelock.BaseFileLock:
        folder = self.root / "locks"
        folder.mkdir(parents=True, exist_ok=True)
        name = f"{stage}-{key}.lock"
        # One object a key: this process may take a lock again that it holds.
        if name not in self._locks:
            self._locks[name] = make_lock(folder / name)
        lock = self._locks[name]
        acquire(
            lock,
            _WAIT_QUIETLY_S,
            lambda holder: self.warn(f"{stage} is being computed by {holder}; waiting for it"),
        )
        stack.callback(lock.release)
        return lock

    def _set_aside(self, path: Path, damage: DamagedError) -> None:
        target = self.root / "corrupt" / f"{path.parent.name}-{path.name}-{time.time_ns()}"
        target.parent.mkdir(parents=True, exist_ok=True)
        path.replace(target)
        self.warn(
            f"stored {path.parent.name} is damaged ({damage}); moved to {target}, has to be redone"
        )

    @contextlib.contextmanager
    def _errors(self, denied: set[int] = _DENIED) -> Iterator[None]:
        """Turn a full disk and denied access into a line that says how to mend it."""
        try:
            yield
        except Exception as error:
            if _is_full(error):
                problem = f"no space left for the store {self.root}"
            elif isinstance(error, OSError) and self._is_denied(error, denied):
                problem = f"cannot write to the store {self.root}: {error.strerror}"
            else:
                raise
            raise UserError(
                f"{problem}; what is finished is kept. Free space or choose another place with "
                "--store DIR or BENCH_STORE",
                exit_code=1,
            ) from error

    def _is_denied(self, error: OSError, denied: set[int]) -> bool:
        # A stage may be denied something else, such as a suite's file: no fault of the store.
        if error.errno not in denied or not error.filename:
            return False
        named = Path(os.fsdecode(error.filename))
        return named.is_relative_to(self.root) or self.root.is_relative_to(named)


def default_root() -> Path:
    """Return BENCH_STORE, or the user's cache folder."""
    return Path(os.environ.get("BENCH_STORE") or platformdirs.user_cache_path("grainbench"))


def _prepare(path: Path) -> float:
    """Clear the folder but for a checkpoint; return the seconds that went into that one."""
    # Of an attempt that was killed there may be half-written files: only checkpoints are whole.
    path.mkdir(parents=True, exist_ok=True)
    _clear(path)
    with contextlib.suppress(OSError, ValueError):
        return float((path / CHECKPOINT / _SPENT).read_text())
    return 0.0


def _clear(path: Path) -> None:
    """Remove everything but a checkpoint."""
    for item in path.iterdir():
        if item.name == CHECKPOINT and item.is_dir():
            continue
        shutil.rmtree(item) if item.is_dir() else item.unlink()


class _Clock:
    """Seconds of this attempt, and of those `before` it that left the checkpoint."""

    def __init__(self) -> None:
        self.before = 0.0
        self._start = time.perf_counter()

    def seconds(self) -> float:
        return self.before + time.perf_counter() - self._start


@contextlib.contextmanager
def _noting(path: Path, clock: _Clock) -> Iterator[None]:
    """Write down every second what it took so far: a process that is killed cannot say it."""
    ended = threading.Event()

    def note() -> None:
        while not ended.wait(_NOTE_EVERY_S):
            _note(path, clock)

    thread = threading.Thread(target=note, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _note(path: Path, clock: _Clock) -> None:
    """Beside the checkpoint, if there is one: without it, nothing of the attempt will be used."""
    if (path / CHECKPOINT).is_dir():
        fresh = path / CHECKPOINT / f"{_SPENT}.tmp"
        with contextlib.suppress(OSError):
            try:
                fresh.write_text(f"{clock.seconds():.3f}")
                fresh.replace(path / CHECKPOINT / _SPENT)
            finally:
                fresh.unlink(missing_ok=True)  # on a full disk: opened, but not written


def _abandon(path: Path, clock: _Clock) -> None:
    if (path / CHECKPOINT).is_dir():
        with contextlib.suppress(OSError):  # the original error is the one to report
            _clear(path)  # now, and not at the next attempt: the disk may be full
        _note(path, clock)
    else:
        shutil.rmtree(path, ignore_errors=True)


def _inventory(path: Path) -> dict[str, dict[str, Any]]:
    """Checksum and size of every file, each flushed to the disk."""
    files = {}
    for file in sorted(path.rglob("*")):
        name = file.relative_to(path)
        if file.is_file() and name.parts[0] != CHECKPOINT:
            with file.open("rb") as opened:
                os.fsync(opened.fileno())
            files[name.as_posix()] = {"sha256": file_sha256(file), "size": file.stat().st_size}
    return files


def _read_meta(path: Path) -> dict[str, Any]:
    try:
        meta = json.loads((path / META).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DamagedError(f"{META} is missing") from error
    except ValueError as error:
        raise DamagedError(f"{META} cannot be read") from error
    if not _is_meta(meta):
        raise DamagedError(f"{META} is incomplete")
    return meta


def _is_meta(meta: Any) -> bool:
    """Whether all that readers rely on is there, in its type."""
    if not isinstance(meta, dict):
        return False
    kinds = {"seconds": int | float, "stats": dict, "files": dict}
    if not all(isinstance(meta.get(key), kind) for key, kind in kinds.items()):
        return False
    files = meta["files"].values()
    return all(isinstance(file, dict) and {"sha256", "size"} <= file.keys() for file in files)


def _verify(artifact: Artifact, *, checksums: bool) -> None:
    for name, expected in artifact.meta["files"].items():
        file = artifact.path / name
        try:
            size = file.stat().st_size
            if size != expected["size"]:
                raise DamagedError(f"{name} has {size} bytes, not {expected['size']}")
            if checksums and file_sha256(file) != expected["sha256"]:
                raise DamagedError(f"{name} has another checksum")
        # Also when another reader moves a damaged artifact aside under this one.
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
            raise DamagedError(f"{name} is missing") from error


def _write_synced(path: Path, text: str) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(path: Path) -> None:
    if os.name != "posix":  # elsewhere a folder cannot be opened
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _is_full(error: Exception) -> bool:
    # safetensors and torch report a full disk in errors of their own.
    if isinstance(error, OSError) and error.errno in _FULL:
        return True
    return any(text in str(error) for text in _FULL_TEXTS)
