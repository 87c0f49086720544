"""`best_of_n` and `expert_iteration` as runs: what they draw, record, share and refuse."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from bench.cli import app
from bench.data import Demonstration, read_rows
from bench.pipeline.store import Store
from bench.plugins.entries import Entry
from bench.plugins.registry import SUITES
from bench.records.files import Record, read_curves, read_items
from bench.running.plan import make_plan
from bench.stages.outputs import OUTPUTS
from bench.stages.pairs import RESPONSES
from bench.suites.testbed.suite import Testbed
from leaderboard.analysis.aggregate import tables
from leaderboard.views.render import table_grids
from leaderboard.views.show import show
from tests.integration.test_run import config, run
from tests.plans import stages_of
from tests.suites.filed import write_files


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(tmp_path_factory.mktemp("store"))


def artifact(record: Record, store: Store, name: str) -> Path:
    (key,) = (stage.key for stage in record.stages if stage.name == name)
    return store.root / name / key


def outputs(record: Record, store: Store) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((artifact(record, store, "outputs") / OUTPUTS).read_text())
    return found


def tokens(record: Record) -> int:
    (stage,) = (stage for stage in record.stages if stage.name == "outputs")
    return stage.tokens or 0


def best_by_gold(n: int, store: Store, results: Path) -> Record:
    return run(config("method=best_of_n", "reward.by=gold", f"reward.n={n}"), store, results)


def test_by_gold_more_draws_are_never_worse_and_one_is_sft(store: Store, tmp_path: Path) -> None:
    """The first draws of a larger n are those of a smaller: so for each instruction, too."""
    sft = run(config("method=sft", "evaluation.greedy=false"), store, tmp_path)
    one, four = (best_by_gold(n, store, tmp_path) for n in (1, 4))
    drawn = outputs(sft, store)
    assert {k: drawn[k] for k in drawn if k != "kl"} == {
        k: x for k, x in outputs(one, store).items() if k != "kl_bound"
    }
    assert one.metrics["gold_score"] == sft.metrics["gold_score"]
    scores = [
        [item.values["gold_score"] for item in read_items(tmp_path / "testbed" / record.run_id)]
        for record in (one, four)
    ]
    assert all(few <= many for few, many in zip(*scores, strict=True))  # type: ignore[operator]
    assert four.metrics["gold_score"].mean > one.metrics["gold_score"].mean
    assert four.metrics["gold_score_unseen"].mean >= one.metrics["gold_score_unseen"].mean
    assert tokens(one) == tokens(sft)
    assert tokens(four) > 2 * tokens(sft)


def test_samples_are_picked_each_from_draws_of_its_own(store: Store, tmp_path: Path) -> None:
    """Two samples a prompt are two picks of four draws, not the best two of eight."""
    first, second = outputs(best_by_gold(4, store, tmp_path), store)["sampled_ids"]
    assert first != second
    alone = config("method=best_of_n", "reward.by=gold", "reward.n=4", "evaluation.samples=1")
    assert outputs(run(alone, store, tmp_path), store)["sampled_ids"] == [first]


def test_the_record_bounds_the_kl_and_has_nothing_greedy(store: Store, tmp_path: Path) -> None:
    """log 4 - 3/4 = .636; where a KL is shown the bound stands in a column that says so."""
    record = run(config("method=best_of_n", "reward.n=4"), store, tmp_path)
    assert record.metrics["kl_bound"].mean == pytest.approx(0.636, abs=5e-4)
    assert "kl" not in record.metrics
    assert not [name for name in record.metrics if "greedy" in name]
    assert record.policy_stage is None
    assert record.convergence is None
    assert {"proxy_score", "rm_accuracy.original"} <= set(record.metrics)
    assert record.metrics["proxy_score"].mean > 0  # of SFT's samples it is 0 by normalisation
    run(config("method=sft"), store, tmp_path)
    found, problems = tables(tmp_path)
    assert problems == []
    (policy,) = (g for t in found for g in table_grids(t) if g.title.startswith("Policy, sampled"))
    assert {"KL", "KL at most"} <= set(policy.headers)
    bound = policy.headers.index("KL at most")
    assert {row[bound] for row in policy.rows} == {"0.6", "–"}
    shown = Console(width=80, file=StringIO())
    with shown.capture() as text:
        shown.print(show(tmp_path / "testbed" / record.run_id))
    assert "kl_bound" in text.get()


def test_only_what_scores_decides_what_is_kept(store: Store) -> None:
    def keys(*overrides: str) -> dict[str, str]:
        return {s.name: s.key for s in stages_of(config(*overrides), store)}

    best, ppo = keys("method=best_of_n"), keys("method=ppo_rlhf")
    assert best["reward_model"] == ppo["reward_model"]
    assert keys("method=best_of_n", "evaluation.greedy=false") == best
    for other in ("reward.n=4", "reward.by=edits", "reward.by=token", "reward.by=gold"):
        assert keys("method=best_of_n", other)["outputs"] != best["outputs"]
    edits = keys("method=best_of_n", "reward.by=edits")
    assert edits["reward_model"] == keys("method=fine_grained_ppo")["reward_model"]
    token = keys("method=best_of_n", "reward.by=token")
    assert token["reward_model"] == keys("method=token_ppo")["reward_model"]
    iterated = keys("method=expert_iteration")
    assert iterated["reward_model"] == ppo["reward_model"]
    assert keys("method=expert_iteration", "ppo.lr=1e-4") == iterated
    more = keys("method=expert_iteration", "ppo.prompts=17")
    assert more["best_responses"] != iterated["best_responses"]
    assert keys("method=expert_iteration", "offline.lr=1e-4")["offline"] != iterated["offline"]


def test_expert_iteration_imitates_the_best_of_its_prompts(store: Store, tmp_path: Path) -> None:
    """16 prompts, one response each, 8 a step; a response that scores higher than the mean one."""
    settings = config("method=expert_iteration", "reward.by=gold", "reward.n=4")
    record = run(settings, store, tmp_path)
    rows = read_rows(artifact(record, store, "best_responses") / RESPONSES, Demonstration)
    suite = Testbed(Testbed.Options())
    assert [row.prompt for row in rows] == suite.prompts("ppo", 16, 0)
    once = run(settings.model_copy(update={"reward": {"by": "gold", "n": 1}}), store, tmp_path)
    first = read_rows(artifact(once, store, "best_responses") / RESPONSES, Demonstration)
    best, drawn = (
        [suite.score(row.prompt, row.response) for row in found] for found in (rows, first)
    )
    assert all(few <= many for few, many in zip(drawn, best, strict=True))
    assert sum(best) > sum(drawn)
    stage = record.policy_stage
    assert stage is not None
    assert (stage.name, stage.steps) == ("offline", 2)
    curve = read_curves(tmp_path / "testbed" / record.run_id)
    assert [row.step for row in curve] == [0, 1, 2]
    assert {"loss", "best_logprob"} <= set(curve[1].values)
    assert not {"accuracy", "worst_logprob"} & set(curve[1].values)
    assert {"kl", "win_rate_greedy"} <= set(record.metrics)


@pytest.mark.parametrize("method", ["best_of_n", "expert_iteration"])
def test_a_suite_without_gold_refuses_it_in_one_line(
    method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_files(tmp_path / "files")
    monkeypatch.chdir(tmp_path)
    entry = Entry("filed", "tests.suites.filed:Filed", "")
    monkeypatch.setattr(SUITES, "_builtins", (*SUITES._builtins, entry))
    ask = ["run", "--dry-run", "--suite", "filed", "--method", method, "--set", "reward.by=gold"]
    said = CliRunner().invoke(app, [*ask, "--set", "suite.folder=files"])
    assert said.exit_code == 2
    assert said.stderr.count("\n") == 1
    assert "reward.by=gold" in said.stderr
    assert "choose another reward.by" in said.stderr


@pytest.mark.parametrize(
    ("by", "last"),
    [("pairs", ["rm_evaluation", "sft", "reward_model"]), ("gold", ["sft"])],
)
def test_until_policy_ends_with_all_that_it_is_made_of(by: str, last: list[str]) -> None:
    settings = config("method=best_of_n", f"reward.by={by}")
    planned, _ = make_plan(settings, until="policy")
    assert [stage.name for stage in planned.targets] == last
