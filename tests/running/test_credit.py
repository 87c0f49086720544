"""`bench credit`: several runs at the same states, from the command line to the table."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from bench.cli import app
from bench.config.loading import load_config
from bench.errors import UserError
from bench.pipeline.progress import Progress
from bench.pipeline.store import Store
from bench.records.files import read_record, write_record
from bench.running.credit import Asked, measure
from tests.cli.test_json import document
from tests.integration.test_file_suites import SMALL as SIZES
from tests.integration.test_run import config, run
from tests.suites.test_jsonl import write_files

Ran = tuple[dict[str, Path], Store]
FEW = ("--states", "24", "--positions", "6", "--continuations", "3")
FAST = ("evaluation.validation=last", "evaluation.validation_prompts=0", "ppo.steps=2")


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """A run each of what pays gold, of what compares groups, and of what pays nothing."""
    store, results = Store(tmp_path_factory.mktemp("store")), tmp_path_factory.mktemp("results")
    folders = {}
    for name, *more in (
        ("gold_token_ppo",),
        ("rloo",),
        ("dpo",),
        ("sft",),
        ("gold_ppo", "evaluation.max_new_tokens=20"),
    ):
        record = run(config(f"method={name}", *FAST, *more), store, results)
        folders[name] = results / "testbed" / record.run_id
    record = run(config("method=rloo", "seed=1", *FAST), store, results)
    return folders | {"rloo, seed 1": results / "testbed" / record.run_id}, store


def credit(ran: Ran, *arguments: object, few: tuple[str, ...] = FEW) -> Result:
    folders, store = ran
    words = [str(folders.get(str(word), word)) for word in arguments]
    place = [] if "--store" in words else ["--store", str(store.root)]
    return CliRunner().invoke(app, ["credit", *words, *few, *place])


def refused(result: Result, *said: str) -> None:
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    for part in said:
        assert part in line


@pytest.mark.slow
def test_runs_share_their_states_and_the_second_time_nothing_is_drawn(ran: Ran) -> None:
    result = credit(ran, "gold_token_ppo", "rloo", "dpo", "sft", "--format", "json")
    assert result.exit_code == 0, result.output
    assert result.stderr.count("continuations: started") == 1
    data = document(result, "credit")
    assert data["drawn_by"] == "sft"
    rows = {row["method"]: row for row in data["rows"]}
    assert list(rows) == ["gold_token_ppo", "rloo", "dpo", "sft"]
    gold, group = rows["gold_token_ppo"], rows["rloo"]
    assert gold["responses"] == group["responses"] == 4
    assert gold["tokens"] == group["tokens"] <= 24
    assert gold["ceiling"] == group["ceiling"]
    for kind in ("errors", "others"):
        assert (gold[kind] or group[kind]) is not None
        assert gold[kind]["advantage"] == group[kind]["advantage"]
    assert gold["errors"]["tokens"] + gold["others"]["tokens"] == gold["tokens"]
    for name in ("shares", "advantages"):
        assert gold[name]["pearson"]["value"] != group[name]["pearson"]["value"]
    for name in ("dpo", "sft"):
        assert rows[name]["shares"] is None
        assert rows[name]["note"].startswith(f"the method {name} pays no token")
    again = credit(ran, "rloo", "gold_token_ppo", "--format", "json")
    assert "continuations" not in again.stderr
    assert json.loads(again.stdout)["data"]["rows"] == [group, gold]


@pytest.mark.slow
def test_the_table_is_a_row_a_run_and_says_what_is_missing(
    ran: Ran, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "250")
    folders, _ = ran
    result = credit(ran, "gold_token_ppo", "sft")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0].startswith("Credit: correlation with the true advantage at ")
    assert lines[0].endswith("responses of the SFT model, K = 3")
    (unpaid,) = [line for line in lines if line.startswith(f"{folders['sft'].name} ")]
    assert unpaid.split()[1:] == ["none"] * 6 + ["–"] * 2
    note = f"{folders['sft'].name}: the method sft pays no token"
    assert any(line.startswith(note) for line in lines)
    assert "Means by kind of token" in lines


@pytest.mark.slow
def test_each_seed_has_states_of_its_own_and_a_label_its_mean(ran: Ran) -> None:
    runs = ("rloo", "rloo, seed 1", "gold_token_ppo")
    result = credit(ran, *runs, "--format", "json")
    assert result.exit_code == 0, result.output
    data = document(result, "credit")
    zero, one, gold = data["rows"]
    assert zero["ceiling"] == gold["ceiling"] != one["ceiling"]
    group, alone = data["labels"]
    assert (group["label"], group["seeds"]) == (zero["label"], [0, 1])
    assert alone["seeds"] == [0]
    both = [row["others"]["share"]["mean"] for row in (zero, one)]
    assert group["others"]["mean"] == pytest.approx(sum(both) / 2)
    assert "Over seeds" in credit(ran, *runs).stdout


@pytest.mark.slow
def test_a_policy_draws_states_of_its_own(ran: Ran) -> None:
    """Even where the runs have none in common."""
    result = credit(ran, "gold_token_ppo", "gold_ppo", "--policy", "--format", "json")
    assert result.exit_code == 0, result.output
    assert result.stderr.count("continuations: started") == 2
    data = document(result, "credit")
    assert data["drawn_by"] == "policy"
    first, second = data["rows"]
    assert first["reliability"] != second["reliability"]
    assert first["shares"] is not None


@pytest.mark.slow
def test_what_cannot_be_measured_is_one_line(ran: Ran, tmp_path: Path) -> None:
    folders, store = ran
    refused(credit(ran, "dpo", "sft"), "dpo pays no token", "sft pays no token")
    refused(credit(ran, "gold_token_ppo", "gold_ppo"), "no states in common", "one at a time")
    elsewhere = tmp_path / "store"
    gone = credit(ran, "rloo", "--store", elsewhere)
    refused(gone, "does not have its sft, reward_model, ppo", f"rerun {folders['rloo']} --store")
    assert not elsewhere.exists()
    shutil.copytree(store.root, elsewhere)
    shutil.rmtree(elsewhere / "reward_model")
    refused(credit(ran, "rloo", "--store", elsewhere), "does not have its reward_model as today")
    refused(credit(ran, "nosuch"), "unknown run 'nosuch'")
    refused(credit(ran, "rloo", "--format", "csv"), "--format csv: choose table or json")
    assert credit(ran, "rloo", few=("--continuations", "1")).exit_code == 2


def at_status(ran: Ran, place: Path, **changes: object) -> Path:
    """A copy of the record of `rloo`, where it would be below `place`, with another end."""
    folder = place / "testbed" / ran[0]["rloo"].name
    write_record(read_record(ran[0]["rloo"]).model_copy(update=changes), folder)
    return folder


@pytest.mark.slow
def test_a_run_without_an_end_is_run_and_not_repeated(ran: Ran, tmp_path: Path) -> None:
    """`rerun` would end where the run ended, or refuse."""
    elsewhere = tmp_path / "store"
    end = ("run it to its end: python -m bench run --preset=", f"--results={tmp_path} ")
    stages = read_record(ran[0]["rloo"]).stages
    (trained,) = (i for i, stage in enumerate(stages) if stage.name == "ppo")
    whole = at_status(ran, tmp_path, status="partial", until="policy")
    refused(credit(ran, whole, "--store", elsewhere), "or make them: python -m bench rerun")
    part = stages[:trained]
    early = at_status(ran, tmp_path, status="partial", until="reward_model", stages=part)
    refused(credit(ran, early, "--store", elsewhere), "it ended behind reward_model, ", *end)
    failed = at_status(ran, tmp_path, status="failed")
    refused(credit(ran, failed, "--store", elsewhere), "its status is failed, ", *end)
    diverged = at_status(ran, tmp_path, status="diverged")
    refused(credit(ran, diverged, "--store", elsewhere), "it diverged and has no policy")


@pytest.mark.slow
def test_a_response_has_no_more_positions_than_tokens_are_asked_for(ran: Ran) -> None:
    few = ("--states", "2", "--positions", "8", "--continuations", "2")
    result = credit(ran, "rloo", "--format", "json", few=few)
    assert result.exit_code == 0, result.output
    (row,) = document(result, "credit")["rows"]
    assert (row["tokens"], row["responses"]) == (2, 1)


@pytest.mark.slow
def test_a_suite_without_gold_is_refused(ran: Ran, tmp_path: Path) -> None:
    folders, store = ran
    asked = [*SIZES, "evaluation.judge=claude", "evaluation.validation=last"]
    settings = load_config(
        method="ppo_rlhf",
        suite="jsonl",
        overrides=[*asked, f"suite.config={write_files(tmp_path)}"],
    )
    kept = read_record(folders["rloo"])
    changes = {"method": "ppo_rlhf", "suite": "jsonl", "config": settings.model_dump(mode="json")}
    write_record(kept.model_copy(update=changes), tmp_path / "run")
    with pytest.raises(UserError, match=r"credit of .* needs gold scores.* runs of another suite"):
        measure([tmp_path / "run"], Asked(8, 4, 2, 0, False), store, Progress(quiet=True))


@pytest.mark.slow
def test_interrupted_it_leaves_nothing_half_made(ran: Ran, monkeypatch: pytest.MonkeyPatch) -> None:
    from bench.stages import monte_carlo

    def stop(*arguments: Any) -> float:
        raise KeyboardInterrupt

    monkeypatch.setattr(monte_carlo, "gold_score", stop)
    result = credit(ran, "gold_token_ppo", "--seed", "5")
    assert result.exit_code == 130
    assert result.stderr.splitlines()[-1].startswith("interrupted: what is finished is kept")
    _, store = ran
    assert not list((store.root / "partial").glob("monte_carlo-*"))
    assert read_record(ran[0]["gold_token_ppo"]).status == "ok"
