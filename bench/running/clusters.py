"""Runs on other machines: as tasks of a Ray cluster, or as jobs of SLURM, which submitit hands in.

Both start the same command line as everybody else, on machines that share this one's folders and
Python environment, and give its exit code back.
"""

from __future__ import annotations

import contextlib
import importlib
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.errors import UserError
from bench.running.jobs import GRACE_S, Job, Say, run_job

_POLL_S = 0.5
_SHARED = ("timeout_min", "mem_gb")
_DAY_MIN = 24 * 60  # submitit's own default is five minutes


def _library(name: str, extra: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        how = f"pip install -c constraints.txt -e '.[{extra}]'"
        raise UserError(f"--launcher {extra} needs the package {name}: {how}") from None


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


class Killed(Exception):
    """A signal ended the run's process: no fault of its own, as where memory ran out."""


def _in_ray(place: int, job: Job, lines: Any) -> int:
    """Run a job in a worker of Ray, which calls this again where worker or run was killed."""
    lines.put((place, None))
    code = run_job(job, lambda line: lines.put((place, line)))
    if code < 0:
        raise Killed(f"signal {-code}")
    return code


@dataclass(frozen=True)
class Ray:
    """Tasks of Ray.

    Attributes:
        gpus: a run; None: one where the cluster has any.
        retries: how often a run is started again whose worker, or whose process, was killed. It
            goes on from its checkpoint in the store. One that ended by itself is not tried again.
        address: of a running cluster; None: RAY_ADDRESS, or one that is started here and ends with
            the runs.
    """

    threads: int
    gpus: int | None = None
    retries: int = 3
    address: str | None = None

    def run(self, jobs: Sequence[Job], say: Say) -> list[int]:
        """Run all jobs, as many at a time as the cluster has CPUs and GPUs for."""
        ray = _library("ray", "ray")
        self._connect(ray)
        try:
            return self._run(ray, jobs, say)
        finally:
            ray.shutdown()

    def _connect(self, ray: Any) -> None:
        where: dict[str, Any] = {"address": self.address} if self.address else {}
        try:
            ray.init(**where, include_dashboard=False, log_to_driver=False, logging_level="error")
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise UserError(f"--ray-address {self.address}: {_first_line(error)}") from error

    def _run(self, ray: Any, jobs: Sequence[Job], say: Say) -> list[int]:
        lines, task = _Lines(ray, jobs, say), self._task(ray, say)
        waiting = {task.remote(i, job, lines.queue): i for i, job in enumerate(jobs)}
        codes = [1] * len(jobs)
        try:
            while waiting:
                done, _ = ray.wait(list(waiting), timeout=_POLL_S)
                lines.pass_on()
                for one in done:
                    place = waiting.pop(one)
                    try:
                        codes[place] = ray.get(one)
                    except (ray.exceptions.RayError, Killed) as error:
                        say(f"[{jobs[place].name}] given up: {_first_line(error)}")
        except BaseException:
            for one in waiting:
                ray.cancel(one, recursive=False)  # a KeyboardInterrupt in `run_job`
            ray.wait(list(waiting), num_returns=len(waiting), timeout=GRACE_S)
            lines.pass_on()
            raise
        return codes

    def _task(self, ray: Any, say: Say) -> Any:
        gpus = self.gpus
        if gpus is None:
            gpus = int(ray.cluster_resources().get("GPU", 0) > 0)
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        if not any(n.get("CPU", 0) >= self.threads and n.get("GPU", 0) >= gpus for n in nodes):
            say(f"no machine of the cluster has {self.threads} CPUs and {gpus} GPUs; waiting")
        return ray.remote(
            num_cpus=self.threads,
            num_gpus=gpus,
            max_retries=self.retries,
            retry_exceptions=[Killed],
        )(_in_ray)


class _Lines:
    """What the jobs print, on its way here."""

    def __init__(self, ray: Any, jobs: Sequence[Job], say: Say) -> None:
        from ray.util.queue import Queue
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        # On this machine: a queue that went down with one of the others would end all jobs.
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        self.queue = Queue(actor_options={"num_cpus": 0, "scheduling_strategy": here})
        self.jobs, self.say = jobs, say
        self.starts: Counter[int] = Counter()

    def pass_on(self) -> None:
        from ray.util.queue import Empty

        with contextlib.suppress(Empty):
            while True:
                place, line = self.queue.get_nowait()
                if line is not None:
                    self.say(line)
                    continue
                self.starts[place] += 1
                if self.starts[place] > 1:
                    self.say(f"[{self.jobs[place].name}] its worker was lost; started once more")


class _InSlurm:
    """A job in SLURM; one that is preempted or out of time is handed in again, and goes on."""

    def __call__(self, job: Job) -> int:
        return run_job(job, lambda line: print(line, flush=True))  # noqa: T201 (the job's log)

    def checkpoint(self, job: Job) -> Any:
        """Submitit's hook: what to hand in again."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, job)


@dataclass(frozen=True)
class Slurm:
    """Jobs of SLURM, handed in by submitit.

    Attributes:
        gpus: a run; None: none are asked for.
        retries: how often a run that is out of time is handed in again.
        folder: for what is handed in, and for the logs.
        options: "name=value" of submitit's executor: timeout_min, mem_gb, partition, account, ...;
            cluster=local runs the jobs here, without SLURM.
    """

    threads: int
    gpus: int | None
    retries: int
    folder: Path
    options: Sequence[str] = ()

    def run(self, jobs: Sequence[Job], say: Say) -> list[int]:
        """Hand in all jobs and wait for them."""
        submitit = _library("submitit", "slurm")
        sent = self._executor(submitit).map_array(_InSlurm(), jobs)
        for job, one in zip(jobs, sent, strict=True):
            say(f"[{job.name}] job {one.job_id}, log {one.paths.stdout}")
        codes: dict[int, int] = {}
        try:
            while len(codes) < len(jobs):
                time.sleep(_POLL_S)
                for i, one in enumerate(sent):
                    if i not in codes and one.done():
                        codes[i] = self._code(submitit, jobs[i], one, say)
        except BaseException:
            for one in sent:
                one.cancel(check=False)
            raise
        return [codes[i] for i in range(len(jobs))]

    def _code(self, submitit: Any, job: Job, one: Any, say: Say) -> int:
        try:
            code = int(one.result())
        except submitit.core.utils.UncompletedJobError as error:
            say(f"[{job.name}] lost: {_first_line(error)}")
            return 1
        say(f"[{job.name}] ended with exit code {code}")
        return code

    def _executor(self, submitit: Any) -> Any:
        asked = {"timeout_min": _DAY_MIN} | dict(map(_setting, self.options))
        cluster = str(asked.pop("cluster", "slurm"))
        # submitit calls what only SLURM knows slurm_NAME.
        settings = {name if name in _SHARED else f"slurm_{name}": asked[name] for name in asked}
        settings |= {"name": "grainbench", "cpus_per_task": self.threads}
        try:
            executor = submitit.AutoExecutor(
                self.folder, cluster=cluster, slurm_max_num_timeout=self.retries
            )
            executor.update_parameters(**settings, gpus_per_node=self.gpus)
        except (AssertionError, NameError, RuntimeError, ValueError) as error:
            raise UserError(f"--launcher slurm: {_first_line(error)}") from error
        return executor


def _setting(text: str) -> tuple[str, str | int]:
    name, is_set, value = text.partition("=")
    if not is_set or not name:
        raise UserError(f"--slurm {text}: expected name=value, as in --slurm timeout_min=600")
    return name, int(value) if value.isdecimal() else value
