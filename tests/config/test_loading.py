"""From preset and overrides to a configuration, and what is said about each mistake."""

from pathlib import Path

import pytest
from pydantic import Field, ValidationError

from bench.config.loading import (
    config_sha,
    describe,
    load_config,
    plugin_options,
    preset_path,
    typed,
    validation_message,
)
from bench.config.presets import FOLDER, preset_names
from bench.config.run import RunConfig
from bench.config.section import Section
from bench.errors import UserError


def test_every_preset_is_valid() -> None:
    assert {"testbed", "alpacafarm"} <= set(preset_names())
    for name in preset_names():
        assert load_config(name).preset == name


def test_the_testbed_preset_names_every_field_and_agrees_with_the_defaults() -> None:
    assert load_config("testbed") == RunConfig()
    text = (FOLDER / "testbed.yaml").read_text()
    for doc in describe():
        section, _, leaf = doc.path.partition(".")
        if leaf:
            assert f"{section}:\n" in text
            assert f"  {leaf}: " in text, doc.path


def test_overrides_are_typed_and_merged() -> None:
    config = load_config(
        "testbed",
        [
            "ppo.lr=1e-4",
            "sft.full=false",
            "ppo={steps: 3, epochs: 2}",
            "reward.paid_at=end",
        ],
        method="sft",
        seed=3,
        suite=None,
    )
    assert (config.ppo.lr, config.ppo.steps, config.ppo.epochs) == (1e-4, 3, 2)
    assert config.ppo.batch_size == load_config("testbed").ppo.batch_size
    assert (config.method, config.seed, config.suite) == ("sft", 3, "testbed")
    assert config.reward == {"paid_at": "end"}
    assert config.sft.full is False


@pytest.mark.parametrize("number", ["1e-4", "1E-4", "1.e-4", "0.0001", ".1e-3", "1e-04"])
def test_every_way_to_write_a_float_is_a_number(number: str) -> None:
    assert load_config("testbed", [f"ppo.lr={number}"]).ppo.lr == 1e-4
    assert load_config("testbed", [f"reward.x={number}"]).reward == {"x": 1e-4}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("ppo.lrr=1", r"no key of ppo is named 'lrr'; did you mean ppo.lr\? \(valid: steps,"),
        ("pp.lr=1", r"no key is named 'pp'; did you mean ppo\?"),
        ("kl_coeff=1", r"did you mean ppo.kl_coef\?"),
        ("ppo.lr", r"expected path=value"),
        ("=1", r"expected path=value"),
        ("ppo.lr=-1", r"ppo.lr must be a number > 0, given: -1 \(policy learning rate"),
        ("ppo.lr=abc", r"ppo.lr must be a number > 0, given: 'abc'"),
        ("preferences.flip=.9", r"a number >= 0 and <= 0.5, given: 0.9"),
        ("ppo.kl_kind=k5", r"one of k1, k2, k3, k1_clamped, given: 'k5'"),
        ("ppo=3", r"ppo is a section; set one of its keys"),
        ("ppo.lr.x=3", r"ppo.lr is a value, it has no keys"),
        ("ppo.lr=.nan", r"ppo.lr must be finite"),
        ("ppo.lr=.inf", r"ppo.lr must be finite"),
        ("ppo.lr=[", r"not YAML \(quote it\?\): line 1, column"),
        ("ppo={lr: 1, lr: 2}", r"line 1, column 9: the key 'lr' comes twice"),
        ("model.path=", r"the value is empty; null means none"),
        ("sft.epochs=3", r"sft: give one of steps and epochs, .* \(given: steps 150, epochs 3\)$"),
        ("seed=4", r"option of its own, --seed"),
        ("reward=3", r"reward must be a mapping, given: 3"),
        ("lora.target_modules=3", r"all-linear or a list of text, given: 3"),
    ],
)
def test_a_mistake_is_answered_in_one_line(override: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        load_config("testbed", [override], seed=1)
    assert "\n" not in str(error.value)
    assert error.value.exit_code == 2


@pytest.mark.parametrize("preset", preset_names())
def test_what_is_shown_can_be_typed(preset: str) -> None:
    config = load_config(preset)
    for doc in describe(config):
        if "." in doc.path:
            again = load_config(preset, [f"{doc.path}={typed(doc.value)}"])
            (same,) = [other for other in describe(again) if other.path == doc.path]
            assert same.value == doc.value, doc.path


@pytest.mark.parametrize("word", ["no", "off", "yes", "on", "n"])
def test_only_true_and_false_are_true_and_false(word: str) -> None:
    if word == "no":
        assert load_config("testbed", ["ppo.whiten_rewards=no"]).ppo.whiten_rewards == "no"
    else:
        with pytest.raises(UserError, match=f"one of no, scale, shift, given: '{word}'"):
            load_config("testbed", [f"ppo.whiten_rewards={word}"])


@pytest.mark.parametrize("number", ["inf", ".inf", "-.inf", "nan", ".nan", "1e999", "Infinity"])
@pytest.mark.parametrize("field", ["ppo.lr", "ppo.stop_kl", "sft.lr", "evaluation.temperature"])
def test_a_number_is_finite_however_it_is_written(field: str, number: str) -> None:
    with pytest.raises(UserError, match=rf"{field} must be"):
        load_config("testbed", [f"{field}={number}"])


@pytest.mark.parametrize("field", ["ppo.steps", "ppo.lr", "ppo.microbatch_size", "ppo.stop_kl"])
@pytest.mark.parametrize("value", ["true", "false"])
def test_true_is_no_number(field: str, value: str) -> None:
    with pytest.raises(UserError, match=f"{field} must be an? (integer|number).*given: "):
        load_config("testbed", [f"{field}={value}"])


@pytest.mark.parametrize("field", ["ppo.steps", "sft.demonstrations", "lora.r", "sft.epochs"])
def test_a_count_that_no_run_gets_through_is_refused(field: str) -> None:
    with pytest.raises(UserError, match=f"{field} must be an integer.*, at most 2147483647, given"):
        load_config("testbed", [f"{field}={10**23}"])
    assert load_config("testbed", [f"sft.seed={10**12}"]).sft.seed == 10**12


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty: expected `section:` lines"),
        ("# nothing\n", "is empty"),
        ("ppo:\n  lr: 1e-4\n  lr: 2e-4\n", "line 3, column 3: the key 'lr' comes twice"),
        ("ppo:\n  lr: 1e-4\nppo:\n  steps: 3\n", "line 3, column 1: the key 'ppo' comes twice"),
        ("- ppo\n", "expected `section:` lines, found list"),
    ],
)
def test_a_preset_that_says_nothing_or_twice_is_refused(
    text: str, said: str, tmp_path: Path
) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    with pytest.raises(UserError, match=said):
        load_config(str(file))


