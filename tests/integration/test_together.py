"""One run in two processes, from the command line to its record."""

from __future__ import annotations

import signal
import threading
import time
from pathlib import Path

import psutil
import pytest
from typer.testing import CliRunner

from bench.cli import app
from bench.errors import UserError
from bench.pipeline.store import Store
from bench.records.files import Record, read_record
from bench.running import together
from tests.integration.test_run import SMALL, config, run


def by_two(tmp_path: Path, *overrides: str) -> int:
    return together.run_together(
        [
            "run",
            "--method=token_ppo",
            "--threads=1",
            f"--store={tmp_path / 'store'}",
            f"--results={tmp_path / 'results'}",
            *(f"--set={override}" for override in (*SMALL, *overrides)),
        ],
        2,
    )


def written(tmp_path: Path) -> Record:
    (file,) = (tmp_path / "results").rglob("record.json")
    return read_record(file.parent)


@pytest.mark.long
def test_two_processes_make_the_record_that_one_makes(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """One is killed while the policy trains; the run ends, and the next attempt goes on."""
    killed = threading.Thread(target=kill_one, args=(tmp_path / "store" / "partial",))
    killed.start()
    began = time.monotonic()
    with pytest.raises(UserError, match="signal 9 ended process 1 of the run"):
        by_two(tmp_path)
    killed.join()
    assert time.monotonic() - began < 120
    said = capfd.readouterr().err
    assert "Traceback" not in said
    assert written(tmp_path).status in ("failed", "interrupted")

    assert by_two(tmp_path) == 0
    record = written(tmp_path)
    shared = {stage.name for stage in record.stages if stage.ran_on and stage.ran_on.processes == 2}
    assert shared == {stage.name for stage in record.stages} - {"preferences", "edits"}
    # Who prints, prints once.
    assert capfd.readouterr().err.count("token_ppo seed 0: ok") == 1

    held_against_one_process(record, tmp_path)


@pytest.mark.long
@pytest.mark.parametrize("full", ["true", "false"])
def test_two_processes_with_a_part_of_the_base_each_make_it_too(tmp_path: Path, full: str) -> None:
    assert by_two(tmp_path, "model.shard=true", f"sft.full={full}") == 0
    held_against_one_process(written(tmp_path), tmp_path, f"sft.full={full}")


def held_against_one_process(record: Record, tmp_path: Path, *overrides: str) -> None:
    settings = config("method=token_ppo", *overrides)
    alone = run(settings, Store(tmp_path / "alone"), tmp_path / "alone_results")
    assert set(alone.metrics) == set(record.metrics)
    for name in ("win_rate", "gold_score", "rm_accuracy.edited", "kl"):
        found, expected = record.metrics[name].mean, alone.metrics[name].mean
        assert found == pytest.approx(expected, rel=1e-3, abs=1e-5)  # a KL near 0 is all rounding


def kill_one(partial: Path) -> None:
    """Kill the second process once PPO has begun."""
    while not list(partial.glob("ppo-*")):
        time.sleep(0.05)
    workers = [p for p in psutil.Process().children() if "--method=token_ppo" in p.cmdline()]
    max(workers, key=lambda process: process.pid).kill()


@pytest.mark.slow
def test_a_mistake_is_one_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    before = signal.getsignal(signal.SIGINT)
    code = together.run_together(
        ["run", "--method=sft", f"--store={tmp_path}", "--set=model.path=/nowhere"], 2
    )
    assert code == 2
    assert signal.getsignal(signal.SIGINT) is before  # what torch's agent did is undone
    first, said = capfd.readouterr().err.splitlines()
    assert first.startswith("sft seed 0: suite testbed")
    assert said.startswith("error: /nowhere")


def test_more_gpus_than_there_are_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    result = CliRunner().invoke(app, ["run", "--method", "sft", "--gpus", "2"])
    assert result.exit_code == 2
    assert "--gpus 2: this machine has one GPU;" in result.stderr
