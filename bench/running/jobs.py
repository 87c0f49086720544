"""Whole runs as processes of their own; their lines carry the run's name.

A `Launcher` says where: `Local` here, those of `bench.running.clusters` on other machines. A run is
a command line wherever it runs, so nothing of a launcher reaches the code that trains.
"""

from __future__ import annotations

import contextlib
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

GRACE_S = 30.0  # for a run that is interrupted to put its unfinished stage away

Say = Callable[[str], None]


@dataclass(frozen=True)
class Job:
    """A run as a command line.

    Attributes:
        name: the prefix of its output.
        arguments: what follows `python -m bench run --as-job`.
        folder: where it starts; relative paths among its arguments count from there.
    """

    name: str
    arguments: tuple[str, ...]
    folder: Path = field(default_factory=Path.cwd)


def run_options(options: Mapping[str, object], overrides: Sequence[str]) -> list[str]:
    """Options of `python -m bench run` by name, those that are None left out, and overrides."""
    given = [f"--{name}={value}" for name, value in options.items() if value is not None]
    return given + [f"--set={override}" for override in overrides]


class Launcher(Protocol):
    """Runs jobs somewhere, each in a process of its own.

    Attributes:
        threads: CPU threads that every job gets. All get as many: runs that are to be compared add
            up in the same order.
    """

    @property
    def threads(self) -> int: ...  # noqa: D102 (above)

    def run(self, jobs: Sequence[Job], say: Say) -> list[int]:
        """Run all jobs; one that fails leaves the others alone, an interruption ends all.

        Args:
            jobs: what to run.
            say: receives each line that a job prints, with the job's name before it.

        Returns:
            The exit codes, in the order of `jobs`.
        """


def _start(job: Job, gpus: str | None = None) -> subprocess.Popen[str]:
    given = {} if gpus is None else {"CUDA_VISIBLE_DEVICES": gpus}
    return subprocess.Popen(
        [sys.executable, "-m", "bench", "run", "--as-job", *job.arguments],
        # Nothing is ever written to it. It closes when this process ends, even by kill -9, and then
        # the run ends too: it would go on unseen, holding its locks, its GPU and its memory.
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env=os.environ | given,
        cwd=job.folder,
        start_new_session=True,  # a Ctrl-C reaches it once, from here
    )


def _follow(job: Job, process: subprocess.Popen[str], say: Say) -> int:
    assert process.stdout is not None
    for line in process.stdout:
        say(f"[{job.name}] {line.rstrip()}")
    return process.wait()


def _stop(processes: Iterable[subprocess.Popen[str]]) -> None:
    alive = [process for process in processes if process.poll() is None]
    for process in alive:
        process.terminate()  # not SIGINT: what Ray starts has that one blocked
    for process in alive:
        try:
            process.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            process.kill()


def run_job(job: Job, say: Say) -> int:
    """Run one job and wait for it, in the main thread of a worker of a cluster.

    Returns:
        Its exit code, negative where a signal ended it.
    """
    process = _start(job)
    with ThreadPoolExecutor(1) as pool:
        ending = pool.submit(_follow, job, process, say)
        try:
            # Waiting for the next line blocks in the system, where the exception by which Ray and
            # submitit cancel a job would not be seen: another thread waits, this one looks up.
            while not ending.done():
                with contextlib.suppress(TimeoutError):
                    ending.result(timeout=0.2)
        except BaseException:
            _stop([process])
            raise
    return ending.result()


@dataclass
class _Workers:
    """The processes that are alive; none starts after `stop`."""

    running: set[subprocess.Popen[str]] = field(default_factory=set)
    lock: threading.Lock = field(default_factory=threading.Lock)
    stopped: bool = False

    def start(self, job: Job, gpus: str | None) -> subprocess.Popen[str] | None:
        with self.lock:
            if self.stopped:
                return None
            process = _start(job, gpus)
            self.running.add(process)
            return process

    def stop(self) -> None:
        with self.lock:
            self.stopped = True
        _stop(self.running)


def visible_gpus() -> list[str]:
    """GPUs that torch sees from here, by the names that CUDA_VISIBLE_DEVICES has for them."""
    # In a process of its own: this one only starts others, and torch would take seconds, memory
    # and, on some drivers, a context on the first GPU. torch is asked rather than nvidia-smi,
    # because what the runs can use depends on torch's build and on how it orders the devices.
    code = "import torch; print(torch.cuda.device_count())"
    command = [sys.executable, "-c", code]
    asked = subprocess.run(command, capture_output=True, text=True, check=False)
    count = int(asked.stdout) if asked.returncode == 0 else 0
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    return [str(n) for n in range(count)] if given is None else given.split(",")[:count]


@dataclass(frozen=True)
class Local:
    """On this machine.

    Attributes:
        workers: how many jobs at a time.
        gpus: names as in CUDA_VISIBLE_DEVICES. A job that starts gets the one that has been free
            the longest; with more workers than GPUs some share one. None: jobs see what is there.
    """

    workers: int
    threads: int
    gpus: Sequence[str] = ()

    def run(self, jobs: Sequence[Job], say: Say) -> list[int]:
        """Run all jobs, at most `workers` at a time."""
        processes = _Workers()
        if 0 < len(self.gpus) < self.workers:
            count = len(self.gpus)
            say(f"{self.workers} runs at a time share {count} GPUs; --jobs {count} shares none")
        free: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        for i in range(self.workers):  # a seat each worker: taking one never waits
            free.put(self.gpus[i % len(self.gpus)] if self.gpus else None)

        def one(job: Job) -> int:
            gpu = free.get()
            try:
                process = processes.start(job, gpu)
                return 130 if process is None else _follow(job, process, say)
            finally:
                free.put(gpu)

        with ThreadPoolExecutor(self.workers) as pool:
            futures = [pool.submit(one, job) for job in jobs]
            try:
                return [future.result() for future in futures]
            except BaseException:
                processes.stop()
                raise
