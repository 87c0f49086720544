import json
from pathlib import Path

import pytest

from bench.config.run import RunConfig
from bench.records.files import RecordError, edits, read_record
from bench.records.labels import label as row_label
from bench.records.labels import settings
from bench.records.migrations import (
    MIGRATIONS,
    flat_config_of_3,
    flat_config_of_4,
    label_of_3,
    label_of_4,
    migrate,
    to_2,
    to_3,
    to_4,
)
from bench.records.schema import SCHEMA_VERSION, Record

# Published records, kept here for when `results/` holds newer ones alone.
DATA = Path(__file__).parents[1] / "data"
# What has another default since the run.
SINCE = {
    "sft": ("seed",),
    "preferences": ("pairs", "temperature"),
    "reward_model": ("epochs", "batch_size", "lr"),
    "ppo": ("missing_eos", "batch_size", "minibatch_size", "value_model"),
    "evaluation": ("matched_kl",),
}
RUN, RUN_2 = DATA / "record-schema-1.json", DATA / "record-schema-2.json"


@pytest.fixture
def version_1():
    body = json.loads(RUN.read_text())
    assert body["schema_version"] == 1
    return body


def test_each_older_version_has_a_step():
    assert sorted(MIGRATIONS) == list(range(1, SCHEMA_VERSION))


def test_1_to_2_fills_the_configuration_and_changes_nothing_else(version_1):
    before = json.dumps(version_1, sort_keys=True)
    body = to_2(version_1)
    assert json.dumps(version_1, sort_keys=True) == before
    assert body["schema_version"] == 2
    assert {**body, "config": None, "schema_version": 1} == {**version_1, "config": None}
    for name, value in version_1["config"].items():
        found = body["config"][name]
        inner = value.items() if isinstance(value, dict) else ()
        assert found == value or all(found[key] == v for key, v in inner)
    assert body["config"]["reward"] == {"granularity": "sequence"}


def test_the_values_are_those_that_the_code_had_then(version_1):
    ppo = to_2(version_1)["config"]["ppo"]
    assert (ppo["adam_beta2"], ppo["value_init"]) == (0.98, "reward_trunk")
    assert (ppo["rollout_logprobs"], ppo["merge_rollouts"]) == ("forward", False)


def test_what_is_there_is_kept(version_1):
    version_1["config"]["ppo"]["adam_beta2"] = 0.9
    version_1["config"]["preferences"]["responses"] = 4
    config = to_2(version_1)["config"]
    assert config["ppo"]["adam_beta2"] == 0.9
    assert config["preferences"]["responses"] == 4


def test_the_result_is_todays_record_and_a_whole_configuration(version_1):
    body = migrate(version_1)
    record = Record.model_validate(body)
    assert record.editor is None
    assert record.judge.details == {}
    config = RunConfig.model_validate(record.config)
    # What the record still lacks came later, and has its default.
    assert settings(config.model_dump(mode="json")) == settings(record.config)


def test_todays_record_stays_as_it_is(version_1):
    body = migrate(version_1)
    assert migrate(body) is body


@pytest.mark.parametrize("version", [0, -1, "1", 1.5, None])
def test_an_unknown_version_is_refused(version):
    with pytest.raises(ValueError, match="schema_version: expected a whole number"):
        migrate({"schema_version": version})


def test_a_newer_version_asks_for_an_update():
    with pytest.raises(ValueError, match=r"99 is newer than 5, .* update GrainBench"):
        migrate({"schema_version": 99})


@pytest.mark.parametrize("config", [None, [], "x", {"ppo": None}])
def test_a_configuration_that_is_none_is_left_to_the_schema(config):
    migrated = migrate({"schema_version": 1, "config": config})["config"]
    assert migrated == config or migrated["ppo"] is None


def test_2_to_3_renames_where_token_ppo_is_paid_and_fills_the_configuration():
    old = json.loads(RUN_2.read_text())
    before = json.dumps(old, sort_keys=True)
    new = to_3(old)
    assert json.dumps(old, sort_keys=True) == before
    assert new["config"]["reward"] == {"paid_at": "end"}
    assert new["label"] == "token_ppo paid_at=end"
    assert new["run_id"] == old["run_id"] == "token_ppo-granularity-sequence-s4-e9ba9ac1"
    changed = {"schema_version": 2, "label": old["label"], "config": old["config"]}
    assert new | changed == old
    same = {name: old["config"][name] for name in ("reward", "model")}
    assert new["config"] | same == old["config"] | {"suite_options": {}}
    assert new["config"]["model"] == old["config"]["model"] | {"prompt_max_tokens": None}


