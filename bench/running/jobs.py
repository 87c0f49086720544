"""Several runs at once, each in a process of its own; their lines carry the run's name."""

from __future__ import annotations

import contextlib
import os
import queue
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

    def start(self, arguments: Sequence[str], gpus: str | None) -> subprocess.Popen[str] | None:
        given = {} if gpus is None else {"CUDA_VISIBLE_DEVICES": gpus}
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
                env=os.environ | given,
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


def run_jobs(
    jobs: Sequence[Job], workers: int, say: Callable[[str], None], gpus: Sequence[str] = ()
) -> list[int]:
    """Run all jobs, at most `workers` at a time.

    A failing job leaves the others alone. On KeyboardInterrupt the workers are interrupted too,
    and waited for.

    Args:
        jobs: what to run.
        workers: how many at a time.
        say: receives each line that a job prints, with the job's name before it.
        gpus: names as in CUDA_VISIBLE_DEVICES. A job that starts gets the one that has been free
            the longest; with more workers than GPUs some share one. None: jobs see what is there.

    Returns:
        The exit codes, in the order of `jobs`.
    """
    processes = _Workers()
    if 0 < len(gpus) < workers:
        say(f"{workers} runs at a time share {len(gpus)} GPUs; --jobs {len(gpus)} shares none")
    free: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    for i in range(workers):  # a seat each worker: taking one never waits
        free.put(gpus[i % len(gpus)] if gpus else None)

    def one(job: Job) -> int:
        gpu = free.get()
        try:
            process = processes.start(job.arguments, gpu)
            if process is None:
                return 130
            assert process.stdout is not None
            for line in process.stdout:
                say(f"[{job.name}] {line.rstrip()}")
            return process.wait()
        finally:
            free.put(gpu)

    with ThreadPoolExecutor(workers) as pool:
        futures = [pool.submit(one, job) for job in jobs]
        try:
            return [future.result() for future in futures]
        except BaseException:
            processes.stop()
            raise
