"""Several runs at once, each in a process of its own."""

import os
import signal
import threading
from pathlib import Path

import pytest

from bench.config.run import RunConfig
from bench.running import launch
from bench.running.jobs import Job, run_jobs

WORKER = """
import sys, time
print("hello", sys.argv[1], flush=True)
try:
    if sys.argv[1] == "sleep":
        time.sleep(60)
except KeyboardInterrupt:
    print("put away", flush=True)
    sys.exit(130)
sys.exit(int(sys.argv[1]))
"""


@pytest.fixture(autouse=True)
def fake_bench(tmp_path: Path, monkeypatch) -> None:
    """`python -m bench` takes the package in the working folder."""
    (tmp_path / "bench").mkdir()
    (tmp_path / "bench" / "__main__.py").write_text(WORKER)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)


def test_jobs_keep_their_order_and_a_failure_leaves_the_others_alone() -> None:
    said: list[str] = []
    jobs = [Job(f"job {code}", (str(code),)) for code in (0, 3, 0)]
    assert run_jobs(jobs, 2, said.append) == [0, 3, 0]
    assert sorted(said) == ["[job 0] hello 0", "[job 0] hello 0", "[job 3] hello 3"]


def test_an_interruption_reaches_the_workers_and_starts_no_other() -> None:
    said: list[str] = []

    def say(line: str) -> None:
        said.append(line)
        if line.endswith("hello sleep"):
            threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()

    with pytest.raises(KeyboardInterrupt):
        run_jobs([Job("a", ("sleep",)), Job("b", ("0",))], 1, say)
    assert said == ["[a] hello sleep", "[a] put away"]


@pytest.mark.parametrize(("asked", "given"), [(None, 2), (3, 3)])
def test_every_run_gets_as_many_threads(
    asked: int | None, given: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three runs, two at a time, on five cores: two threads each, the third too."""
    found: list[Job] = []

    def run_no_jobs(jobs: list[Job], workers: int, say: object) -> list[int]:
        found.extend(jobs)
        return [0] * len(jobs)

    monkeypatch.setattr(launch, "run_jobs", run_no_jobs)
    monkeypatch.setattr(launch, "cores", lambda: 5)
    configs = [RunConfig(seed=seed) for seed in range(3)]
    assert not launch.run_parallel(configs, [], Path("s"), Path("r"), 2, asked, print)
    threads = [[a for a in job.arguments if a.startswith("--threads")] for job in found]
    assert threads == [[f"--threads={given}"]] * 3