def test_an_unknown_preset_names_the_nearest() -> None:
    with pytest.raises(UserError, match=r"unknown preset 'testbet'; did you mean 'testbed'"):
        load_config("testbet")


def test_a_presets_file_may_be_anywhere(tmp_path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("ppo:\n  steps: 7\n")
    assert load_config(str(path)).ppo.steps == 7
    assert preset_path(str(path)) == path
    for text, message in [
        (
            "ppo:\n  stepz: 7\n",
            r"mine.yaml: no key of ppo is named 'stepz'; did you mean ppo.steps",
        ),
        ("- 1\n", "expected `section:` lines"),
        ("a: [\n", "is not YAML"),
    ]:
        path.write_text(text)
        with pytest.raises(UserError, match=message):
            load_config(str(path))
    with pytest.raises(UserError, match="cannot read the preset"):
        load_config(str(tmp_path / "none.yaml"))


def test_the_hash_depends_on_values_alone() -> None:
    plain = config_sha(load_config("testbed"))
    assert config_sha(load_config("testbed", ["ppo.lr=0.0008"])) == plain
    assert config_sha(load_config("testbed", ["ppo.lr=0.0009"])) != plain
    assert config_sha(load_config("testbed", ["reward={a: 1, b: 2}"])) == config_sha(
        load_config("testbed", ["reward={b: 2, a: 1}"])
    )


def test_a_field_that_is_added_changes_no_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a run has otherwise, and whether it is a field, a section or a suite's options."""

    class Grown(RunConfig):
        added: int = 3
        section: dict[str, int] = Field({"a": 1})

    configs = [load_config("testbed", changes) for changes in ([], ["ppo.lr=0.1", "suite.x=1"])]
    before = [config_sha(config) for config in configs]
    monkeypatch.setattr("bench.config.loading.RunConfig", Grown)
    grown = [Grown.model_validate(config.model_dump()) for config in configs]
    assert [config_sha(config) for config in grown] == before
    assert len({*before, config_sha(Grown(added=4)), config_sha(Grown(section={"a": 2}))}) == 4


def test_every_field_is_described() -> None:
    docs = {doc.path: doc for doc in describe()}
    assert all(doc.description and doc.expected for doc in docs.values())
    assert docs["ppo.gamma"].expected == "a number >= 0 and <= 1"
    assert next(iter(describe(section="lora"))).path == "lora.r"
    with pytest.raises(UserError, match="did you mean 'lora'"):
        describe(section="lorra")


@pytest.mark.parametrize(
    ("old", "now"),
    [
        ("preferences.editor=claude", "preferences.editor is now edits.source"),
        ("preferences.miss=0.2", "preferences.miss is now edits.miss"),
        ("preferences.max_missing=0.2", "preferences.max_missing is now edits.max_missing"),
    ],
)
def test_a_field_that_moved_is_answered_with_its_new_place(
    old: str, now: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=now):
        load_config("testbed", [old])
    preset = tmp_path / "mine.yaml"
    section, _, rest = old.partition(".")
    preset.write_text(f"{section}:\n  {rest.replace('=', ': ')}\n")
    with pytest.raises(UserError, match=now):
        load_config(str(preset))


@pytest.mark.parametrize("spelling", ["--set", "a preset's file"])
def test_a_renamed_option_is_answered_with_its_new_name(spelling: str, tmp_path: Path) -> None:
    preset, overrides = "testbed", ["reward.granularity=sequence"]
    if spelling != "--set":
        preset, overrides = str(tmp_path / "mine.yaml"), []
        Path(preset).write_text("reward:\n  granularity: sequence\n")
    config = load_config(preset, overrides, method="token_ppo")
    with pytest.raises(UserError) as error:
        plugin_options(config, "reward")
    assert str(error.value) == (
        "method token_ppo: reward.granularity is now reward.paid_at (its value sequence is now end)"
    )


class Options(Section):
    loss: int = Field(3, ge=3, le=4, description="the equation")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"loss": 5}, "reward.loss must be an integer >= 3 and <= 4, given: 5 (the equation)"),
        ({"los": 3}, "no key of reward is named 'los'; did you mean reward.loss? (valid: loss)"),
    ],
)
def test_a_methods_own_options_are_answered_alike(given: dict[str, int], message: str) -> None:
    with pytest.raises(ValidationError) as error:
        Options(**given)
    assert validation_message(error.value, Options, "reward.") == message


