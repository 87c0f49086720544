"""What a method, a stage or a judge needs of a suite is checked when the run is planned."""

from __future__ import annotations

import random
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bench.cli import app
from bench.config.loading import load_config
from bench.config.section import NoOptions
from bench.plugins.capabilities import Gold
from bench.plugins.entries import Entry
from bench.plugins.registry import METHODS, SUITES
from bench.running.plan import make_plan
from bench.suites.testbed.suite import Testbed
from methods.sft import SFT

GOLD_FREE = ["--set", "evaluation.judge=replay", "--set", "evaluation.validation_judge=replay"]
JUDGED = [*GOLD_FREE, "--set", "judge.annotations=a.json"]


class Bare:
    """The core and nothing else."""

    name = "bare"
    Options = NoOptions
    prompt_template = Testbed.prompt_template
    model_path = Testbed.model_path

    def __init__(self, options: NoOptions) -> None: ...

    def demonstrations(self, n: int, seed: int) -> list[tuple[str, str]]:
        return [(prompt, "A word.") for prompt in self.prompts("demonstrations", n, seed)]

    def prompts(self, split: str, n: int, seed: int) -> list[str]:
        return [f"Say {split} {i}." for i in range(n)]

    def references(self, prompts: list[str]) -> list[str]:
        return ["A word."] * len(prompts)


class Scored(Bare):
    """With gold scores too."""

    name = "scored"

    def score(self, prompt: str, response: str) -> float:
        return float(len(response))


class Chosen(Bare):
    """With an annotator, and nobody who edits."""

    name = "chosen"

    def prefer(self, prompt: str, first: str, second: str, rng: random.Random, flip: float) -> int:
        return int(len(second) > len(first))


class Oracle(SFT):
    """A method that asks the suite itself."""

    name = "oracle"
    needs = (Gold,)


@pytest.fixture(autouse=True)
def plugins(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    suites = [Entry(cls.name, f"{__name__}:{cls.__name__}", "") for cls in (Bare, Scored, Chosen)]
    methods = [Entry("oracle", f"{__name__}:Oracle", "")]
    monkeypatch.setattr(SUITES, "_builtins", (*SUITES._builtins, *suites))
    monkeypatch.setattr(METHODS, "_builtins", (*METHODS._builtins, *methods))
    monkeypatch.chdir(tmp_path)
    Path("a.json").write_text("[]")


def invoke(suite: str, method: str, *arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(
        app,
        ["run", "--suite", suite, "--method", method, "--store", "store", *arguments],
    )
    assert not isinstance(result.exception, AttributeError)
    return result.exit_code, result.stderr


@pytest.mark.parametrize("dry", [["--dry-run"], []])
@pytest.mark.parametrize(
    ("suite", "method", "arguments", "said"),
    [
        ("bare", "gold_ppo", JUDGED, "the method gold_ppo needs gold scores, which the suite bare"),
        ("bare", "oracle", JUDGED, "the method oracle needs gold scores, which the suite bare"),
        ("bare", "ppo_rlhf", JUDGED, "the method ppo_rlhf needs .*an annotator, which the suite"),
        ("bare", "token_ppo", JUDGED, "the method token_ppo needs .*an annotator, which the suite"),
        ("bare", "sft", [], "evaluation.judge=gold needs gold scores, which the suite bare does"),
        (
            "scored",
            "token_ppo",
            ["--set", "edits.source=claude"],
            "the method token_ppo needs .*an annotator",
        ),
        ("chosen", "token_ppo", JUDGED, "the method token_ppo needs .*an editor of its own"),
        ("chosen", "ppo_rlhf", GOLD_FREE[2:], "evaluation.judge=gold needs gold scores"),
        (
            "chosen",
            "ppo_rlhf",
            [*JUDGED, "--set", "evaluation.validation_judge=gold"],
            "evaluation.validation_judge=gold needs gold scores, .* with evaluation.validation_jud",
        ),
    ],
)
def test_what_a_suite_cannot_do_is_one_line_before_anything_runs(
    suite: str, method: str, arguments: list[str], said: str, dry: list[str]
) -> None:
    code, stderr = invoke(suite, method, *arguments, *dry)
    assert code == 2
    (line,) = [line for line in stderr.splitlines() if " seed 0: suite " not in line]
    assert re.search(said, line), line
    assert not list(Path().glob("store/*/*"))
    assert not Path("results").exists() or not list(Path("results").rglob("record.json"))


def test_a_suite_plans_what_needs_no_more_than_it_can_do() -> None:
    assert invoke("scored", "gold_ppo", "--dry-run")[0] == 0
    assert invoke("bare", "sft", *JUDGED, "--dry-run")[0] == 0


def test_a_reward_model_is_evaluated_without_edits_where_nobody_edits() -> None:
    settings = load_config(overrides=[value for value in JUDGED if value != "--set"])
    for source, expected in (("auto", ["preferences"]), ("claude", ["preferences", "edits"])):
        edits = settings.edits.model_copy(update={"source": source})
        changed = {"edits": edits, "suite": "chosen", "method": "ppo_rlhf"}
        plan, _ = make_plan(settings.model_copy(update=changed))
        assert plan.rm_evaluation is not None
        assert [stage.name for stage in plan.rm_evaluation.inputs[2:]] == expected