def test_the_word_of_another_method_is_its_own():
    old = {"schema_version": 2, "method": "mine", "label": "mine granularity=sequence"}
    reward = {"granularity": "sequence"}
    old["config"] = {"method": "mine", "reward": reward}
    assert to_3(old)["label"] == old["label"]
    assert to_3(old)["config"]["reward"] == reward
    flat = {"method": "mine", "reward.granularity": "sequence"}
    assert flat_config_of_3(flat) == flat
    assert flat_config_of_3(flat | {"method": "token_ppo"}) == {
        "method": "token_ppo",
        "reward.paid_at": "end",
    }


@pytest.mark.parametrize(
    ("label", "now"),
    [
        ("token_ppo", "token_ppo"),
        ("token_ppo loss=eq4", "token_ppo loss=eq4"),
        ("token_ppo granularity=sequence", "token_ppo paid_at=end"),
        ("token_ppo granularity=sequence loss=eq4", "token_ppo loss=eq4 paid_at=end"),
        (
            "token_ppo granularity=sequence [trl-1.12] ppo.lr=0.1",
            "token_ppo paid_at=end [trl-1.12] ppo.lr=0.1",
        ),
        ("token_ppo granularity=sequence [config 3f2a]", "token_ppo paid_at=end [config 3f2a]"),
        ("mine granularity=sequence", "mine granularity=sequence"),
    ],
)
def test_a_label_reads_as_todays_code_would_write_it(label, now):
    assert label_of_3(label) == now


def test_the_new_label_is_that_of_a_run_with_the_migrated_configuration():
    """But for what has another default since: today's label of such a run would name it."""
    record = read_record(RUN_2)
    today = RunConfig().model_dump()
    config = {
        name: value | {field: today[name][field] for field in SINCE.get(name, ())}
        if isinstance(value, dict)
        else value
        for name, value in record.config.items()
    }
    assert record.label == row_label(RunConfig.model_validate(config))


def test_the_digest_of_schema_2_is_still_verified(tmp_path):
    text = RUN_2.read_text()
    path = tmp_path / "record.json"
    path.write_text(text)
    assert edits(path) == []
    assert read_record(path).schema_version == 5
    path.write_text(text.replace("granularity=sequence", "granularity=token"))
    with pytest.raises(RecordError, match="label: edited or removed"):
        read_record(path)


def test_3_to_4_moves_what_is_about_edits_into_its_section():
    preferences = {"pairs": 3, "editor": "claude", "max_missing": 0.5, "miss": 0.2}
    old = {
        "schema_version": 3,
        "label": "token_ppo loss=eq4 preferences.editor=claude preferences.pairs=3",
        "run_id": "a",
        "config": {"preferences": preferences, "evaluation": {"greedy": True, "samples": 2}},
    }
    before = json.dumps(old, sort_keys=True)
    new = to_4(old)
    assert json.dumps(old, sort_keys=True) == before
    assert new["label"] == "token_ppo loss=eq4 edits.source=claude preferences.pairs=3"
    assert new["run_id"] == "a"
    assert new["config"] == {
        "preferences": {"pairs": 3, "source": "auto"},
        "edits": {
            "source": "claude",
            "max_missing": 0.5,
            "miss": 0.2,
            "max_changed": None,
            "always_allowed": 4,
        },
        "evaluation": {"greedy": True, "samples": 2, "validation": "judge"},
    }
    flat = {"preferences.editor": None, "preferences.miss": 0.1, "ppo.lr": 1.0}
    moved = {"edits.source": "auto", "edits.miss": 0.1, "ppo.lr": 1.0}
    assert flat_config_of_4(flat) == flat_config_of_4(moved) == moved


def test_a_migrated_configuration_is_the_run_that_it_was():
    """What schema 4 renames is no other run: of the defaults nothing is in the hash."""
    record = read_record(RUN_2)
    config = RunConfig.model_validate(record.config)
    assert config.edits == RunConfig().edits
    assert config.preferences.source == "auto"
    assert "editor" not in record.config["preferences"]


@pytest.mark.parametrize(
    ("label", "now"),
    [
        ("token_ppo", "token_ppo"),
        ("token_ppo loss=eq4 ppo.lr=0.1", "token_ppo loss=eq4 ppo.lr=0.1"),
        ("token_ppo preferences.miss=0.2", "token_ppo edits.miss=0.2"),
        (
            "token_ppo [trl-1.12] lora.r=2 preferences.editor=claude",
            "token_ppo [trl-1.12] edits.source=claude lora.r=2",
        ),
        ("token_ppo [config 3f2a]", "token_ppo [config 3f2a]"),
    ],
)
def test_a_label_of_schema_3_reads_as_todays_code_would_write_it(label, now):
    assert label_of_4(label) == now