def test_a_field_that_came_later_is_in_a_key_only_where_it_says_something() -> None:
    """So stages of configurations of before have the parts of before in their keys."""
    usual = load_config("testbed")
    names = {"sft": {"path", "epochs", "lr_schedule", "warmup"}}
    names["reward_model"] = {"path", "lr_schedule"}
    names["ppo"] = {"prompt_max_tokens", "warmup_steps", "lr_schedule_steps", "engine"}
    names["ppo"] |= {"engine_url", "engine_folder"}  # which decide nothing, whatever they say
    for section, later in names.items():
        plain = getattr(usual, section)
        assert plain.model_dump().keys() - plain.result_fields().keys() == later
    changed = load_config("testbed", ["sft.warmup=0.1", "ppo.warmup_steps=2"])
    assert changed.sft.result_fields() == usual.sft.result_fields() | {"warmup": 0.1}
    assert changed.ppo.result_fields() == usual.ppo.result_fields() | {"warmup_steps": 2}


def test_a_preset_may_extend_one_that_comes_with_the_project(tmp_path: Path) -> None:
    """A value of its own goes before, the section's others stay; no other file may be extended."""
    path = tmp_path / "mine.yaml"
    path.write_text("extends: alpacafarm\nppo:\n  epochs: 3\n")
    mine, below = load_config(str(path)), load_config("alpacafarm")
    assert mine.preset == str(path)
    assert mine.ppo == below.ppo.model_copy(update={"epochs": 3})
    assert mine.reward_model == below.reward_model
    path.write_text("extends: alpacafram\n")
    with pytest.raises(UserError, match=r"mine.yaml: extends: unknown preset .* mean 'alpacafarm'"):
        load_config(str(path))
    path.write_text(f"extends: {path}\n")
    with pytest.raises(UserError, match="extends: unknown preset"):
        load_config(str(path))


@pytest.mark.parametrize("path", ["/tmp/a: 😀", "é😀 \n newline", "😀", "\u00e9: x"])
def test_what_needs_quotes_keeps_its_characters(path: str) -> None:
    assert load_config("testbed", [f"model.path={typed(path)}"]).model.path == path
