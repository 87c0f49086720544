"""A reward model of pairs that no method learns from chooses the checkpoint, and may judge."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from bench.config.loading import load_config
from bench.config.run import RunConfig
from bench.data import Preference, read_rows
from bench.errors import UserError
from bench.pipeline.progress import Progress
from bench.pipeline.stage import Stage
from bench.pipeline.store import Store
from bench.plugins.registry import JUDGES, SUITES
from bench.records.files import read_curves
from bench.running import runner
from bench.running.plan import make_plan
from bench.stages import validating
from bench.stages.drawing import draw_prompts, heldout_config
from bench.stages.given import drawn_pairs
from bench.stages.validating import NOT_CHOSEN, validator
from bench.suites.testbed.suite import Testbed
from bench.training.ppo import Best
from judges.reward_model import RewardModelJudge
from tests.stages.test_validation import TINY, register
from tests.suites.filed import Filed, write_files
from tests.tiny import LORA, tiny_backbone

HELDOUT = ("evaluation.validation=heldout_rm", "evaluation.heldout_pairs=4")
BEFORE = "heldout_reward_model"


@pytest.fixture(autouse=True)
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_files(tmp_path / "files")
    monkeypatch.chdir(tmp_path)
    register(monkeypatch, SUITES, "filed", "tests.suites.filed:Filed")
    register(monkeypatch, JUDGES, "shorter", "tests.suites.filed:Shorter")
    return tmp_path / "files"


def settings(*overrides: str, suite: str = "filed", method: str = "token_ppo") -> RunConfig:
    given = [one for one in TINY if suite == "filed" or not one.startswith("suite.")]
    return load_config("testbed", [*given, *overrides], suite=suite, method=method)


def stages(config: RunConfig) -> dict[str, Stage]:
    return {stage.name: stage for stage in make_plan(config)[0].stages}


@pytest.mark.parametrize("suite", ["filed", "testbed"])
def test_it_is_one_model_for_every_method_and_seed(suite: str) -> None:
    def model(*overrides: str, method: str = "token_ppo") -> str:
        shared = [*HELDOUT, "sft.seed=0"]  # it stands on the SFT model, which must be one too
        return stages(settings(*shared, *overrides, suite=suite, method=method))[BEFORE].key

    same = {
        model(),
        model("seed=1"),
        model(method="ppo_rlhf"),
        model(method="fine_grained_ppo"),
        model("ppo.lr=0.5", "evaluation.samples=3", "preferences.pairs=9"),
    }
    assert len(same) == 1
    assert model("evaluation.heldout_pairs=5") not in same
    assert model("evaluation.seed=1") not in same
    assert model("reward_model.lr=0.5") not in same
    assert model("sft.seed=null") == model()
    assert model("sft.seed=null", "seed=1") not in same


def test_no_method_learns_from_its_pairs() -> None:
    config = settings(*HELDOUT, "preferences.pairs=12")
    suite: Any = Filed(Filed.Options(folder="files"))
    own = {pair.prompt for pair in drawn_pairs(suite, config)}
    aside = {pair.prompt for pair in drawn_pairs(suite, heldout_config(config))}
    assert (len(own), len(aside), own & aside) == (12 + 4, 4, set())
    few = settings(*HELDOUT, "preferences.pairs=13")
    said = r"preferences.pairs=13, but .* has 12 pairs .* beside those that evaluation.heldout_pai"
    with pytest.raises(UserError, match=said):
        drawn_pairs(suite, few)
    with pytest.raises(UserError, match=r"evaluation\.heldout_pairs=17, but .* has 16 pairs"):
        drawn_pairs(suite, settings("evaluation.heldout_pairs=17"))


def test_sampled_pairs_are_about_other_prompts() -> None:
    suite = Testbed(Testbed.Options())
    config = settings(*HELDOUT, suite="testbed")
    aside = draw_prompts(suite, "preference", heldout_config(config))
    for seed in ("seed=0", "seed=1"):
        own = draw_prompts(suite, "preference", settings(*HELDOUT, seed, suite="testbed"))
        assert (len(own), len(aside), set(own) & set(aside)) == (12, 4, set())


def test_without_it_no_key_knows_of_it() -> None:
    plain = stages(settings("evaluation.validation=last"))
    assert not [name for name in plain if name.startswith("heldout")]
    assert not [s for s in plain.values() if "aside" in s.config or "max_kl" in s.config]
    aside = stages(settings("evaluation.validation=last", "evaluation.heldout_pairs=4"))
    assert {"preferences", "edits", "reward_model", "ppo"} <= {
        name for name in plain if plain[name].key != aside[name].key
    }
    assert plain["sft"].key == aside["sft"].key


@pytest.mark.parametrize(
    ("overrides", "who"),
    [
        (["evaluation.validation=heldout_rm"], "evaluation.validation=heldout_rm"),
        (
            ["evaluation.judge=reward_model", "evaluation.validation=last"],
            "evaluation.judge=reward",
        ),
        (["evaluation.validation_judge=reward_model"], "evaluation.validation_judge=reward_model"),
    ],
)
def test_who_needs_it_says_so_where_no_pairs_are_set_aside(overrides: list[str], who: str) -> None:
    config = load_config(
        "testbed",
        [*(one for one in TINY if not one.startswith("evaluation.judge")), *overrides],
        suite="filed",
        method="token_ppo",
    )
    with pytest.raises(UserError, match=f"evaluation.heldout_pairs=0: {who}"):
        make_plan(config)


def chosen(monkeypatch: pytest.MonkeyPatch, kl: float, *overrides: str) -> dict[str, float]:
    """What a validation gives at a KL, of a model that scores every response 2.5."""
    backbone = tiny_backbone()
    backbone.add_adapter("policy", LORA)
    model: Any = SimpleNamespace(
        backbone=backbone, rate=lambda asked: torch.full((len(asked),), 2.5)
    )
    monkeypatch.setattr(validating, "sampled_kl", lambda *arguments: [kl, kl])
    config = load_config(
        overrides=["evaluation.validation_prompts=2", "evaluation.max_new_tokens=8", *overrides]
    )
    suite = SimpleNamespace(prompts=lambda split, n, seed: ["Go.", "Say red."][:n])
    context: Any = SimpleNamespace(suite=suite, config=config)
    return validator(context, backbone, None, model)()


def test_no_policy_is_kept_that_went_too_far(monkeypatch: pytest.MonkeyPatch) -> None:
    near = chosen(monkeypatch, 3.0)
    assert (near["score"], near["heldout_rm"], near["kl"]) == (2.5, 2.5, 3.0)
    assert chosen(monkeypatch, 10.5)["score"] == NOT_CHOSEN
    assert chosen(monkeypatch, 10.5)["heldout_rm"] == 2.5
    assert chosen(monkeypatch, 10.5, "evaluation.max_kl=11")["score"] == 2.5
    assert chosen(monkeypatch, 1e3, "evaluation.max_kl=null")["score"] == 2.5


@pytest.mark.parametrize(
    ("scores", "kept"),
    [
        ([0.0, 2.0, 1.0], 1),
        ([0.0, NOT_CHOSEN, NOT_CHOSEN], 0),
        ([0.0, NOT_CHOSEN, 0.5], 2),
        ([None, None, None], 2),
    ],
)
def test_the_best_allowed_checkpoint_is_kept_and_the_last_without_scores(
    scores: list[float | None], kept: int
) -> None:
    weights = torch.nn.Parameter(torch.zeros(1))
    best = Best()
    for step, score in enumerate(scores):
        with torch.no_grad():
            weights.fill_(step)
        row = best.look({} if score is None else {"score": score}, step, [weights])
        assert row == ({} if score is None else {"validation_score": score})
    assert best.step == kept
    assert best.weights is not None
    assert best.weights[0].item() == kept


def test_outside_of_a_run_there_is_no_model_to_ask() -> None:
    with pytest.raises(UserError, match="reward_model asks a model that a run trains"):
        RewardModelJudge().compare(["Go."], ["A."], ["B."])


def test_it_chooses_and_judges_in_a_run_and_the_record_says_what_it_is(tmp_path: Path) -> None:
    config = load_config(
        "testbed",
        [
            *(one for one in TINY if not one.startswith("evaluation.judge")),
            *HELDOUT,
            "evaluation.validation_prompts=4",
            "evaluation.judge=reward_model",
            "ppo.steps=1",
        ],
        suite="filed",
        method="ppo_rlhf",
    )
    store = Store(tmp_path / "store")
    record = runner.run(config, store=store, results=tmp_path, progress=Progress())
    assert record.status == "ok"
    counts = {stage.name: stage.counts for stage in record.stages}
    assert counts["preferences"] == {"pairs": 12, "set_aside": 4}
    assert counts[BEFORE]["pairs"] + counts[BEFORE]["identical"] == 4
    assert record.judge.name == "reward_model"
    assert str(record.judge.model).startswith("held-out reward model ")
    assert [mark.what for mark in record.judge.marks] == ["reward_model"]
    assert "win_rate" in record.metrics
    assert not [name for name in record.metrics if "gold" in name]
    rows = read_curves(tmp_path / "filed" / record.run_id)
    assert {"validation_score", "validation_heldout_rm", "validation_kl"} <= rows[0].values.keys()
    assert rows[0].values["validation_kl"] == pytest.approx(0.0, abs=1e-5)
    paths = {stage.name: store.root / stage.name / stage.key for stage in record.stages}
    own, aside = (
        {pair.prompt for pair in read_rows(paths[name] / "preferences.jsonl", Preference)}
        for name in ("preferences", "heldout_preferences")
    )
    assert not own & aside
