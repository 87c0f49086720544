"""Several runs at once, each in a process of its own; their lines carry the run's name."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

_GRACE_S = 30.0  # for a worker to put its unfinished stage away


@dataclass(frozen=True)
class Job:
    """A run as a command line.

    Attributes:
        name: the prefix of its output.
        arguments: what follows `python -m bench`.
    """

    name: str
    arguments: tuple[str, ...]


@dataclass
class _Workers:
    """The processes that are alive; none starts after `stop`."""

    running: set[subprocess.Popen[str]] = field(default_factory=set)
    lock: threading.Lock = field(default_factory=threading.Lock)
    stopped: bool = False

    def start(self, arguments: Sequence[str]) -> subprocess.Popen[str] | None:
        with self.lock:
            if self.stopped:
                return None
            # In a session of its own: a Ctrl-C reaches it once, from here.
            process = subprocess.Popen(
                [sys.executable, "-m", "bench", *arguments],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                start_new_session=True,
            )
            self.running.add(process)
            return process

    def stop(self) -> None:
        with self.lock:
            self.stopped = True
            alive = [process for process in self.running if process.poll() is None]
        for process in alive:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGINT)
        for process in alive:
            try:
                process.wait(_GRACE_S)
            except subprocess.TimeoutExpired:
                process.kill()


def run_jobs(jobs: Sequence[Job], workers: int, say: Callable[[str], None]) -> list[int]:
    """Run all jobs, at most `workers` at a time.

    A failing job leaves the others alone. On KeyboardInterrupt the workers are interrupted too,
    and waited for.

    Args:
        jobs: what to run.
        workers: how many at a time.
        say: receives each line that a job prints, with the job's name before it.

    Returns:
        The exit codes, in the order of `jobs`.
    """
    processes = _Workers()

    def one(job: Job) -> int:
        process = processes.start(job.arguments)
        if process is None:
            return 130
        assert process.stdout is not None
        for line in process.stdout:
            say(f"[{job.name}] {line.rstrip()}")
        return process.wait()

    with ThreadPoolExecutor(workers) as pool:
        futures = [pool.submit(one, job) for job in jobs]
        try:
            return [future.result() for future in futures]
        except BaseException:
            processes.stop()
            raise
