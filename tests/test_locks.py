"""Locks on folders that several machines share: a file, touched by whoever holds it."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import threading
import time
from collections import namedtuple
from pathlib import Path

import filelock
import pytest

from bench import locks
from bench.errors import UserError
from bench.locks import acquire, make_lock
from bench.pipeline.store import Store

Mount = namedtuple("Mount", ["mountpoint", "fstype"])


@pytest.fixture
def shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder as on NFS, where filelock itself cannot take over; a minute is a moment here."""
    monkeypatch.setattr("filelock._soft.exchange_names", lambda *_: False)
    monkeypatch.setattr(locks, "LEASE_S", 2.0)
    monkeypatch.setattr(locks, "_LOOK_EVERY_S", 0.1)
    (tmp_path / ".shared").touch()
    return tmp_path


@pytest.mark.parametrize(
    ("kind", "is_shared"),
    [("ext4", False), ("XFS", False), ("nfs4", True), ("lustre", True), ("fuse.sshfs", True)],
)
def test_the_kernel_locks_local_disks_alone(
    kind: str, is_shared: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mounts = [Mount("/", "ext4"), Mount(str(tmp_path.resolve()), kind)]
    monkeypatch.setattr(locks.psutil, "disk_partitions", lambda **_: mounts)
    (tmp_path / "deep").mkdir()
    lock = make_lock(tmp_path / "deep" / "a.lock")
    assert isinstance(lock, filelock.SoftFileLease) == is_shared
    with lock:
        assert lock.is_locked


def test_all_machines_take_the_kind_that_one_of_them_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file server sees a disk where the others see a network."""
    assert not isinstance(make_lock(tmp_path / "a.lock"), filelock.SoftFileLease)
    monkeypatch.setattr(locks.psutil, "disk_partitions", lambda **_: [Mount("/", "nfs")])
    make_lock(tmp_path / "a.lock")
    monkeypatch.undo()
    assert isinstance(make_lock(tmp_path / "a.lock"), filelock.SoftFileLease)


def holder(folder: Path, then: str = "time.sleep(60)") -> subprocess.Popen[str]:
    """A process that holds the lock."""
    code = f"""
    import os, sys, time
    from pathlib import Path
    from bench import locks
    locks.LEASE_S = 2.0
    lock = locks.make_lock(Path({str(folder)!r}) / "a.lock")
    lock.acquire()
    print("inside", flush=True)
    {then}
    lock.release()
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "inside\n"
    process.stdout.close()
    return process


def test_one_waits_for_the_other_however_long_that_one_takes(shared: Path) -> None:
    process = holder(shared, "time.sleep(5)")
    said: list[str] = []
    acquire(make_lock(shared / "a.lock"), 0.1, said.append)
    assert process.wait(10) == 0  # it had released the lock, and was not taken for dead
    assert said[0].startswith(f"process {process.pid} on ")
    assert said[0].endswith(f"where you know that it is, delete {shared / 'a.lock.lease'})")


def test_what_a_killed_process_of_this_machine_held_is_free_at_once(
    shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = holder(shared)
    process.kill()
    process.wait()
    monkeypatch.setattr(locks, "LEASE_S", 2.0)
    began = time.monotonic()
    acquire(make_lock(shared / "a.lock"), 0.1, lambda _: None)
    assert time.monotonic() - began < 1.5


def test_a_machine_without_a_sign_of_life_is_taken_for_dead(shared: Path) -> None:
    with make_lock(shared / "a.lock") as lock:
        text = Path(lock.lock_file).read_text()
    path = shared / "a.lock.lease"
    path.write_text(text.replace("host=", "host=elsewhere-"))
    began = time.monotonic()
    mine = make_lock(shared / "a.lock")
    acquire(mine, 0.1, lambda _: None)
    assert mine.is_locked
    assert 2.0 < time.monotonic() - began < 20
    assert "host=elsewhere-" not in path.read_text()


def test_of_many_that_wait_for_a_dead_one_one_at_a_time_gets_in(shared: Path) -> None:
    process = holder(shared)
    process.kill()
    process.wait()
    inside: list[int] = []
    most: list[int] = []

    def enter() -> None:
        lock = make_lock(shared / "a.lock")
        acquire(lock, 0.05, lambda _: None)
        inside.append(1)
        most.append(len(inside))
        time.sleep(0.05)
        inside.pop()
        lock.release()

    threads = [threading.Thread(target=enter) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert most == [1] * 6


def test_a_stage_whose_place_was_taken_leaves_the_folder_to_the_other(
    shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other's files stay, and nothing is stored by this one."""
    store = Store(shared / "store")
    (store.root / "locks").mkdir(parents=True)
    (store.root / "locks" / ".shared").touch()
    partial = store.root / "partial" / "sft-k" / "a.txt"

    def taken() -> None:
        lease = store.root / "locks" / "sft-k.lock.lease"
        fresh = lease.with_name("fresh")
        fresh.write_text(lease.read_text().replace("host=", "host=elsewhere-"))
        fresh.replace(lease)

    said = r"sft: gave no sign of life .* run the same command again"
    with pytest.raises(UserError, match=said), store.building("sft", "k") as build:
        (build.path / "a.txt").write_text("the other's")
        taken()
        began = time.monotonic()
        while time.monotonic() - began < 20:
            time.sleep(0.1)  # interrupted as soon as it is noticed
    assert time.monotonic() - began < 10
    assert partial.read_text() == "the other's"
    assert store.find("sft", "k") is None
