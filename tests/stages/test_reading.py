"""What stages read beside their inputs is in their keys: the suite's data, the base model."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from bench.errors import UserError
from bench.hub import HubRepo, commit
from bench.models.backbone import Backbone
from bench.pipeline.stage import Stage, _check_unchanged
from bench.plugins.capabilities import DataSuite
from bench.running.plan import make_plan
from bench.running.recording import model_commit
from bench.stages.planning import Stages
from bench.suites.testbed.suite import Testbed
from methods.token_ppo import TokenPPO
from tests.hub import NEW, OLD, cache
from tests.integration.test_run import config

PARTS = {
    "demonstrations": {"sft"},
    "preference": {"samples"},
    "prefer": {"preferences"},
    "edit": {"edits"},
    "gold": {"rm_evaluation", "ppo", "judgement"},
    "spans": {"rm_evaluation"},
    "probes": {"rm_evaluation"},
    "ppo": {"ppo"},
    "validation": {"ppo"},
    "test": {"outputs"},
    "unseen": {"outputs"},
    "references": {"ppo", "judgement"},
}


class Filed(Testbed):
    """The testbed, had it a file for each part and a data set of the hub."""

    folder: Path

    def data_files(self, part: str) -> Sequence[Path | HubRepo]:
        if part == "edit":
            return [HubRepo("org/edits", kind="dataset")]
        return [self.folder / f"{part}.jsonl"]


@pytest.fixture
def filed(tmp_path: Path, hub_cache: Path) -> Filed:
    suite = Filed()
    suite.folder = tmp_path / "data"
    suite.folder.mkdir()
    for part in PARTS:
        (suite.folder / f"{part}.jsonl").write_text(f"{part} 1")
    cache(hub_cache, "datasets--org--edits", {"main": OLD})
    return suite


def stages(suite: Testbed, *overrides: str) -> dict[str, Stage]:
    planned = Stages(config("method=token_ppo", *overrides), suite)
    method = TokenPPO(TokenPPO.Options())
    policy = method.plan(planned)
    ends = planned.judgement(planned.outputs(policy), policy.inputs[1])
    evaluation = planned.rm_evaluation(policy.inputs[1])
    return {s.name: s for end in (ends, evaluation) for s in end.graph()}


@pytest.mark.parametrize("part", PARTS)
def test_the_data_of_a_part_are_in_the_keys_of_what_uses_it(
    part: str, filed: Filed, hub_cache: Path
) -> None:
    before = stages(filed)
    if part == "edit":
        cache(hub_cache, "datasets--org--edits", {"main": NEW})
        commit.cache_clear()
    else:
        (filed.folder / f"{part}.jsonl").write_text(f"{part} 2")
    after = stages(filed)
    assert {n for n in before if before[n].config != after[n].config} == PARTS[part]
    assert {n for n in before if before[n].key != after[n].key} >= PARTS[part]
    with_ptx = stages(filed, "ppo.ptx_coef=0.1")["ppo"]
    assert "demonstrations" in with_ptx.config["data"]


def test_a_suite_that_reads_no_file_has_no_data_in_its_keys() -> None:
    assert not isinstance(Testbed(), DataSuite)
    assert not any("data" in stage.config for stage in stages(Testbed()).values())


def test_a_folder_stands_for_its_files_and_a_files_name_for_nothing(
    filed: Filed, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = {"demonstrations": [filed.folder / "demonstrations.jsonl"]}
    monkeypatch.setattr(Filed, "data_files", lambda self, part: names.get(part, []))
    key = stages(filed)["sft"].key
    (filed.folder / "renamed").write_text("demonstrations 1")
    names["demonstrations"] = [filed.folder / "renamed"]
    assert stages(filed)["sft"].key == key
    inner = filed.folder / "deep" / "er"
    inner.mkdir(parents=True)
    names["demonstrations"] = [filed.folder / "deep"]
    keys = [stages(filed)["sft"].key]
    for name in ("a", "b"):
        (inner / name).write_text("1")
        keys.append(stages(filed)["sft"].key)
    (inner / "b").rename(inner / "c")
    keys.append(stages(filed)["sft"].key)
    assert len(set(keys)) == 4


def test_a_file_that_is_not_there_is_named(filed: Filed) -> None:
    (filed.folder / "test.jsonl").unlink()
    with pytest.raises(UserError, match=r"cannot read .*test\.jsonl"):
        stages(filed)


def test_data_that_are_written_to_while_a_run_goes_on_end_it(filed: Filed) -> None:
    """Also where they are as before in the end: another version may have been read."""
    stage = stages(filed)["sft"]
    _check_unchanged(stage)
    file = filed.folder / "demonstrations.jsonl"
    os.utime(file, ns=(0, file.stat().st_mtime_ns + 1))
    with pytest.raises(UserError, match=r"demonstrations\.jsonl changed since the run began: sft"):
        _check_unchanged(stage)
    assert all(file not in other.files for name, other in stages(filed).items() if name != "sft")


@pytest.mark.parametrize("full", ["true", "false"])
def test_sft_alone_reads_the_base(full: str) -> None:
    """Later stages read the SFT model, which is whole: an adapter of SFT is merged into it."""
    weights = Path(Testbed.model_path) / "model.safetensors"
    named = stages(Testbed(), f"sft.full={full}")
    assert {name for name, stage in named.items() if weights in stage.files} == {"sft"}


def in_the_cache(root: Path, sha: str) -> None:
    """The shipped base as a model of the hub, whose `main` is this commit."""
    cache(root, "models--org--base", {"main": sha})
    shutil.copytree(
        Testbed.model_path, root / "models--org--base" / "snapshots" / sha, dirs_exist_ok=True
    )


def test_a_model_of_the_hub_is_keyed_by_its_commit_and_loaded_at_it(hub_cache: Path) -> None:
    """`main` moves on while the run goes on: what was hashed is loaded."""
    settings = config("method=sft", "model.path=org/base")
    in_the_cache(hub_cache, OLD)
    planned, suite = make_plan(settings)
    cache(hub_cache, "models--org--base", {"main": NEW})
    (hub_cache / "models--org--base" / "snapshots" / NEW / "config.json").write_text("broken")
    model = planned.config.model
    assert planned.policy.config["base"] == {"hub": "org/base", "revision": OLD}
    assert model_commit(planned) == OLD
    assert Backbone.load("org/base", model, suite.prompt_template).hidden_size > 0
    assert settings.model.revision is None
    commit.cache_clear()
    later, _ = make_plan(settings)
    assert later.policy.key != planned.policy.key


def test_the_shipped_base_has_no_commit() -> None:
    planned, _ = make_plan(config("method=sft"))
    assert model_commit(planned) is None
