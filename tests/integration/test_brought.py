"""Reward models that were trained elsewhere, through PPO to a record."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from bench.errors import UserError
from bench.pipeline.store import Store
from bench.records.files import read_record, read_samples
from leaderboard.analysis.aggregate import tables
from tests.integration.test_run import config, run
from tests.plans import stages_of
from tests.tiny import CHAT, tiny_classifier


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(tmp_path_factory.mktemp("store"))


def test_one_of_ours_pays_what_it_paid_where_it_was_trained(store: Store, tmp_path: Path) -> None:
    """To the last bit: it is the same adapter, normalised on the same samples."""
    trained = run(config("method=token_ppo", "ppo.steps=2"), store, tmp_path)
    keys = {stage.name: stage.key for stage in trained.stages}
    mine = tmp_path / "mine"
    shutil.copytree(store.root / "reward_model" / keys["reward_model"], mine)
    settings = config("method=token_ppo", "ppo.steps=2", f"reward_model.path={mine}")
    record = run(settings, store, tmp_path)
    assert record.metrics == trained.metrics
    own = {stage.name: stage.key for stage in record.stages}
    assert own["samples"] == keys["samples"]
    assert own["reward_model"] != keys["reward_model"]
    brought = record.brought["reward_model"]
    assert (brought.name, brought.granularity) == ("mine", "token")
    assert brought.kind == "reward model of GrainBench"
    assert trained.brought == {}


def test_a_sequence_classifier_pays_a_method_with_a_reward_a_response(
    store: Store, tmp_path: Path
) -> None:
    path = tiny_classifier(tmp_path / "scores", chat=CHAT)
    overrides = [f"reward_model.path={path}", "ppo.value_init=zero", "ppo.steps=2"]
    record = run(config("method=ppo_rlhf", *overrides), store, tmp_path / "results")
    assert record.status == "ok"
    assert {"proxy_score", "rm_accuracy.original", "win_rate"} <= record.metrics.keys()
    assert "rm_localisation" not in record.metrics  # it has no score of a token
    brought = record.brought["reward_model"]
    assert (brought.kind, brought.granularity) == ("sequence classifier", "sequence")
    folder = tmp_path / "results" / "testbed" / record.run_id
    assert read_record(folder) == record
    assert read_samples(folder)[0].token_rewards == []
    (table,), _ = tables(tmp_path / "results")
    assert any("scores (sequence level, sequence classifier)" in line for line in table.warnings)


def test_a_chat_template_that_cannot_be_used_is_found_before_anything_runs(
    store: Store, tmp_path: Path
) -> None:
    path = tiny_classifier(tmp_path / "scores", chat="{{ messages[0].content }}")
    settings = config("method=ppo_rlhf", f"reward_model.path={path}", "ppo.value_init=zero")
    with pytest.raises(UserError, match="its chat template cannot show a prompt and its response"):
        stages_of(settings, store)
