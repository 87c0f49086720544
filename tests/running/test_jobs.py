"""Several runs at once, each in a process of its own."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from bench.config.loading import load_config
from bench.running import sweeps
from bench.running.jobs import Job, Local, run_job, visible_gpus

WORKER = """
import os, signal, sys, time
assert sys.argv[1:3] == ["run", "--as-job"]
del sys.argv[1:3]
signal.signal(signal.SIGTERM, signal.default_int_handler)
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
    assert Local(2, 1).run(jobs, said.append) == [0, 3, 0]
    assert sorted(said) == ["[job 0] hello 0", "[job 0] hello 0", "[job 3] hello 3"]


def interrupting() -> tuple[list[str], Callable[[str], None]]:
    """What is said, and who hears it: a Ctrl-C follows once a job sleeps."""
    said: list[str] = []

    def say(line: str) -> None:
        said.append(line)
        if line.endswith("hello sleep"):
            threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()

    return said, say


def test_an_interruption_reaches_the_workers_and_starts_no_other() -> None:
    said, say = interrupting()
    with pytest.raises(KeyboardInterrupt):
        Local(1, 1).run([Job("a", ("sleep",)), Job("b", ("0",))], say)
    assert said == ["[a] hello sleep", "[a] put away"]


def shown(seconds: list[float], workers: int, gpus: list[str]) -> tuple[list[str], list[str]]:
    """Which GPUs each of the jobs sees, and what is said besides."""
    said: list[str] = []
    jobs = [Job(str(i), ("gpu", str(s))) for i, s in enumerate(seconds)]
    assert not any(Local(workers, 1, gpus).run(jobs, said.append))
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


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Keeps the jobs, and what they were to be run by."""
    kept = SimpleNamespace()

    def run(local: Local, jobs: list[Job], say: object) -> list[int]:
        kept.local, kept.jobs = local, jobs
        return [0] * len(jobs)

    monkeypatch.setattr(sweeps, "cores", lambda: 5)
    monkeypatch.setattr(sweeps, "visible_gpus", lambda: ["0", "1"])
    monkeypatch.setattr(Local, "run", run)
    return kept


def sweep(device: str = "auto", threads: int | None = None) -> list[str]:
    """Three runs, two at a time."""
    configs = [
        load_config(overrides=[f"model.device={device}"], method="sft", seed=n) for n in range(3)
    ]
    options = sweeps.Options(jobs=2, threads=threads)
    return sweeps.run_apart(configs, [], Path("s"), Path("r"), options, print)


@pytest.mark.parametrize(("asked", "given"), [(None, 2), (3, 3)])
def test_every_run_gets_as_many_threads(
    asked: int | None, given: int, nowhere: SimpleNamespace
) -> None:
    """On five cores: two threads each, the third too."""
    assert not sweep(threads=asked)
    assert nowhere.local.workers == 2
    threads = [[a for a in job.arguments if a.startswith("--threads")] for job in nowhere.jobs]
    assert threads == [[f"--threads={given}"]] * 3


@pytest.mark.parametrize(("device", "given"), [("auto", ["0", "1"]), ("cpu", []), ("cuda:1", [])])
def test_a_device_that_the_user_names_is_left_alone(
    device: str, given: list[str], nowhere: SimpleNamespace
) -> None:
    assert not sweep(device)
    assert nowhere.local.gpus == given


LEASHED = """
import sys, time
from bench.cli import runs
from bench.running import sweeps
def check(options): print("inside", flush=True); time.sleep(60)
sweeps.Options.check = check
sys.argv[1:] = ["run", "--method", "sft", "--as-job"]
from bench.cli import main
main()
"""


def test_a_run_ends_with_the_process_that_started_it(monkeypatch) -> None:
    """Which may have been killed: the pipe closes all the same."""
    monkeypatch.chdir(Path(__file__).parents[2])
    process = subprocess.Popen(
        [sys.executable, "-c", LEASHED],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "inside\n"
    assert process.communicate(timeout=30)[1].startswith("interrupted: what is finished is kept")
    assert process.returncode == 143


def test_one_job_is_followed_to_its_end() -> None:
    said: list[str] = []
    assert run_job(Job("a", ("3",)), said.append) == 3
    assert said == ["[a] hello 3"]


def test_an_interruption_reaches_the_one_job() -> None:
    said, say = interrupting()
    with pytest.raises(KeyboardInterrupt):
        run_job(Job("a", ("sleep",)), say)
    assert said == ["[a] hello sleep", "[a] put away"]
