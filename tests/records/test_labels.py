"""What a run is called, by its values and not by where they were written."""

from pathlib import Path

import pytest

from bench.config.loading import config_sha, load_config
from bench.config.presets import FOLDER, preset_names
from bench.config.run import RunConfig
from bench.records.files import PUBLISHED, find_runs
from bench.records.labels import label, names_differences, run_id, settings
from bench.running import launch

# The two defaults of suites, one that differs from its suite's in a single value, and those that
# need a file of the user's.
UNLIKE = {"testbed", "paper", "paper-fast", "real-edits", "real-pairs"}


def configured(*overrides: str, preset: str = "testbed", method: str = "token_ppo") -> RunConfig:
    (config,) = launch.configurations(
        method, suite=None, preset=preset, seed=None, seeds=None, overrides=list(overrides)
    )
    return config


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ([], "token_ppo"),
        (["reward.loss=eq3", "ppo.lr=8e-4"], "token_ppo"),  # their defaults
        (["reward.loss=eq4"], "token_ppo loss=eq4"),
        (["ppo.lr=4e-4", "ppo.whiten_advantages=false"],
         "token_ppo ppo.lr=0.0004 ppo.whiten_advantages=false"),
        (["model.path=/home/somebody/models/tiny"], "token_ppo model.path=tiny"),
        (["sft.path=/home/somebody/models/tuned"], "token_ppo sft.path=tuned"),
        (["lora.target_modules=[q_proj, v_proj]"], "token_ppo lora.target_modules=q_proj,v_proj"),
        (["model.device=cpu"], "token_ppo"),
        (["edits.source=claude", "editor.max_usd=5"], "token_ppo edits.source=claude"),
    ],
)  # fmt: skip
def test_a_label_is_what_differs_from_the_default_preset(overrides: list[str], said: str) -> None:
    assert label(configured(*overrides)) == said


def test_an_option_at_its_default_is_the_same_run() -> None:
    assert run_id(configured("reward.loss=eq3")) == run_id(configured())


def test_a_file_with_the_values_of_a_preset_is_the_same_row(tmp_path: Path) -> None:
    for name in ("testbed", "instructgpt"):
        copy = tmp_path / f"my {name}.yaml"
        copy.write_text((FOLDER / f"{name}.yaml").read_text())
        mine, theirs = configured(preset=str(copy)), configured(preset=name)
        assert label(mine) == label(theirs)
        assert config_sha(mine) == config_sha(theirs)
        assert settings(mine.model_dump(mode="json")) == settings(theirs.model_dump(mode="json"))


@pytest.mark.parametrize("preset", sorted(set(preset_names()) - UNLIKE))
def test_a_preset_that_differs_much_is_named(preset: str) -> None:
    assert label(configured(preset=preset)) == f"token_ppo [{preset}]"
    changed = configured("ppo.steps=7", "reward.loss=eq4", preset=preset)
    assert label(changed) == f"token_ppo loss=eq4 [{preset}] ppo.steps=7"


def test_a_preset_that_needs_a_file_is_named_with_it() -> None:
    needed = {"real-edits": "suite.feedback", "real-pairs": "suite.annotations"}
    for preset, option in needed.items():
        said = label(configured(f"{option}=/home/somebody/rows.json", preset=preset))
        assert said == f"token_ppo [{preset}] {option}=rows.json"


def test_a_preset_one_value_from_its_suites_default_is_that_value() -> None:
    assert label(configured(preset="paper-fast")) == "token_ppo ppo.value_model=shared"


def test_many_other_differences_are_a_hash_of_the_values(tmp_path: Path) -> None:
    changes = ["sft.steps=7", "sft.batch_size=2", "sft.lr=1e-4", "reward_model.lr=1e-4"]
    said = label(configured(*changes))
    assert said.startswith("token_ppo [config ")
    file = tmp_path / "mine.yaml"
    file.write_text("sft: {steps: 7, batch_size: 2, lr: 1e-4}\nreward_model: {lr: 1e-4}\n")
    assert label(configured(preset=str(file))) == said
    assert label(configured(*changes, "ppo.steps=7")) != said


def test_a_folder_has_no_odd_letter_and_no_endless_name() -> None:
    config = configured("reward.loss=eq4", "model.path=" + "a/" * 9 + "b\u00fc:c" * 50)
    name = run_id(config)
    assert name.isascii()
    assert not set(name) & set(" /:=[]")
    assert len(name) < 120
    assert name.endswith(f"-s0-{config_sha(config)[:8]}")


def test_the_published_rows_have_the_names_that_their_values_have_today() -> None:
    runs, _ = find_runs(PUBLISHED)
    assert len(runs) >= 40
    for record, _folder in runs:
        assert label(RunConfig.model_validate(record.config)) == record.label


def test_the_testbeds_published_rows_differ_in_the_method_alone() -> None:
    """But for two that ask what a setting of PPO-RLHF does."""
    runs, _ = find_runs(PUBLISHED / "testbed")
    assert len(runs) >= 40
    others = {record.label for record, _folder in runs if names_differences(record.label)}
    assert others == {"ppo_rlhf preferences.responses=4", "ppo_rlhf ppo.ptx_coef=0.1"}


def test_a_record_without_a_section_that_others_read_keeps_its_name() -> None:
    """A preset has values for methods without a rollout, of which a record of PPO has none."""
    whole = configured(preset="smollm2")
    assert whole.offline != RunConfig().offline
    recorded = RunConfig.model_validate(whole.model_dump(exclude={"offline"}))
    assert label(recorded) == label(whole) == "token_ppo [smollm2]"
    other = configured("offline.lr=1e-4", preset="smollm2")
    assert label(other) == "token_ppo [smollm2] offline.lr=0.0001"


def test_which_labels_say_that_more_than_the_method_differs() -> None:
    assert not names_differences("token_ppo loss=eq4")
    assert names_differences("token_ppo ppo.lr=0.1")
    assert names_differences("token_ppo [instructgpt]")


def test_every_preset_file_is_read_whatever_its_name(tmp_path: Path) -> None:
    config = load_config(str(FOLDER / "testbed.yaml"), method="sft")
    assert label(config) == "sft"
