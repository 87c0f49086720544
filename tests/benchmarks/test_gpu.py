"""The GPU's benchmark: its counts by hand, its way with failures, and one run at the tiny shape."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import typer
from typer.testing import CliRunner

from bench.config.loading import load_config
from bench.doctor.hours import demonstrations
from benchmarks.gpu import __main__ as start
from benchmarks.gpu import command, wheels
from benchmarks.gpu.hours import ppo_hours, seconds_each
from benchmarks.gpu.machine import Taken
from benchmarks.gpu.sections import Row, Section, answer, held
from benchmarks.gpu.setting import Step
from benchmarks.work import Work

REPO = Path(__file__).resolve().parents[2]


def test_hours_are_the_measured_step_s_times_the_run_s_rollouts() -> None:
    """80 steps of 512 rollouts from a step of 64 that took 3 s: 640 x 3 s."""
    config = load_config("paper")
    assert (config.ppo.steps, config.ppo.batch_size) == (80, 512)
    step = Step({"rollout": Taken(1.0, None), "update": Taken(2.0, None)})
    assert ppo_hours(config, step, 64) == pytest.approx(80 * 8 * 3 / 3600)
    assert demonstrations(config) == config.sft.epochs * config.sft.demonstrations


def test_a_rate_leaves_the_first_step_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends at 9 s, the three behind it at 10, 11 and 15 s: 6 s for 3 steps of 4 rows."""
    clock = iter([9.0, 10.0, 11.0, 15.0])
    monkeypatch.setattr("benchmarks.gpu.hours.time.perf_counter", lambda: next(clock))
    assert seconds_each(4, lambda mark: [mark({}) for _ in range(4)]) == 0.5


class Bare:
    """A setting of which nothing is asked."""

    dtype = torch.float32
    work = Work()
    shape = SimpleNamespace(patience=0.5)

    def __init__(self) -> None:
        self.cleared = 0

    def clear(self) -> None:
        self.cleared += 1


def fine(_: Any) -> Iterator[Row]:
    yield held("a", "1", "≥ 0", ok=True, n=1)


def broken(_: Any) -> Iterator[Row]:
    yield held("b", "1", "≥ 2", ok=False)
    raise ValueError("two\nlines")


def full(_: Any) -> Iterator[Row]:
    raise torch.OutOfMemoryError("tried to allocate 9 GiB")
    yield


def slow(_: Any) -> Iterator[Row]:
    with suppress(Exception):  # as a check that records its own crash
        time.sleep(5)
    yield held("c", "", "", ok=True)


def test_what_fails_is_recorded_and_the_others_still_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[list[str]] = []
    kept = command.write

    def write(result: dict[str, Any], text: str, path: Path) -> None:
        kept(result, text, path)
        sections = json.loads(path.read_text())["sections"]
        written.append([name for name, s in sections.items() if s["seconds"] or not pending(s)])

    def pending(section: dict[str, Any]) -> bool:
        return section["rows"][0]["why"] == "the command ended before"

    monkeypatch.setattr(command, "write", write)
    setting: Any = Bare()
    asked = {"broken": broken, "full": full, "slow": slow, "fine": fine}
    sections = [Section(name, name, 0.4 if name == "slow" else 9, f) for name, f in asked.items()]
    result = command.measure(setting, "tiny", tmp_path / "gpu.json", sections)["sections"]
    assert written == [list(asked)[:n] for n in range(5)]
    assert setting.cleared == 4
    assert [row["status"] for row in result["broken"]["rows"]] == ["not met", "not measured"]
    assert result["broken"]["rows"][1]["why"] == "ValueError: two lines"
    assert result["full"]["error"].startswith("out of memory at a peak of 0.0 GiB: ")
    assert (result["slow"]["error"], len(result["slow"]["rows"])) == ("its 0.2 s were over", 1)
    assert result["fine"]["error"] is None
    text = (tmp_path / "gpu.md").read_text()
    assert "| fine | a | 1 | ≥ 0 | met |" in text
    assert "| not measured: ValueError: two lines |" in text


def test_a_section_gets_no_more_than_the_command_has_left() -> None:
    setting: Any = Bare()
    assert answer(Section("fine", "fine", 9, fine), setting, 0.0)["error"] == "its 0 s were over"


