"""Several runs side by side: on this machine, on a Ray cluster, on SLURM."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.config.sweeping import overrides_of, swept
from bench.errors import UserError, unknown
from bench.plugins.entries import SESSION
from bench.plugins.registry import METHODS
from bench.records.provenance import cores
from bench.running.clusters import Ray, Slurm
from bench.running.jobs import Job, Launcher, Local, Say, run_options, visible_gpus
from bench.running.launch import title

if TYPE_CHECKING:
    from bench.config.run import RunConfig

LAUNCHERS = ("local", "ray", "slurm")


@dataclass(frozen=True)
class Options:
    """What the user said about where runs go.

    Attributes:
        launcher: one of `LAUNCHERS`.
        jobs: how many at a time, with `local`.
        threads: CPU threads a run.
        gpus: a run, on a cluster. None: with Ray one where the cluster has any, with SLURM none.
        retries: how often a run goes on that lost its worker (Ray) or its time (SLURM).
        ray_address: of a running cluster; None: one is started here.
        slurm: "name=value" for submitit.
    """

    launcher: str = "local"
    jobs: int = 1
    threads: int | None = None
    gpus: int | None = None
    retries: int = 3
    ray_address: str | None = None
    slurm: Sequence[str] = ()

    def check(self) -> None:
        """Refuse what does not go together.

        Raises:
            UserError: naming the option.
        """
        if self.launcher not in LAUNCHERS:
            raise UserError(f"--launcher: {unknown('launcher', self.launcher, LAUNCHERS)}")
        if self.launcher == "local" and self.gpus is not None:
            raise UserError("--gpus-per-run needs --launcher ray or slurm; here --jobs gives one")
        if self.launcher != "local" and self.jobs > 1:
            raise UserError(
                "--jobs needs --launcher local; a cluster runs as many as it has room for"
            )
        if self.launcher != "slurm" and self.slurm:
            raise UserError("--slurm needs --launcher slurm")

    def side_by_side(self, runs: int) -> bool:
        """Whether so many runs get processes of their own."""
        return self.launcher != "local" or (self.jobs > 1 and runs > 1)


def run_apart(
    configs: Sequence[RunConfig],
    overrides: Sequence[str],
    store: Path,
    results: Path,
    options: Options,
    say: Say,
    until: str | None = None,
    track: str | None = None,
) -> list[str]:
    """Run in processes of their own; returns a line for each that failed.

    Raises:
        UserError: they could not know a method.
    """
    for method in {config.method for config in configs}:
        if METHODS.entry(method).source == SESSION:
            raise UserError(
                f"the method {method} is registered in this process alone (register_method), and "
                "runs in processes of their own do not know it: run one after the other, or "
                "install the method (CONTRIBUTING.md)"
            )
    launcher = _launcher(options, configs, results)
    fields = swept(configs)
    jobs = [
        _job(config, fields, overrides, store, results, launcher.threads, until, track)
        for config in configs
    ]
    why: dict[str, str] = {}

    def listen(line: str) -> None:
        name, found, reason = line.partition("] error: ")
        if found:
            why[name.removeprefix("[")] = reason
        say(line)

    return [
        f"{job.name} failed (exit code {code}): {why.get(job.name, 'it gave no reason')}"
        for job, code in zip(jobs, launcher.run(jobs, listen), strict=True)
        if code
    ]


def _launcher(options: Options, configs: Sequence[RunConfig], results: Path) -> Launcher:
    # The cores of a cluster's machines are not known here, so a run gets one unless told.
    threads = options.threads or 1
    if options.launcher == "ray":
        return Ray(threads, options.gpus, options.retries, options.ray_address)
    if options.launcher == "slurm":
        return Slurm(threads, options.gpus, options.retries, results / "slurm", options.slurm)
    workers = min(options.jobs, len(configs))
    # Where the user names a GPU, as cuda:1, the run has to see it under that number.
    gpus = visible_gpus() if configs[0].model.device in ("auto", "cuda") else []
    return Local(workers, options.threads or max(1, cores() // workers), gpus)


def _job(
    config: RunConfig,
    fields: Sequence[str],
    overrides: Sequence[str],
    store: Path,
    results: Path,
    threads: int,
    until: str | None,
    track: str | None,
) -> Job:
    options = {
        "method": config.method,
        "suite": config.suite,
        "preset": config.preset,
        "seed": config.seed,
        "store": store,
        "results": results,
        "threads": threads,
        "until": until,
        "track": track,
    }
    own = overrides_of(config, overrides, fields)
    return Job(title(config, fields), tuple(run_options(options, own)))
