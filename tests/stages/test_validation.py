"""What chooses the checkpoint, and what is measured of the policy all the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bench.config.loading import load_config
from bench.config.run import RunConfig
from bench.errors import UserError
from bench.models.sequences import repeat_share
from bench.pipeline.progress import Progress
from bench.pipeline.store import Store
from bench.plugins.entries import Entry, Registry
from bench.plugins.protocols import Verdict
from bench.plugins.registry import JUDGES, SUITES
from bench.records.files import read_curves
from bench.running import runner
from bench.running.plan import make_plan
from bench.stages.validating import validator
from tests.suites.filed import Filed, write_files
from tests.tiny import LORA, tiny_backbone

TINY = [
    "sft.steps=1",
    "sft.demonstrations=8",
    "sft.batch_size=4",
    "preferences.pairs=8",
    "preferences.held_out=4",
    "preferences.max_new_tokens=8",
    "reward_model.batch_size=8",
    "reward_model.normalisation_samples=8",
    "ppo.steps=3",
    "ppo.value_warmup_steps=0",
    "ppo.batch_size=4",
    "ppo.minibatch_size=4",
    "ppo.prompts=8",
    "ppo.max_new_tokens=8",
    "ppo.eval_every=1",
    "evaluation.judge=shorter",
    "evaluation.test_prompts=2",
    "evaluation.unseen_prompts=2",
    "evaluation.max_new_tokens=8",
    "suite.folder=files",
]
LAST = ("evaluation.validation=last", "evaluation.validation_prompts=0")


class Unreferenced(Filed):
    """References of the judged splits alone: of validation there are none."""

    name = "unreferenced"

    def references(self, prompts: list[str]) -> list[str]:
        assert not any("validation" in prompt for prompt in prompts)
        return super().references(prompts)


def register(
    monkeypatch: pytest.MonkeyPatch, registry: Registry[Any], name: str, target: str
) -> None:
    entry = Entry(name, target, "")
    monkeypatch.setattr(registry, "_builtins", (*registry._builtins, entry))


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_files(tmp_path / "files")
    monkeypatch.chdir(tmp_path)
    register(monkeypatch, SUITES, "unreferenced", f"{__name__}:Unreferenced")
    register(monkeypatch, JUDGES, "shorter", "tests.suites.filed:Shorter")
    return tmp_path / "files"


def settings(*overrides: str) -> RunConfig:
    return load_config("testbed", [*TINY, *overrides], suite="unreferenced", method="token_ppo")


def test_the_last_policy_is_kept_where_nobody_is_asked(files: Path, tmp_path: Path) -> None:
    """Neither validation prompts nor references are there; what training logs is."""
    (files / "validation.jsonl").unlink()
    config = settings(*LAST)
    store = Store(tmp_path / "store")
    record = runner.run(config, store=store, results=tmp_path, progress=Progress())
    assert record.status == "ok"
    assert record.convergence is None
    (ppo,) = [stage for stage in record.stages if stage.name == "ppo"]
    meta = store.find("ppo", ppo.key)
    assert meta is not None
    assert meta.meta["stats"]["best_step"] == 3
    rows = read_curves(tmp_path / "unreferenced" / record.run_id)
    assert [row.step for row in rows] == [0, 1, 2, 3]
    for row in rows[1:]:
        assert {"kl", "length", "reward", "repeat_share"} <= row.values.keys()
    assert not [name for row in rows for name in row.values if name.startswith("validation")]


def test_what_validation_reads_is_what_is_asked_for(files: Path) -> None:
    def policy(*overrides: str) -> Any:
        return make_plan(settings(*overrides))[0].policy

    judged = ("evaluation.validation_judge=shorter", "evaluation.validation_prompts=4")
    assert set(policy(*judged).config["data"]) == {"ppo", "validation"}
    assert set(policy(*LAST).config["data"]) == {"ppo"}
    assert "judge" not in policy(*LAST).config
    keys = {policy(*judged).key, policy(*judged, "evaluation.validation=last").key}
    assert len(keys | {policy(*LAST).key}) == 3


@pytest.mark.parametrize("n", [0, 1])
def test_a_checkpoint_is_not_chosen_on_nothing(files: Path, n: int) -> None:
    said = rf"evaluation\.validation_prompts={n}: .* on 2 at least; or set .*validation=last"
    with pytest.raises(UserError, match=said):
        make_plan(
            settings("evaluation.validation_judge=shorter", f"evaluation.validation_prompts={n}")
        )


def test_a_policy_is_measured_with_and_without_a_judge() -> None:
    backbone = tiny_backbone()
    backbone.add_adapter("policy", LORA)
    suite = SimpleNamespace(
        prompts=lambda split, n, seed: ["Go.", "Say red."][:n],
        references=lambda prompts: ["A word."] * len(prompts),
    )
    config = load_config(
        overrides=["evaluation.validation_prompts=2", "evaluation.max_new_tokens=8"]
    )
    context: Any = SimpleNamespace(suite=suite, config=config)

    def judge(score: float | None) -> Any:
        def compare(prompts: list[str], outputs: list[str], references: list[str]) -> Any:
            return [Verdict(2.0, "ok", score), Verdict(1.5, "tie", score)]

        return SimpleNamespace(name="says", compare=compare)

    alone = validator(context, backbone, None)()
    assert set(alone) == {"length", "repeat_share"}
    assert validator(context, backbone, judge(None))() == {"score": 0.75, "win_rate": 0.75} | alone
    scored = {"score": -2.0, "win_rate": 0.75, "gold": -2.0} | alone
    assert validator(context, backbone, judge(-2.0))() == scored
    nothing: Callable[[], Any] = validator(
        SimpleNamespace(suite=None, config=load_config(overrides=list(LAST))),  # type: ignore[arg-type]
        backbone,
        None,
    )
    assert nothing() == {}


@pytest.mark.parametrize(
    ("ids", "share"),
    [
        ([], 0.0),
        ([1, 2, 3], 0.0),
        ([1, 2, 3, 4], 0.0),
        ([1, 1, 1, 1, 1, 1], 2 / 3),  # three 4-grams, all the same
        ([1, 2, 1, 2, 1, 2], 1 / 3),  # 1212, 2121, 1212
    ],
)
def test_a_response_repeats_what_came_before(ids: list[int], share: float) -> None:
    assert repeat_share(ids) == pytest.approx(share)