@pytest.mark.parametrize(
    ("shape", "message"), [("13b", "unknown --shape '13b' (one of: 7b, tiny)"), ("7b", "needs a")]
)
def test_a_shape_that_cannot_be_measured_is_one_line(
    shape: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    app = typer.Typer()
    app.command()(command.command)
    answered = CliRunner().invoke(app, ["--shape", shape])
    assert answered.exit_code == 2
    assert message in answered.output
    assert len(answered.output.splitlines()) == 1


def test_what_is_missing_is_named_before_it_is_imported(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(wheels, "find_spec", lambda name: None if name == "peft" else object())
    with pytest.raises(SystemExit) as stopped:
        start.main()
    assert stopped.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "lacks peft: " in line
    assert "python -m benchmarks.gpu.wheels" in line
    assert "pip install -q --no-index" in line


def test_wheels_are_for_the_other_machine_and_of_the_tested_versions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "old-1-py3-none-any.whl").write_bytes(b"old")
    ran: list[list[str]] = []

    def run(line: list[str], **_: Any) -> None:
        ran.append(line)
        (tmp_path / "new-1-py3-none-any.whl").write_bytes(bytes(2**20))

    monkeypatch.setattr(wheels, "subprocess", SimpleNamespace(run=run))
    assert wheels.download(tmp_path) == 1.0
    line = " ".join(ran[0])
    assert "--no-deps" in line
    assert "--python-version 3.12 " in line
    assert f"--constraint {REPO / 'constraints.txt'}" in line
    assert line.endswith(" ".join(wheels.PACKAGES))


def _name(text: str) -> str:
    """A distribution's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", re.match(r"[\w.-]+", text)[0]).lower()  # type: ignore[index]


def _needed(names: list[str]) -> set[str]:
    """The distributions and what they require, extras left out."""
    found: set[str] = set()
    todo = [_name(name) for name in names]
    while todo:
        name = todo.pop()
        try:
            required = metadata.distribution(name).requires or []
        except metadata.PackageNotFoundError:  # of another system or Python
            continue
        found.add(name)
        wanted = {_name(line) for line in required if "extra ==" not in line}
        todo += sorted(wanted - found)
    return found


def _site(folder: Path) -> None:
    """What torch and transformers bring, and the carried wheels: nothing else can be imported."""
    for name in _needed(["torch", "transformers"]) | {_name(x) for x in wheels.PACKAGES}:
        distribution = metadata.distribution(name)
        for top in {Path(file).parts[0] for file in distribution.files or []} - {"..", "bin"}:
            place = Path(str(distribution.locate_file(top)))
            if place.exists() and not (folder / top).exists():
                (folder / top).symlink_to(place)


@pytest.mark.slow  # a minute of one core
def test_the_tiny_shape_runs_on_what_is_carried_and_answers_every_question(tmp_path: Path) -> None:
    site = tmp_path / "site"
    site.mkdir()
    _site(site)
    out = tmp_path / "gpu.json"
    line = [sys.executable, "-S", "-m", "benchmarks.gpu", "--shape", "tiny", "--out", str(out)]
    environment = {"PYTHONPATH": str(site), "OMP_NUM_THREADS": "1", "HOME": str(tmp_path)}
    done = subprocess.run(
        line,
        cwd=REPO,
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    sections = json.loads(out.read_text())["sections"]
    assert list(sections) == [section.name for section in command.SECTIONS]
    errors = {name: section["error"] for name, section in sections.items()}
    assert set(errors.values()) == {None}, errors
    rows = [row for section in sections.values() for row in section["rows"]]
    assert all(row["what"] and {"measured", "goal", "status"} <= row.keys() for row in rows)
    assert all(row["measured"] or row["why"] for row in rows)
    # What the size of the model does not decide holds at this one, too.
    right = sections["agreement"]["rows"]
    assert {row["status"] for row in right} == {"met"}, right
    assert len(right) == 7
    unmeasured = [row["what"] for row in rows if row["status"] == "not measured"]
    assert len(unmeasured) == 3, unmeasured  # peaks of a GPU
    assert "| PPO (the paper: 2 h on 8 A100) |" in out.with_suffix(".md").read_text()
