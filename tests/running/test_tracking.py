"""`run --track`: what each tracker holds is what `metrics.jsonl` holds, however the run came about.

The trackers are the real ones, without a network; one whose package is missing is skipped, but for
`tox -e trackers`, which has them all.
"""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from accelerate import PartialState
from accelerate.tracking import GeneralTracker
from typer.testing import CliRunner

from bench.cli import app
from bench.errors import UserError
from bench.models import processes
from bench.pipeline.curve import read_curve
from bench.pipeline.progress import Progress
from bench.pipeline.store import Store
from bench.records.files import read_record
from bench.running import runner, sweeps
from bench.running.quiet import libraries_quiet
from bench.running.tracking import TRACKERS, Kind, Subject, check_trackers, tracked
from bench.training.ppo import PPO
from tests.integration.test_run import SMALL, config
from tests.running.readers import READERS, Logged

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """The first run makes the stages; the others find them."""
    return Store(tmp_path_factory.mktemp("store"))


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    """Trackers make accelerate's state, which tests of several processes would fork with."""
    yield
    PartialState._reset_state()


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where trackers keep what they log, and no network."""
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    for name in [name for name in sys.modules if name.split(".")[0] == "trackio"]:
        monkeypatch.delitem(sys.modules, name)  # it reads the variable when it is imported
    yield tmp_path
    if "wandb" in sys.modules:  # and W&B once a process
        sys.modules["wandb"].teardown()


def run(store: Store, root: Path, names: list[str], said: list[str] | None = None) -> Any:
    progress = Progress()
    if said is not None:
        progress.say = said.append  # type: ignore[method-assign]
    return runner.run(
        config("method=token_ppo"),
        store=store,
        results=root / "results",
        progress=progress,
        track=names,
    )


def kept(record: Any, store: Store) -> Logged:
    """The curves of a run's stages as the store has them."""
    curves = defaultdict(list)
    for stage in record.stages:
        for row in read_curve(store.root / stage.name / stage.key):
            for name in row.keys() - {"step"}:
                curves[f"{stage.name}/{name}"].append((row["step"], row[name]))
    return dict(curves)


def assert_same(logged: Logged, expected: Logged) -> None:
    """Steps in the same order, and values but for the float32 of TensorBoard."""
    assert logged.keys() == expected.keys()
    for name, rows in expected.items():
        assert [step for step, _ in logged[name]] == [step for step, _ in rows], name
        values = [value for _, value in rows]
        assert [value for _, value in logged[name]] == pytest.approx(values, rel=1e-6), name


