"""Several values of one field: which fields take them, how they are written, what is refused."""

import pytest

from bench.config.loading import load_config
from bench.config.sweeping import expand, overrides_of, swept, value_of
from bench.errors import UserError
from bench.records.labels import label
from bench.running import launch


def configured(*overrides: str, method: str = "token_ppo", seeds: str | None = None):
    return launch.configurations(
        method, suite=None, preset="testbed", seed=None, seeds=seeds, overrides=list(overrides)
    )


@pytest.mark.parametrize(
    ("override", "values"),
    [
        ("ppo.lr=1e-4,3e-4", ["1e-4", "3e-4"]),
        ("ppo.lr=[1e-4, 3e-4]", ["0.0001", "0.0003"]),
        ("ppo.lr=1e-4, 3e-4", ["1e-4", "3e-4"]),
        ("sft.microbatch_size=8,null", ["8", "null"]),
        ("evaluation.greedy=true,false", ["true", "false"]),
        ("ppo.whiten_rewards=no,shift", ["no", "shift"]),
        ("reward.loss=eq3,eq4", ["eq3", "eq4"]),
        ("sft.path=[one, other]", ["one", "other"]),
        ("sft.path=['a,b', c]", ["a,b", "c"]),
    ],
)
def test_a_scalar_takes_several_values(override: str, values: list[str]) -> None:
    path = override.partition("=")[0]
    assert expand([override], "testbed", "token_ppo") == [[f"{path}={value}"] for value in values]


@pytest.mark.parametrize(
    "override",
    [
        "sft.path=a,b",  # a text may have a comma
        "model.template='Say, {prompt}'",
        "lora.target_modules=[q_proj, v_proj]",  # a list is one value
        "lora.target_modules=q_proj,v_proj",
        "suite.config=a,b",
        "ppo={lr: 1e-4}",
        "reward.nosuch=1,2",
    ],
)
def test_what_may_hold_a_comma_or_is_a_list_is_one_value(override: str) -> None:
    assert expand([override], "testbed", "token_ppo", suite="jsonl") == [[override]]


def test_the_values_of_two_fields_are_combined() -> None:
    found = expand(["ppo.lr=1,2", "ppo.steps=9", "ppo.kl_coef=3,4"], "testbed")
    assert found == [
        [f"ppo.lr={lr}", "ppo.steps=9", f"ppo.kl_coef={coef}"] for lr in (1, 2) for coef in (3, 4)
    ]


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["ppo.lr=1e-4,.0001"], "--set ppo.lr=1e-4,.0001: .0001 is there twice"),
        (["ppo.lr=1,1.0"], "1.0 is there twice"),
        (["ppo.lr=1e-4,"], "a value is missing between the commas"),
        (["ppo.lr=[1e-4]"], "a list stands for several values"),
        (["ppo.lr=[]"], "a list stands for several values"),
        (["ppo.lr=1,2", "ppo.lr=3"], "--set ppo.lr is given twice"),
        (["ppo.lr=1e-4,x"], "ppo.lr must be a number > 0, given: 'x'"),
        (["ppo.lr=1e-4,-1"], "ppo.lr must be a number > 0, given: -1"),
        (["seed=0,1"], "several seeds are --seeds 0,1"),
        (["method=[sft, token_ppo]"], "several methods are --method a,b"),
        (["suite=[testbed, jsonl]"], "a command has one suite"),
        (["ppo.lrr=1,2"], "did you mean ppo.lr"),
        (["model.device=[cpu, auto]"], "2 values would share the row 'token_ppo'"),
        (["sft.path=[a/model, b/model]"], "2 values would share the row 'token_ppo sft.path=mod"),
        ([f"ppo.{name}={','.join(map(str, range(1, 34)))}" for name in ("lr", "kl_coef")], "1,089"),
    ],
)
def test_a_mistaken_sweep_is_refused(overrides: list[str], said: str) -> None:
    with pytest.raises(UserError) as caught:
        configured(*overrides)
    assert said in str(caught.value)


def test_seeds_and_methods_count_among_the_runs() -> None:
    with pytest.raises(UserError, match="that would be 1,200 runs, at most 1,000"):
        configured("ppo.lr=1e-4,3e-4", method="sft,token_ppo", seeds="0-299")


def test_every_run_of_a_sweep_has_a_title_and_a_row_of_its_own() -> None:
    """The default's value among them, whose label is the method's name alone."""
    configs = configured("ppo.lr=8e-4,3e-4", "reward.loss=eq3,eq4", seeds="0,1")
    fields = swept(configs)
    assert fields == ["ppo.lr", "reward.loss"]
    assert len({launch.title(config, fields) for config in configs}) == len(configs) == 8
    rows = {label(config): {config.ppo.lr} | {value_of(config, fields[1])} for config in configs}
    assert rows == {
        "token_ppo": {8e-4, "eq3"},
        "token_ppo loss=eq4": {8e-4, "eq4"},
        "token_ppo ppo.lr=0.0003": {3e-4, "eq3"},
        "token_ppo loss=eq4 ppo.lr=0.0003": {3e-4, "eq4"},
    }
    assert launch.count(configs) == "8 runs: 2 seeds x 2 values of ppo.lr x 2 values of reward.loss"


def test_methods_differ_in_their_own_options_without_a_sweep() -> None:
    one = load_config(method="token_ppo", overrides=["reward.loss=eq4"])
    assert swept([one, load_config(method="sft")]) == []


def test_a_run_of_a_sweep_is_a_command_line_with_its_own_values() -> None:
    given = ["ppo.steps=9", "ppo.lr=8e-4,3e-4", "sft.path=['a,b', null]"]
    configs = configured(*given)
    fields = swept(configs)
    own = [overrides_of(config, given, fields) for config in configs]
    again = [configured(*overrides) for overrides in own]
    assert [one for (one,) in again] == configs
    assert all(line[0] == "ppo.steps=9" and len(line) == 3 for line in own)


def test_without_several_values_nothing_is_read() -> None:
    assert expand(["ppo.lr=1e-4"], "no such preset") == [["ppo.lr=1e-4"]]
    assert swept([load_config(method="sft"), load_config(method="token_ppo")]) == []
