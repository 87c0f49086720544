import json
from pathlib import Path

import pytest

from bench.config.run import RunConfig
from bench.records.migrations import MIGRATIONS, migrate, to_2
from bench.records.schema import SCHEMA_VERSION, Record

# A published record, kept here for when `results/` holds newer ones alone.
RUN = Path(__file__).parents[1] / "data" / "record-schema-1.json"


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
    assert config.model_dump(mode="json") == record.config


def test_todays_record_stays_as_it_is(version_1):
    body = migrate(version_1)
    assert migrate(body) is body


@pytest.mark.parametrize("version", [0, -1, "1", 1.5, None])
def test_an_unknown_version_is_refused(version):
    with pytest.raises(ValueError, match="schema_version: expected a whole number"):
        migrate({"schema_version": version})


def test_a_newer_version_asks_for_an_update():
    with pytest.raises(ValueError, match=r"99 is newer than 2, .* update GrainBench"):
        migrate({"schema_version": 99})


@pytest.mark.parametrize("config", [None, [], "x", {"ppo": None}])
def test_a_configuration_that_is_none_is_left_to_the_schema(config):
    migrated = migrate({"schema_version": 1, "config": config})["config"]
    assert migrated == config or migrated["ppo"] is None