def needed(name: str) -> None:
    if "BENCH_TRACKERS" not in os.environ:
        pytest.importorskip(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", TRACKERS)
def test_a_tracker_has_every_curve_live_and_of_stored_stages(
    name: str, store: Store, place: Path
) -> None:
    needed(name)
    record = run(store, place, [name])
    logged, expected = READERS[name](place), kept(record, store)
    assert_same(logged, expected)
    assert {metric.split("/")[0] for metric in logged} == {"sft", "reward_model", "ppo"}
    assert expected["sft/loss"][-1][0] == 2
    assert [step for step, _ in expected["ppo/kl"]] == [1, 2, 3, 4]
    assert [step for step, _ in expected["ppo/validation_score"]] == [0, 2, 4]
    run(store, place, [name])  # all is stored, and logged
    assert_same(READERS[name](place), expected)


@pytest.mark.slow
@pytest.mark.parametrize("name", TRACKERS)
def test_a_run_that_goes_on_writes_no_step_twice(
    name: str, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Interrupted in PPO's step 4: the checkpoint is of step 2, and step 3 was logged."""
    needed(name)
    store, step = Store(place / "store", warn=lambda line: None), PPO.step

    def interrupted(self: PPO) -> dict[str, float]:
        if self.done == 3:
            raise KeyboardInterrupt
        return step(self)

    monkeypatch.setattr(PPO, "step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(store, place, [name])
    assert [step for step, _ in READERS[name](place)["ppo/kl"]] == [1, 2, 3]
    monkeypatch.setattr(PPO, "step", step)
    record = run(store, place, [name])
    logged, expected = READERS[name](place), kept(record, store)
    for curves in (logged, expected):
        curves.pop("ppo/seconds")  # step 3 was made twice, and logged once
    assert_same(logged, expected)


@pytest.mark.slow
def test_a_killed_run_goes_on_too(tmp_path: Path) -> None:
    """By SIGKILL, which lets nothing be closed; TensorBoard's files are in step all the same."""
    pytest.importorskip("tensorboard")
    command = [sys.executable, "-c", KILLED, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY, check=False)
    assert done.returncode == -9, done.stderr
    store = Store(tmp_path / "store", warn=lambda line: None)
    record = run(store, tmp_path, ["tensorboard"])
    logged, expected = READERS["tensorboard"](tmp_path), kept(record, store)
    for curves in (logged, expected):
        curves.pop("ppo/seconds")
    assert_same(logged, expected)


KILLED = """
import signal, sys
from pathlib import Path
from bench.pipeline.store import Store
from bench.training.ppo import PPO
from tests.running.test_tracking import run
step = PPO.step
PPO.step = lambda self: signal.raise_signal(signal.SIGKILL) if self.done == 3 else step(self)
run(Store(Path(sys.argv[1]) / "store"), Path(sys.argv[1]), ["tensorboard"])
"""


class Flaky(GeneralTracker):
    """Loses its connection at the third row."""

    name, requires_logging_directory = "flaky", False
    rows: list[tuple[int, dict[str, float]]]
    broken, tracker = True, None

    def log(self, values: dict[str, float], step: int | None = None, **kwargs: Any) -> None:
        if Flaky.broken and len(Flaky.rows) == 2:
            raise ConnectionError("the server is gone\nand a page about it")
        Flaky.rows.append((step or 0, values))


@pytest.mark.slow
def test_a_tracker_that_fails_is_one_line_and_the_run_goes_on(
    store: Store, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(TRACKERS, "flaky", Kind(lambda subject, known: Flaky()))
    monkeypatch.setattr(Flaky, "rows", [], raising=False)
    monkeypatch.setattr(Flaky, "broken", True)
    said: list[str] = []
    record = run(store, place, ["flaky"], said)
    assert record.status == "ok"
    (line,) = [line for line in said if "flaky" in line]
    assert line == (
        "--track flaky failed (ConnectionError: the server is gone); the run goes on without it, "
        "and the same command, run again, logs what is missing"
    )
    assert read_curve(place / "results" / "testbed" / record.run_id)
    monkeypatch.setattr(Flaky, "broken", False)
    run(store, place, ["flaky"])
    curves = kept(record, store)
    steps = [step for name in ("sft/loss", "reward_model/loss") for step, _ in curves[name]]
    assert [step for step, _ in Flaky.rows] == [*steps, 0, 1, 2, 3, 4]


@pytest.mark.slow
def test_a_tracker_that_cannot_start_is_one_line_too(store: Store, place: Path) -> None:
    pytest.importorskip("tensorboard")
    folder = place / "results" / "testbed" / run(store, place, []).run_id
    (folder / "tensorboard").write_text("no folder")
    said: list[str] = []
    assert run(store, place, ["tensorboard"], said).status == "ok"
    assert len([line for line in said if "--track tensorboard failed" in line]) == 1


def subject(folder: Path, key: str = "0123456789") -> Subject:
    return Subject("r", key, folder, ["sft"], {"a": 1})


def follow(folder: Path, key: str) -> None:
    with tracked(["tensorboard"], subject(folder, key), pytest.fail) as listen:
        listen("sft", [{"step": 1, "loss": 2.0}])


def test_curves_of_changed_code_go_to_another_run(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    for key in ("aaaaaaaaaa", "aaaaaaaaaa", "bbbbbbbbbb"):
        follow(tmp_path, key)
    assert len(list(tmp_path.glob("tensorboard/*/events*"))) == 2
    assert {path.name for path in tmp_path.glob("tensorboard/*")} == {"aaaaaaaa", "bbbbbbbb"}


def test_of_several_processes_only_the_first_logs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes._here, "rank", 1)
    follow(tmp_path, "aaaaaaaaaa")
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_the_method_sft_has_its_curve_in_trackers_and_none_in_its_record(
    store: Store, place: Path
) -> None:
    """The SFT model is every method's, so its curve is no row's own."""
    pytest.importorskip("tensorboard")
    runner.run(
        config("method=sft"), store=store, results=place / "results", progress=Progress(),
        track=["tensorboard"],
    )  # fmt: skip
    assert READERS["tensorboard"](place).keys() == {"sft/loss"}
    assert not list(place.glob("results/*/*/metrics.jsonl"))


def test_names_are_checked_and_a_missing_package_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    assert check_trackers(None) == []
    with pytest.raises(UserError, match=r"pip install -c constraints.txt -e '.\[wandb\]'"):
        check_trackers("wandb")
    with pytest.raises(UserError, match="did you mean 'tensorboard'"):
        check_trackers("tensorbord")
    with pytest.raises(UserError, match="unknown tracker ''"):
        check_trackers("")


def test_a_folder_of_that_name_is_no_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """W&B leaves a folder `wandb` where it ran, which Python can import."""
    (tmp_path / "wandb").mkdir()
    monkeypatch.delitem(sys.modules, "wandb", raising=False)
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    importlib.invalidate_caches()
    with pytest.raises(UserError, match="not installed"):
        check_trackers("wandb")


def test_an_unknown_one_is_refused_before_anything_is_run(tmp_path: Path) -> None:
    ask = ["run", "--method", "sft", "--store", str(tmp_path), "--track", "nosuch"]
    said = CliRunner().invoke(app, ask)
    assert said.exit_code == 2
    assert "one of: mlflow, tensorboard, trackio, wandb" in said.stderr
    assert not list(tmp_path.iterdir())


def test_jobs_track_as_well(tmp_path: Path) -> None:
    job = sweeps._job(config("method=sft"), (), SMALL, tmp_path, tmp_path, 1, None, "tensorboard")
    assert "--track=tensorboard" in job.arguments


@pytest.mark.slow
def test_the_command_line_tracks(store: Store, place: Path) -> None:
    pytest.importorskip("tensorboard")
    options = ["--store", str(store.root), "--results", str(place / "results")]
    sizes = [option for override in SMALL for option in ("--set", override)]
    ask = ["run", "--method", "token_ppo", *options, *sizes, "--track", "tensorboard", "--quiet"]
    with libraries_quiet():  # as `python -m bench` has them
        said = CliRunner().invoke(app, ask)
    assert said.exit_code == 0, said.output
    (folder,) = place.glob("results/testbed/*")
    assert_same(READERS["tensorboard"](place), kept(read_record(folder), store))
    assert said.stderr == ""
