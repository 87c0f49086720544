"""Runs on other machines, which are this one here: a local Ray, and submitit without SLURM."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from bench.config.loading import load_config
from bench.errors import UserError
from bench.records.files import read_record
from bench.running import clusters, sweeps
from bench.running.clusters import Ray, Slurm
from bench.running.jobs import Job
from tests.integration.test_run import SMALL

WORKER = """
import os, pathlib, signal, sys, time
what, folder = sys.argv[3], pathlib.Path(sys.argv[4])
first = not (folder / what).exists()
(folder / what).touch()
signal.signal(signal.SIGTERM, signal.default_int_handler)
print("hello", flush=True)
if what == "worker" and first:
    os.kill(os.getppid(), signal.SIGKILL)
    sys.stdin.read()  # the end of whoever started this
    (folder / "orphan").touch()
    sys.exit(1)
if what == "run" and first or what == "always":
    os.kill(os.getpid(), signal.SIGKILL)
try:
    if what == "sleep":
        time.sleep(60)
except KeyboardInterrupt:
    print("put away", flush=True)
    sys.exit(130)
sys.exit(3 if what == "error" else 0)
"""


@pytest.fixture
def fake_bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`python -m bench` takes the package in the folder where a job starts."""
    (tmp_path / "bench").mkdir()
    (tmp_path / "bench" / "__main__.py").write_text(WORKER)
    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)


def jobs(folder: Path, *what: str) -> list[Job]:
    return [Job(name, (name, str(folder)), folder) for name in what]


@pytest.mark.parametrize(
    ("launcher", "package"),
    [(Ray(1), "ray"), (Slurm(1, None, 3, Path("slurm")), "submitit")],
)
def test_an_extra_that_is_missing_is_named(
    launcher: Ray | Slurm, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError, match=rf"needs the package {package}: pip install .*'\.\["):
        launcher.run([], print)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"launcher": "rey"}, "--launcher: unknown launcher 'rey'; did you mean 'ray'?"),
        ({"gpus": 1}, "--gpus-per-run needs --launcher ray or slurm"),
        ({"launcher": "ray", "jobs": 2}, "--jobs needs --launcher local"),
        ({"launcher": "ray", "slurm": ["a=b"]}, "--slurm needs --launcher slurm"),
    ],
)
def test_options_that_do_not_go_together_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError) as error:
        sweeps.Options(**options).check()
    assert str(error.value).startswith(said)


def submitted(folder: Path, *options: str) -> Slurm:
    pytest.importorskip("submitit")
    return Slurm(1, None, 3, folder / "logs", ("cluster=local", *options))


@pytest.mark.usefixtures("fake_bench")
def test_jobs_of_submitit_give_their_exit_codes(tmp_path: Path) -> None:
    """Those that a signal ended too; SLURM itself is not here."""
    said: list[str] = []
    launcher = submitted(tmp_path, "timeout_min=2", "partition=gpu")
    assert launcher.run(jobs(tmp_path, "ok", "error", "always"), said.append) == [0, 3, -9]
    assert "[error] ended with exit code 3" in said
    log = Path(said[0].partition("log ")[2])
    assert log.is_relative_to(tmp_path / "logs")
    assert "[ok] hello" in log.read_text()


@pytest.mark.usefixtures("fake_bench")
def test_an_interruption_cancels_the_jobs_of_submitit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    launcher = submitted(tmp_path)
    until = time.monotonic() + 60

    def log() -> str:
        path = Path(said[0].partition("log ")[2])
        return path.read_text() if path.exists() else ""

    def interrupt_when_it_runs(_: float) -> None:
        real(0.2)
        if "hello" in log() or time.monotonic() > until:
            raise KeyboardInterrupt

    real = time.sleep
    monkeypatch.setattr(clusters.time, "sleep", interrupt_when_it_runs)
    with pytest.raises(KeyboardInterrupt):
        launcher.run(jobs(tmp_path, "sleep"), said.append)
    while "put away" not in log() and time.monotonic() < until:
        real(0.2)
    assert "[sleep] put away" in log()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["partition"], "--slurm partition: expected name=value"),
        (["partitoin=x", "cluster=local"], "Unknown argument 'partitoin' for executor 'slurm'"),
        (["cluster=nowhere"], "no executor named|any executor named nowhere"),
        ([], "are you indeed on a slurm cluster"),
    ],
)
def test_what_submitit_cannot_do_is_one_line(
    options: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("submitit")
    monkeypatch.setenv("PATH", str(tmp_path))  # no srun
    with pytest.raises(UserError, match=said) as error:
        Slurm(1, None, 3, tmp_path, options).run([Job("a", ())], print)
    assert "\n" not in str(error.value)


@pytest.fixture
def two_cpus(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A Ray of its own on two CPUs, however many there are."""
    ray = pytest.importorskip("ray", reason="needs the extra `ray`, which tox -e regress installs")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    init = ray.init
    monkeypatch.setattr(ray, "init", lambda **given: init(num_cpus=2, **given))
    yield
    assert not ray.is_initialized()


@pytest.mark.long
@pytest.mark.usefixtures("fake_bench", "two_cpus")
def test_ray_starts_what_was_killed_once_more_and_nothing_else(tmp_path: Path) -> None:
    """One loses its worker, one is killed itself, one is killed each time, one has an error."""
    said: list[str] = []
    names = ["ok", "worker", "run", "always", "error"]
    launcher = Ray(1, retries=1)
    assert launcher.run(jobs(tmp_path, *names), said.append) == [0, 0, 0, 1, 3]
    assert said.count("[error] hello") == said.count("[ok] hello") == 1
    assert said.count("[run] hello") == said.count("[always] hello") == 2
    assert "[worker] its worker was lost; started once more" in said
    assert any(line.startswith("[always] given up: ") for line in said)
    assert (tmp_path / "orphan").exists()  # it saw the end of its worker


@pytest.mark.long
@pytest.mark.usefixtures("fake_bench", "two_cpus")
def test_an_interruption_reaches_the_runs_on_ray(tmp_path: Path) -> None:
    said: list[str] = []

    def say(line: str) -> None:
        said.append(line)
        if line.endswith("hello"):
            threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()

    with pytest.raises(KeyboardInterrupt):
        Ray(2).run(jobs(tmp_path, "sleep", "ok"), say)
    assert said == ["[sleep] hello", "[sleep] put away"]


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.usefixtures("two_cpus")
def test_eight_runs_on_ray_leave_their_records_though_a_worker_is_killed(tmp_path: Path) -> None:
    said: list[str] = []
    killed: list[psutil.Process] = []

    def say(line: str) -> None:
        said.append(line)
        if line.startswith("[sft seed 3] generate: started"):
            every = psutil.Process().children(recursive=True)
            run = next(one for one in every if "--seed=3" in one.cmdline())
            if not killed:
                killed.append(run)
                run.parent().kill()

    configs = [load_config("testbed", SMALL, method="sft", seed=seed) for seed in range(8)]
    options = sweeps.Options(launcher="ray", threads=1)
    store, results = tmp_path / "store", tmp_path / "results"
    assert not sweeps.run_apart(configs, SMALL, store, results, options, say)
    records = [read_record(path.parent) for path in results.rglob("record.json")]
    assert sorted((record.seed, record.status) for record in records) == [
        (seed, "ok") for seed in range(8)
    ]
    assert said.count("[sft seed 3] its worker was lost; started once more") == 1
    assert not killed[0].is_running()
