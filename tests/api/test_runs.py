"""`bench.run`: the record that was written, whatever surrounds the call."""

import asyncio
import os
import signal
import threading
import warnings
from pathlib import Path
from typing import Any

import pytest

import bench
from bench.records.files import Record, read_record
from bench.running import runner
from tests.integration.test_asked_run import ASKED, answer
from tests.integration.test_run import SMALL
from tests.llm.server import Server

TINY = {path: int(value) for path, value in (line.split("=") for line in SMALL)}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("store")


def test_it_gives_the_record_that_it_wrote(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    signals = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    environment, filters = dict(os.environ), list(warnings.filters)
    record = bench.run(
        "token_ppo",
        seed=1,
        overrides={**TINY, "ppo.steps": 2, "reward.loss": "eq4", "model.device": "cpu"},
        results=str(tmp_path),
        store=store,
    )
    assert isinstance(record, Record)
    assert record.folder == tmp_path / "testbed" / record.run_id
    assert read_record(record.folder).model_dump() == record.model_dump()
    assert (record.status, record.seed, record.config["reward"]) == ("ok", 1, {"loss": "eq4"})
    assert [s.token_rewards for s in record.samples()]
    assert record.curves()["step"].tolist() == [0, 1, 2]
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "token_ppo seed 1: ok; " in captured.err
    assert "%|" not in captured.err  # the bars of other libraries
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == signals
    assert (dict(os.environ), list(warnings.filters)) == (environment, filters)


def test_a_part_of_a_run_quietly(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where: dict[str, Any] = {"results": tmp_path, "store": store, "quiet": True}
    record = bench.run("ppo_rlhf", overrides=TINY, until="preferences", **where)
    assert (record.status, record.until) == ("partial", "preferences")
    assert record.curves().empty
    assert "".join(capsys.readouterr()) == ""


def test_inside_a_running_event_loop_and_another_thread_a_model_judges(
    server: Server, store: Path, tmp_path: Path
) -> None:
    """A notebook's cells run inside a loop, and the judge asks with asyncio."""
    server.answer = answer
    asked = dict(line.split("=") for line in ASKED)
    asked |= {"judge.canaries": 0, "judge.max_retries": 0}

    async def cell() -> bench.RunRecord:
        return bench.run("sft", overrides={**TINY, **asked}, results=tmp_path, store=store)

    record = asyncio.run(cell())
    assert (record.status, record.judge.name) == ("ok", "claude")
    found: list[bench.RunRecord] = []
    thread = threading.Thread(target=lambda: found.append(asyncio.run(cell())))
    thread.start()
    thread.join()
    assert found[0].metrics == record.metrics


def test_an_interruption_reaches_the_caller_and_is_written_down(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bench.training.ppo import PPO

    def interrupted(self: PPO) -> None:
        signal.raise_signal(signal.SIGINT)  # as a notebook's stop button does

    monkeypatch.setattr(PPO, "step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        bench.run("token_ppo", seed=2, overrides=TINY, results=tmp_path, store=store)
    (record,) = bench.load(tmp_path)
    assert record.status == "interrupted"


def test_a_run_that_diverged_is_returned(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bench.errors import Diverged
    from bench.training.ppo import PPO

    def diverged(self: PPO) -> None:
        raise Diverged("loss is NaN")

    monkeypatch.setattr(PPO, "step", diverged)
    record = bench.run("token_ppo", seed=3, overrides=TINY, results=tmp_path, store=store)
    assert (record.status, record.error) == ("diverged", "loss is NaN")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"method": "tokn_ppo"}, "unknown method 'tokn_ppo'; did you mean 'token_ppo'"),
        ({"method": "sft,token_ppo"}, "method 'sft,token_ppo' names 2 runs: call bench.run for"),
        ({"method": dict}, "method is a name, not <class 'dict'>; register_method gives it one"),
        ({"overrides": {"ppo.lrr": 1}}, "did you mean ppo.lr?"),
        ({"overrides": {"ppo.lr": "high"}}, "ppo.lr must be a number > 0, given: 'high'"),
        ({"overrides": {"ppo.lr": float("nan")}}, "ppo.lr must be a number > 0, given: 'NaN'"),
        ({"overrides": {"ppo.lr": object}}, "overrides: ppo.lr must be a number, text, True"),
        ({"overrides": ["ppo.lr=1"]}, "overrides: expected fields and values, as {'ppo.lr'"),
        ({"overrides": {"seed": 1}, "seed": 2}, "seed has an option of its own"),
        ({"seed": -1}, "seed must be an integer >= 0, given: -1"),
        ({"until": "policyy"}, "unknown stage 'policyy'; did you mean 'policy'"),
        ({"preset": "testbet"}, "unknown preset 'testbet'; did you mean 'testbed'"),
        ({"results": " "}, "results is empty: name a folder, or leave it out"),
        ({"store": ""}, "store is empty: name a folder, or leave it out"),
        ({"results": "/dev/null/r"}, "cannot write to the results folder /dev/null/r"),
    ],
)
def test_a_mistake_is_one_line(
    arguments: dict[str, Any], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreached(*_: Any, **__: Any) -> None:
        raise AssertionError("it ran")

    monkeypatch.setattr(runner, "run", unreached)
    given = {"method": "sft", "results": tmp_path, "store": tmp_path} | arguments
    with pytest.raises(bench.UserError) as error:
        bench.run(**given)
    assert said in str(error.value)
    assert "\n" not in str(error.value)
    assert error.value._render_traceback_() == [f"UserError: {error.value}"]


def test_values_of_every_kind_mean_what_they_say(tmp_path: Path) -> None:
    import numpy as np

    from bench.api.runs import _spelled
    from bench.config.loading import load_config

    asked = {
        "ppo.lr": np.float32(0.25), "ppo.steps": np.int64(3), "ppo.whiten_rewards": "no",
        "ppo": {"gamma": 0.5}, "model.path": Path("a b"), "evaluation.judge": "gold",
        "reward_model.path": None,
    }  # fmt: skip
    config = load_config("testbed", _spelled(asked))
    assert (config.ppo.lr, config.ppo.steps, config.ppo.gamma) == (0.25, 3, 0.5)
    assert (config.ppo.whiten_rewards, config.model.path) == ("no", "a b")
    assert config.reward_model.path is None


def test_folders_come_from_the_environment_where_none_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bench.api.places import folder

    monkeypatch.setenv("BENCH_RESULTS", str(tmp_path))
    assert folder(None, "results", Path("results/runs")) == tmp_path
    assert folder("~/x", "results", Path("a")) == Path.home() / "x"
    monkeypatch.delenv("BENCH_RESULTS")
    assert folder(None, "results", Path("results/runs")) == Path("results/runs")
