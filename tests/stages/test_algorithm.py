"""A second algorithm goes through the policy stage, the run and its record as PPO does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench.config.run import RunConfig
from bench.errors import UserError
from bench.pipeline.progress import Progress
from bench.pipeline.store import Store
from bench.plugins.entries import Entry
from bench.plugins.registry import ALGORITHMS, METHODS
from bench.records.files import read_curves
from bench.running import runner
from bench.running.plan import make_plan
from tests.integration.test_run import config
from tests.stages.reinforce import Learns, Reinforce

HERE = "tests.stages.reinforce"


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    for registry, entry in (
        (METHODS, Entry("learns", f"{HERE}:Learns", "")),
        (ALGORITHMS, Entry("reinforce", f"{HERE}:Reinforce", "")),
    ):
        monkeypatch.setattr(registry, "_builtins", (*registry._builtins, entry))
    monkeypatch.setattr(Reinforce, "made", [])


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(tmp_path_factory.mktemp("store"))


def settings(*overrides: str) -> RunConfig:
    return config("method=learns", *overrides)


def run(settings: RunConfig, store: Store, results: Path) -> Any:
    return runner.run(settings, store=store, results=results, progress=Progress())


def test_a_second_algorithm_runs_to_its_record(store: Store, tmp_path: Path) -> None:
    record = run(settings("reward.training.steps=2"), store, tmp_path)
    assert record.status == "ok"
    assert {"win_rate", "kl"} <= set(record.metrics)
    (stage,) = [stage for stage in record.stages if stage.name == "reinforce"]
    assert stage.steps == 2
    assert stage.tokens is not None
    assert stage.tokens > 0
    rows = read_curves(tmp_path / "testbed" / record.run_id)
    assert [row.step for row in rows] == [0, 1, 2]
    assert [row.step for row in rows if "validation_score" in row.values] == [0, 2]
    (inputs,) = Reinforce.made
    assert len(inputs.prompts) == 8
    assert (inputs.reward_model, inputs.demonstrations) == (None, ())


def test_an_interrupted_one_goes_on_from_its_checkpoint(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run(settings(), Store(tmp_path / "whole"), tmp_path / "a")

    begun: list[int] = []

    def counted(trainer: Reinforce) -> float:
        begun.append(trainer.done)
        if begun == [0, 1, 2, 3]:
            raise KeyboardInterrupt
        return step(trainer)

    step = Reinforce.step
    monkeypatch.setattr(Reinforce, "step", counted)
    with pytest.raises(KeyboardInterrupt):
        run(settings(), store, tmp_path / "b")
    again = run(settings(), store, tmp_path / "b")
    assert begun == [0, 1, 2, 3, 2, 3]  # the last checkpoint is that of step 2
    assert again.metrics == whole.metrics
    curves = [read_curves(tmp_path / one / "testbed" / whole.run_id) for one in ("a", "b")]
    found = [[row.values | {"seconds": None} for row in rows] for rows in curves]
    assert found[0] == found[1]
    assert [row.step for row in curves[1]] == [0, 1, 2, 3, 4]


def test_the_demonstrations_are_given_to_an_algorithm_that_asks(
    store: Store, tmp_path: Path
) -> None:
    run(settings("reward.training.steps=0", "reward.training.demonstrations=true"), store, tmp_path)
    (inputs,) = Reinforce.made
    assert len(inputs.demonstrations) > 0


def test_its_options_and_its_code_are_in_the_stages_key() -> None:
    def stage(*overrides: str) -> Any:
        return make_plan(settings(*overrides))[0].policy

    one = stage()
    assert one.name == "reinforce"
    assert one.config["reinforce"]["lr"] == 1e-2
    assert HERE in one.roots
    assert stage("reward.training.lr=0.5").key != one.key


@pytest.mark.parametrize(
    ("rewards", "said"),
    [
        (
            lambda self, scores, kl, mask, *, kl_coef: scores,
            r"has rewards\(scores, kl, mask, \*, kl",
        ),
        (lambda self, paid: paid, r"has rewards\(paid\); it must take \(paid, mask\)"),
        (None, "has no `rewards`; it must take"),
    ],
)
def test_a_method_of_another_contract_is_refused_when_the_run_is_planned(
    rewards: Any, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Learns, "rewards", rewards)
    with pytest.raises(UserError, match=f"the method 'learns' {said}") as error:
        make_plan(settings())
    assert error.value.exit_code == 1


def test_an_unknown_algorithm_is_named_when_the_run_is_planned(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def plan(self: Learns, stages: Any) -> Any:
        return stages.policy(self, None, "reinforc", self.options.training)

    monkeypatch.setattr(Learns, "plan", plan)
    with pytest.raises(UserError, match="unknown algorithm 'reinforc'; did you mean 'reinforce'"):
        make_plan(settings())
