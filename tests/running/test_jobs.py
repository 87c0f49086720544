"""Several runs at once, each in a process of its own."""

import os
import signal
import subprocess
import threading
from pathlib import Path

import pytest

from bench.config.loading import load_config
from bench.config.run import RunConfig
from bench.running import launch
from bench.running.jobs import Job, run_jobs, visible_gpus

WORKER = """
import os, sys, time
print("hello", sys.argv[1], flush=True)
if sys.argv[1] == "gpu":
    print(os.environ.get("CUDA_VISIBLE_DEVICES"), flush=True)
    time.sleep(float(sys.argv[2]))
    sys.exit(0)
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


def shown(seconds: list[float], workers: int, gpus: list[str]) -> tuple[list[str], list[str]]:
    """Which GPUs each of the jobs sees, and what is said besides."""
    said: list[str] = []
    jobs = [Job(str(i), ("gpu", str(s))) for i, s in enumerate(seconds)]
    assert not any(run_jobs(jobs, workers, said.append, gpus))
    seen = sorted(line for line in said if line.startswith("[") and "hello" not in line)
    return [line.split()[1] for line in seen], [line for line in said if line[0] != "["]


def test_a_gpu_that_is_free_goes_to_the_next_job() -> None:
    """The first job outlasts the other two, which get the second GPU in turn."""
    gpus, said = shown([3.0, 0.0, 0.0], 2, ["GPU-a", "GPU-b"])
    first, second, third = gpus
    assert {first, second} == {"GPU-a", "GPU-b"}
    assert third == second
    assert not said


def test_more_jobs_than_gpus_share_them_and_a_line_says_so(monkeypatch) -> None:
    gpus, said = shown([0.5] * 3, 3, ["0", "1"])
    assert sorted(gpus) == ["0", "0", "1"]
    assert said == ["3 runs at a time share 2 GPUs; --jobs 2 shares none"]


def test_without_gpus_the_environment_stays_as_it_is(monkeypatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    assert shown([0.0], 1, []) == (["7"], [])
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert shown([0.0], 1, []) == (["None"], [])


@pytest.mark.parametrize(
    ("count", "given", "names"),
    [
        ("3\n", None, ["0", "1", "2"]),
        ("2\n", "5,GPU-b", ["5", "GPU-b"]),
        ("1\n", "5,-1,6", ["5"]),  # CUDA reads up to the first that is none
        ("0\n", "", []),
        (None, None, []),  # torch cannot be loaded: the runs will say so
    ],
)
def test_the_gpus_are_those_that_torch_sees(count, given, names, monkeypatch) -> None:
    def answer(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(command, count is None, count or "", "")

    monkeypatch.setattr(subprocess, "run", answer)
    if given is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", given)
    assert visible_gpus() == names


@pytest.mark.parametrize(("asked", "given"), [(None, 2), (3, 3)])
def test_every_run_gets_as_many_threads(
    asked: int | None, given: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three runs, two at a time, on five cores: two threads each, the third too."""
    found: list[Job] = []

    def run_no_jobs(jobs: list[Job], workers: int, say: object, gpus: list[str]) -> list[int]:
        found.extend(jobs)
        return [0] * len(jobs)

    monkeypatch.setattr(launch, "run_jobs", run_no_jobs)
    monkeypatch.setattr(launch, "cores", lambda: 5)
    configs = [RunConfig(seed=seed) for seed in range(3)]
    assert not launch.run_parallel(configs, [], Path("s"), Path("r"), 2, asked, print)
    threads = [[a for a in job.arguments if a.startswith("--threads")] for job in found]
    assert threads == [[f"--threads={given}"]] * 3


@pytest.mark.parametrize(("device", "given"), [("auto", ["0", "1"]), ("cpu", []), ("cuda:1", [])])
def test_a_device_that_the_user_names_is_left_alone(
    device: str, given: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[list[str]] = []
    monkeypatch.setattr(launch, "visible_gpus", lambda: ["0", "1"])
    monkeypatch.setattr(launch, "run_jobs", lambda *args: found.append(args[3]) or [0])
    configs = [load_config(overrides=[f"model.device={device}"])]
    assert not launch.run_parallel(configs, [], Path("s"), Path("r"), 2, None, print)
    assert found == [given]
