"""Locks between processes: of this machine, or of several that share a folder.

On a local disk the kernel holds a lock, and lets go of it when the process ends, however it ends.
Over a network file system that lock may be refused, or hold on one machine alone without saying so
(NFS with `nolock`, Lustre with `localflock`). There a lock is a file that is there or is not, which
every such file system does reliably; its holder touches it every now and then, so that others see
that it is alive.
"""

from __future__ import annotations

import _thread
import time
from collections.abc import Callable
from pathlib import Path

import filelock
import psutil

# How long a holder on another machine may show no sign of life. Well above the minute for which
# NFS may hand out a file's old time.
LEASE_S = 300.0
_LOOK_EVERY_S = 5.0
_SHARED = (
    ".shared"  # beside the locks: one machine sees a network there, where another has the disk
)
_LOCAL = {
    "apfs", "bcachefs", "btrfs", "exfat", "ext2", "ext3", "ext4", "f2fs", "fuseblk", "hfs", "jfs",
    "ntfs", "overlay", "ramfs", "rootfs", "tmpfs", "ufs", "vfat", "xfs", "zfs",
}  # fmt: skip
_Sign = tuple[str | None, float]


def make_lock(path: Path) -> filelock.BaseFileLock:
    """Make the kind of lock that holds where `path` is.

    Args:
        path: of the lock's file, in a folder that is there.
    """
    if not _is_shared(path.parent):
        return filelock.FileLock(path)
    # Under another name: the kernel's lock leaves its file behind, which would count as held.
    return filelock.SoftFileLease(
        path.with_name(f"{path.name}.lease"),
        lease_duration=LEASE_S,
        heartbeat_interval=LEASE_S / 10,
        # Somebody took this process for dead, as after a machine's sleep, and goes on in its place.
        on_compromise=lambda _: _thread.interrupt_main(),
    )


def acquire(lock: filelock.BaseFileLock, quietly_s: float, waiting: Callable[[str], None]) -> None:
    """Wait until this process holds the lock.

    Args:
        lock: of `make_lock`.
        quietly_s: how long to wait before saying so.
        waiting: called once then, with who holds it, as far as that is known.
    """
    try:
        lock.acquire(timeout=quietly_s)
        return
    except filelock.Timeout:
        waiting(_holder(lock))
    if not isinstance(lock, filelock.SoftFileLease):
        lock.acquire()
        return
    sign, since = _sign_of_life(lock), time.monotonic()
    while True:
        try:
            lock.acquire(timeout=_LOOK_EVERY_S)
            return
        except filelock.Timeout:
            if (now := _sign_of_life(lock)) != sign:
                sign, since = now, time.monotonic()
            _take_from_the_dead(lock, sign if time.monotonic() - since > LEASE_S else None)


def is_lost(lock: filelock.BaseFileLock) -> bool:
    """Whether another process took the lock from this one, which it thought dead."""
    return isinstance(lock, filelock.SoftFileLease) and lock.compromise is not None


def _take_from_the_dead(lock: filelock.SoftFileLease, expired: _Sign | None) -> None:
    """Remove the file of a holder that is no more: it ran here, or its last sign is too old.

    filelock does so itself where two names can be exchanged in one step, which NFS cannot. Here a
    second lock sees to it that two processes do not judge the same file, one of them removing what
    the other has just made its own.
    """
    try:
        with filelock.SoftFileLease(f"{lock.lock_file}.break", timeout=0) as judge:
            owner, here = lock.owner, judge.owner
            if owner is None or here is None:
                return
            ended = owner.hostname == here.hostname and not psutil.pid_exists(owner.pid)
            if ended or (expired is not None and _sign_of_life(lock) == expired):
                lock.force_break()
    except filelock.Timeout:  # somebody else is at it
        return


def _sign_of_life(lock: filelock.SoftFileLease) -> _Sign | None:
    """The holder's claim and when it was last touched, by the file server's clock."""
    try:
        touched = Path(lock.lock_file).stat().st_mtime
    except OSError:
        return None
    return (lock.owner.token if lock.owner else None, touched)


def _holder(lock: filelock.BaseFileLock) -> str:
    owner = lock.owner if isinstance(lock, filelock.SoftFileLease) else None
    if owner is None:
        return "another process"
    return (
        f"process {owner.pid} on {owner.hostname} (taken for dead after {LEASE_S / 60:.0f} minutes "
        f"without a sign of life; where you know that it is, delete {lock.lock_file})"
    )


def _is_shared(folder: Path) -> bool:
    marker = folder / _SHARED
    if marker.exists():
        return True
    if _file_system(folder) in _LOCAL:
        return False
    marker.touch()
    return True


def _file_system(folder: Path) -> str:
    """Its type; "" where no mount is known to hold the folder."""
    mounts = {Path(m.mountpoint): m.fstype.lower() for m in psutil.disk_partitions(all=True)}
    place = folder.resolve()
    return next((mounts[one] for one in (place, *place.parents) if one in mounts), "")
