"""A reward model that was trained elsewhere: what a run can use, told when it is planned."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.config.loading import load_config
from bench.config.run import RunConfig
from bench.errors import UserError
from bench.files import file_sha256
from bench.pipeline.stage import Stage
from bench.running.plan import make_plan
from bench.suites.testbed.suite import Testbed
from tests.hub import OLD, cache

ZERO = "ppo.value_init=zero"


def settings(path: Path | str, *overrides: str, method: str = "ppo_rlhf") -> RunConfig:
    return load_config("testbed", [f"reward_model.path={path}", *overrides], method=method)


def stages(config: RunConfig) -> dict[str, Stage]:
    return {stage.name: stage for stage in make_plan(config)[0].stages}


def classifier(folder: Path, **changes: Any) -> Path:
    """What of a classifier's folder a plan reads."""
    kind = {"architectures": ["LlamaForSequenceClassification"], "id2label": {"0": "LABEL_0"}}
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(kind | changes))
    (folder / "model.safetensors").write_bytes(b"weights")
    return folder


def ours(folder: Path, granularity: str = "token", **adapter: Any) -> Path:
    """What of a reward model that a run made here a plan reads; it stands on the testbed's SFT."""
    sft = stages(load_config("testbed", method="sft"))["sft"].key
    (folder / "adapter").mkdir(parents=True, exist_ok=True)
    named = {"base_model_name_or_path": f"sft/{sft}/model", "r": 16, "lora_alpha": 32}
    (folder / "adapter" / "adapter_config.json").write_text(json.dumps(named | adapter))
    (folder / "adapter" / "adapter_model.safetensors").write_bytes(b"weights")
    constants = {"granularity": granularity, "mean": 0.0, "std": 1.0, "scale": 1.0, "base": {}}
    (folder / "reward_model.json").write_text(json.dumps(constants))
    return folder


def test_it_takes_the_place_of_a_trained_one_and_its_content_is_the_key(tmp_path: Path) -> None:
    planned = stages(settings(classifier(tmp_path / "a"), ZERO))
    assert [stage.name for stage in planned["reward_model"].inputs] == ["sft", "samples"]
    assert planned["reward_model"].config["given"].keys() == {"config.json", "model.safetensors"}
    assert set(planned["reward_model"].files) == set((tmp_path / "a").glob("*"))
    again = stages(settings(classifier(tmp_path / "b"), ZERO, "reward_model.epochs=7"))
    assert again["reward_model"].key == planned["reward_model"].key
    (tmp_path / "b" / "model.safetensors").write_bytes(b"others")
    other = stages(settings(tmp_path / "b", ZERO))
    assert other["reward_model"].key != planned["reward_model"].key
    assert other["ppo"].key != planned["ppo"].key
    assert other["samples"].key == planned["samples"].key


def test_one_of_the_hub_is_keyed_by_its_commit(hub_cache: Path) -> None:
    cache(hub_cache, "models--org--scores", {"main": OLD})
    snapshot = hub_cache / "models--org--scores" / "snapshots" / OLD
    classifier(snapshot)
    for named in ("org/scores", f"org/scores@{OLD}"):
        planned, _ = make_plan(settings(named, ZERO))
        found = {stage.name: stage for stage in planned.stages}
        assert found["reward_model"].config["given"] == {"hub": "org/scores", "revision": OLD}
        assert planned.config.reward_model.path == f"org/scores@{OLD}"
    with pytest.raises(UserError, match="of the model on the hub revision v2 is not in the cache"):
        make_plan(settings("org/scores@v2", ZERO))


def test_the_reward_model_that_no_method_learns_from_is_still_trained(tmp_path: Path) -> None:
    wanted = ("evaluation.validation=heldout_rm", "evaluation.heldout_pairs=4")
    planned = stages(settings(classifier(tmp_path / "a"), ZERO, *wanted))
    assert "given" not in planned["heldout_reward_model"].config
    assert "reward_model" in planned["heldout_reward_model"].config


@pytest.mark.parametrize(
    ("make", "method", "overrides", "message"),
    [
        (classifier, "token_ppo", (ZERO,),
         r"is a sequence reward model \(sequence classifier\), .* token_ppo needs one that scores"),
        (classifier, "ppo_rlhf", ("ppo.value_model=separate",),
         "ppo.value_init=reward_trunk: .* has no adapter on this run's base: set ppo.value_init="),
        (ours, "ppo_rlhf", (ZERO,), r"is a token reward model \(reward model of GrainBench\)"),
        (ours, "token_ppo", ("sft.steps=3",), "stands on the SFT model sft/.*, and this run on"),
        (ours, "token_ppo", ("ppo.value_model=separate", "lora.r=8"),
         "an adapter with r=16, alpha=32, not lora"),
        (lambda folder: classifier(folder, id2label={"0": "a", "1": "b", "2": "c"}), "ppo_rlhf",
         (), "a classifier with 3 outputs"),
        (lambda folder: classifier(folder, id2label=None), "ppo_rlhf", (), "with 2 outputs"),
        (lambda folder: classifier(folder, auto_map={"AutoModel": "x.Y"}), "ppo_rlhf", (),
         "asks for code of its own repository"),
        (lambda folder: Path(Testbed.model_path), "ppo_rlhf", (),
         "is LlamaForCausalLM by its config.json, and not a sequence classifier"),
        (lambda folder: folder, "ppo_rlhf", (), "neither a reward_model folder of a store"),
        (lambda folder: "no/such/model", "ppo_rlhf", (), "is no folder here"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_one_line(
    make: Callable[[Path], Path], method: str, overrides: tuple[str, ...], message: str,
    tmp_path: Path, hub_cache: Path,
) -> None:  # fmt: skip
    with pytest.raises(UserError, match=message) as error:
        make_plan(settings(make(tmp_path), *overrides, method=method))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("make", [classifier, ours])
def test_pickled_weights_are_refused(make: Callable[[Path], Path], tmp_path: Path) -> None:
    for file in make(tmp_path).rglob("*.safetensors"):
        file.rename(file.with_suffix(".bin"))
    with pytest.raises(UserError, match=r"has no \.safetensors: other formats of weights run code"):
        make_plan(settings(tmp_path, ZERO))


def test_one_of_ours_is_known_by_its_base_s_weights_where_that_is_brought_too(
    tmp_path: Path,
) -> None:
    """From another machine: there the SFT stage has another key, and the weights are the same."""
    path = ours(tmp_path / "ours", base_model_name_or_path="sft/elsewhere/model")
    sft = f"sft.path={Testbed.model_path}"
    with pytest.raises(UserError, match=r"give that one as sft\.path"):
        make_plan(settings(path, sft, method="token_ppo"))
    constants = json.loads((path / "reward_model.json").read_text())
    weights = Path(Testbed.model_path) / "model.safetensors"
    constants["base"] = {weights.name: file_sha256(weights)}
    (path / "reward_model.json").write_text(json.dumps(constants))
    assert "given" in stages(settings(path, sft, method="token_ppo"))["reward_model"].config
