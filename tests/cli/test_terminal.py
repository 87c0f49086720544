"""What a shell sees of the command line: mistakes as one line, exit codes, signals, odd outputs."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

REPO = Path(__file__).parents[2]
# A run that waits inside its first stage, as the runner has it, until a signal comes.
WAITS = """
import sys, time
from bench.running import runner

def wait(*_, **__):
    print("inside", flush=True)
    time.sleep(60)

runner.run = wait
sys.argv[1:] = ["run", "--method", "sft"]
from bench.cli import main
main()
"""


# The same, while the interpreter puts itself away behind a command that has answered.
ENDS = """
import atexit, os, sys, time

def end():
    print("inside", file=sys.__stdout__, flush=True)
    time.sleep(60)

atexit.register(end)
sys.argv[1:] = ["list"]
from bench.cli import main
sys.stdout = open(os.devnull, "w")
main()
"""


def bench(
    *arguments: str, stdout: Any = subprocess.PIPE, **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bench", *arguments],
        cwd=REPO,
        env=os.environ | environment,
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "--methd", "x"], "No such option: --methd"),
        (["run"], "Missing option '--method'"),
        (["run", "--method", "sft", "--seed", "x"], "Invalid value for '--seed'"),
        (["run", "--method", "sft", "--jobs", "0"], "Invalid value for '--jobs'"),
        (["nosuch"], "No such command 'nosuch'"),
        (["compare", "--results"], "Option '--results' requires an argument"),
        (["run", "--method", "sft", "--results", ""], "the argument behind --results is empty"),
        (["run", "--method", "sft", "--store="], "--store is empty"),
        (["run", "--method", "sft", "--threads", "99999"], "--threads 99999: this machine has"),
        (["", "run"], "the argument behind the first is empty"),
        (["config", "ppo", "--method", "nosuch"], "unknown method 'nosuch'"),
    ],
)
def test_a_mistake_in_the_command_is_one_line(arguments: list[str], said: str) -> None:
    done = bench(*arguments)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {said}")
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


def test_a_dry_run_finds_that_results_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    place = str(tmp_path / "file" / "results")
    done = bench("run", "--method", "sft", "--dry-run", "--results", place)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: cannot write to the results folder {place}: Not a")


def test_the_version_names_the_commit() -> None:
    done = bench("--version")
    assert done.returncode == 0
    said = r"grainbench \d+\.\d+\.\d+( \(commit [0-9a-f]{10}(, changed)?\))?\n"
    assert re.fullmatch(said, done.stdout)


def test_without_a_verb_the_help_is_shown() -> None:
    done = bench()
    assert (done.returncode, done.stderr) == (2, "")
    assert "leaderboard" in done.stdout


def test_a_terminal_of_few_letters_gets_what_it_can_show() -> None:
    done = bench("config", "sft", PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (0, "")
    assert "sft.lr" in done.stdout


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
@pytest.mark.parametrize("verb", ["config", "list"])
def test_a_full_disk_behind_standard_output_is_one_line(verb: str) -> None:
    with Path("/dev/full").open("w") as full:
        done = bench(verb, stdout=full)
    assert done.returncode == 1
    assert done.stderr == "error: cannot write to standard output: No space left on device\n"


def test_a_reader_that_has_gone_ends_a_verb_as_shells_expect() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = bench("config", stdout=writing)
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, "")


def signalled(
    *numbers: int, ignored: int | None = None, program: str = WAITS
) -> tuple[int, list[str]]:
    """Exit code and words of a command that gets these signals while it works, or ends."""
    # What starts the tests may ignore some itself.
    before = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGHUP)}
    for number in before:
        signal.signal(number, signal.SIG_IGN if number == ignored else signal.SIG_DFL)
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=REPO,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    for number, handler in before.items():
        signal.signal(number, handler)
    assert process.stdout is not None
    assert process.stdout.readline() == "inside\n"
    for number in numbers:
        process.send_signal(number)
    said = process.communicate(timeout=30)[1]
    return process.returncode, said.splitlines()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_puts_the_run_away(number: int, monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setenv("BENCH_STORE", str(tmp_path))
    monkeypatch.setenv("BENCH_RESULTS", str(tmp_path / "results"))
    code, said = signalled(number)
    assert code == 128 + number
    assert said[-1].startswith("interrupted: what is finished is kept")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_behind_the_answer_prints_no_traceback(number: int) -> None:
    """As torch's agent sends it to a process that is ending already."""
    assert signalled(number, program=ENDS) == (-number, [])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_a_signal_that_is_ignored_stays_so(number: int, monkeypatch, tmp_path: Path) -> None:
    """As `nohup` and a script's `&` have it; SIGTERM ends the run all the same."""
    monkeypatch.setenv("BENCH_STORE", str(tmp_path))
    monkeypatch.setenv("BENCH_RESULTS", str(tmp_path / "results"))
    code, _ = signalled(number, signal.SIGTERM, ignored=number)
    assert code == 128 + signal.SIGTERM
