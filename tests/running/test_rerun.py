"""Real runs of a tiny configuration, and their repetition."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.config.loading import config_sha, load_config
from bench.config.run import RunConfig
from bench.errors import UserError
from bench.pipeline.progress import Progress
from bench.pipeline.store import Store
from bench.records.files import RecordError, Run, read_record
from bench.running import runner
from bench.running.rerun import recorded_config, repeat, run_command
from leaderboard.regression.rerun import Equality, compare_runs
from tests.integration.test_run import config


@pytest.mark.parametrize("preset", ["smollm2", "gone/mine.yaml"])
def test_the_command_of_a_run_makes_its_configuration(preset: str) -> None:
    """With options of plug-ins, a text that needs quotes, and the values of a file that is gone."""
    asked = ["ppo.lr=3e-4", "reward.loss=eq4", "suite.config='a b.yaml'", "sft.path='null'"]
    settings = load_config("smollm2", asked, method="token_ppo", suite="jsonl", seed=3)
    settings = settings.model_copy(update={"preset": preset})
    words = shlex.split(run_command(settings, store=Path("my store"), results=Path("r")))
    assert words[:4] == ["python", "-m", "bench", "run"]
    pairs = [word.removeprefix("--").partition("=")[::2] for word in words[4:]]
    named = {name: value for name, value in pairs if name != "set"}
    assert (named.pop("store"), named.pop("results")) == ("my store", "r")
    direct = {name: named.pop(name) for name in ("suite", "method")}
    seed = int(named.pop("seed"))
    overrides = [value for name, value in pairs if name == "set"]
    again = load_config(overrides=overrides, seed=seed, **direct, **named)
    assert config_sha(again) == config_sha(settings)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def recorded(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Run:
    results = tmp_path_factory.mktemp("results")
    settings = config("method=token_ppo", "ppo.steps=2")
    record = runner.run(settings, store=store, results=results, progress=Progress())
    return Run(record, results / "testbed" / record.run_id)


def changed(run: Run, **config: Any) -> Run:
    return run._replace(record=run.record.model_copy(update={"config": config}))


def test_from_nothing_it_is_equal_to_the_bit(recorded: Run, tmp_path: Path) -> None:
    fresh = Store(tmp_path / "store")
    new = repeat(recorded, store=fresh, results=tmp_path / "out", progress=Progress())
    assert not any(stage.cached for stage in new.run.record.stages)
    assert new.notes == []
    report = compare_runs(recorded, new.run)
    assert report.equality is Equality.BITWISE
    assert {one.what for one in report.compared} == {"metric", "items", "curve"}
    assert read_record(new.run.folder) == new.run.record


def test_stored_stages_are_named(recorded: Run, store: Store, tmp_path: Path) -> None:
    new = repeat(recorded, store=store, results=tmp_path, progress=Progress())
    assert "9 of 9 stages were in the store and not run again (sft, samples," in new.notes[0]


def test_another_seed_is_different(recorded: Run, store: Store, tmp_path: Path) -> None:
    other = changed(recorded, **(recorded.record.config | {"seed": 1}))
    new = repeat(other, store=store, results=tmp_path, progress=Progress())
    report = compare_runs(recorded, new.run)
    assert report.exit_code == 3
    assert "config.seed" in [change.name for change in report.changed]


def test_it_never_overwrites_what_it_repeats(recorded: Run, store: Store) -> None:
    results = recorded.folder.parents[1]
    with pytest.raises(UserError, match="would overwrite the record that it repeats"):
        repeat(recorded, store=store, results=results, progress=Progress())


def test_a_run_without_a_result_is_not_repeated(
    recorded: Run, store: Store, tmp_path: Path
) -> None:
    record = recorded.record.model_copy(update={"status": "interrupted"})
    with pytest.raises(UserError, match="its status is interrupted, there is nothing to compare"):
        repeat(recorded._replace(record=record), store=store, results=tmp_path, progress=Progress())


@pytest.mark.parametrize("name", ["items.jsonl", "metrics.jsonl"])
def test_what_it_is_compared_with_is_read_before_the_run(
    recorded: Run, store: Store, tmp_path: Path, name: str
) -> None:
    folder = shutil.copytree(recorded.folder, tmp_path / "old")
    (folder / name).write_text("{")
    damaged = recorded._replace(folder=folder)
    with pytest.raises(RecordError, match=rf"{name}, line 1: not JSON"):
        repeat(damaged, store=store, results=tmp_path / "out", progress=Progress())
    assert not (tmp_path / "out").exists()


def test_what_the_record_lacks_is_named_with_its_value(recorded: Run) -> None:
    settings = recorded.record.config
    less = settings | {"ppo": {k: v for k, v in settings["ppo"].items() if k != "gamma"}}
    found, notes = recorded_config(changed(recorded, **less).record)
    assert found == RunConfig.model_validate(settings)
    assert notes == ["not in the record, taken as today's defaults: ppo.gamma=1.0"]


def test_a_configuration_that_grew_by_migration_is_noted(recorded: Run) -> None:
    assert recorded_config(recorded.record)[1] == []
    older = recorded.record.model_copy(update={"config_sha": "0" * 64})
    assert recorded_config(older)[1] == [
        "the record's schema is older: what it lacks has the value of its day"
    ]


@pytest.mark.parametrize(
    ("section", "named"),
    [
        ({"lr": 1e-4, "old_field": 1}, "no key of ppo is named 'old_field'"),
        ({"lr": -1.0}, "ppo.lr"),
    ],
)
def test_what_is_none_of_todays_is_named_with_the_commit(
    recorded: Run, section: dict[str, Any], named: str
) -> None:
    old = changed(recorded, ppo=section)
    with pytest.raises(UserError, match=rf"{named}.*check out the code that ran it \(commit "):
        recorded_config(old.record)


def test_a_published_record_can_be_run_again() -> None:
    path = Path(__file__).parents[1] / "data" / "record-schema-1.json"
    record = read_record(path)
    found, notes = recorded_config(record)
    assert (found.seed, found.reward) == (4, {"paid_at": "end"})
    assert config_sha(found) != record.config_sha
    assert len(notes) == 1


def test_a_run_of_a_cpu_stays_there(recorded: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    found, notes = recorded_config(recorded.record)
    assert found.model.device == "cpu"
    assert notes == ["model.device is cpu, as it was then: auto would take the GPU"]
    hardware = recorded.record.hardware.model_copy(update={"gpu": "a GPU"})
    of_a_gpu = recorded.record.model_copy(update={"hardware": hardware})
    assert recorded_config(of_a_gpu)[0].model.device == "auto"
