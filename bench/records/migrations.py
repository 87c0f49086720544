"""Records of older schemas, step by step to today's: each step a function of a dict to a dict.

A step is frozen when it is released: it holds the values of its own day, never today's defaults.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import takewhile
from typing import Any

from bench.records.schema import SCHEMA_VERSION

Body = dict[str, Any]

# What a configuration of schema 1 may lack (it grew while the number stayed), with the value that
# the code had then. `rollout_logprobs` and `merge_rollouts` are not today's defaults: those do the
# same sums in another order.
_CONFIG_OF_1: Body = {
    "model": {"prompt_max_tokens": None},
    "judge": {},
    "editor": {},
    "preferences": {"responses": 2, "editor": None, "max_missing": 0.02},
    "reward_model": {"margin": 0.0, "label_smoothing": 0.0, "max_length": 512},
    "ppo": {
        "adam_beta2": 0.98,
        "adam_eps": 1e-8,
        "count_padding": False,
        "kl_error_clip": 1.0,
        "kl_penalty": "reward",
        "lr_schedule": "constant",
        "merge_rollouts": False,
        "microbatch_size": None,
        "minibatch_tokens": None,
        "missing_eos": "subtract",
        "ptx_batch_size": 8,
        "ptx_coef": 0.0,
        "rollout_logprobs": "forward",
        "score_position": "last",
        "stop_kl": None,
        "value_coef": 1.0,
        "value_init": "reward_trunk",
        "value_model": "separate",
        "whiten_rewards": "no",
        "whiten_unbiased": False,
    },
    "evaluation": {"validation_judge": "gold", "max_missing": 0.02},
}


# Likewise of schema 2: prompts were not cut.
_CONFIG_OF_2: Body = {"model": {"prompt_max_tokens": None}, "suite_options": {}}


# Likewise of schema 3, whose pairs and edits came from where the suite had them.
_CONFIG_OF_3: Body = {
    "preferences": {"source": "auto"},
    "edits": {"source": "auto", "max_changed": None, "always_allowed": 4},
    "evaluation": {"validation": "judge", "greedy": True},
}

# Likewise of schema 4: one checkpoint was judged.
_CONFIG_OF_4: Body = {"evaluation": {"matched_kl": None}}

# What schema 4 has moved into the section `edits`, by its dotted name of before.
_MOVED_IN_4 = {
    "preferences.editor": "edits.source",
    "preferences.miss": "edits.miss",
    "preferences.max_missing": "edits.max_missing",
}


def migrate(body: Body) -> Body:
    """Bring a record to today's schema; one without a version is of schema 1.

    Args:
        body: `record.json` without its digest; not changed.

    Raises:
        ValueError: its version is no known one.
    """
    version = body.get("schema_version", 1)
    if not isinstance(version, int) or version < 1:
        raise ValueError(f"schema_version: expected a whole number from 1, found {version!r}")
    if version > SCHEMA_VERSION:
        raise ValueError(
            f"schema_version: {version} is newer than {SCHEMA_VERSION}, the newest that this "
            "GrainBench knows: update GrainBench"
        )
    for step in range(version, SCHEMA_VERSION):
        body = MIGRATIONS[step](body)
    return body


def to_2(body: Body) -> Body:
    """Schema 2 has an editor, the judge's details, and every field of its day's configuration."""
    config = body.get("config")
    filled = _fill(config, _CONFIG_OF_1) if isinstance(config, dict) else config
    return body | {"schema_version": 2, "config": filled}


def to_3(body: Body) -> Body:
    """Schema 3 calls `token_ppo`'s option for where its reward is paid `paid_at`, in labels too.

    It was `granularity`, the word for what a reward model scores. `run_id` and `config_sha` stay:
    they are what the run was called, and its folder with it.
    """
    body = body | {"schema_version": 3}
    config, label = body.get("config"), body.get("label")
    is_renamed = body.get("method") == "token_ppo"
    if isinstance(config, dict):
        body["config"] = config = _fill(config, _CONFIG_OF_2)
        if is_renamed and isinstance(config.get("reward"), dict):
            config["reward"] = _paid_at(config["reward"])
    if is_renamed and isinstance(label, str):
        body["label"] = label_of_3(label)
    return body


def label_of_3(label: str) -> str:
    """The row of schema 3 for one of schema 2: the method's own options, sorted, come first."""
    method, *parts = label.split(" ")
    if method != "token_ppo":
        return label
    own = list(takewhile(lambda part: "." not in part and "=" in part, parts))
    values = _paid_at(dict(part.split("=", 1) for part in own))
    sorted_own = [f"{name}={value}" for name, value in sorted(values.items())]
    return " ".join([method, *sorted_own, *parts[len(own) :]])


def flat_config_of_3(config: Body) -> Body:
    """As `to_3`, of a configuration under dotted names."""
    return _paid_at(config, "reward.") if config.get("method") == "token_ppo" else config


def to_4(body: Body) -> Body:
    """Schema 4 has a section `edits`, with what of `preferences` was about them; in labels too.

    `run_id` and `config_sha` stay, as in `to_3`.
    """
    body = body | {"schema_version": 4}
    config, label = body.get("config"), body.get("label")
    if isinstance(config, dict):
        body["config"] = _fill(_with_edits(config), _CONFIG_OF_3)
    if isinstance(label, str):
        body["label"] = label_of_4(label)
    return body


def to_5(body: Body) -> Body:
    """Schema 5 may have a second checkpoint, at matched KL."""
    config = body.get("config")
    filled = _fill(config, _CONFIG_OF_4) if isinstance(config, dict) else config
    return body | {"schema_version": 5, "config": filled}


def label_of_4(label: str) -> str:
    """The row of schema 4 for one of 3: what differs from a preset is sorted, at its end."""
    parts = label.split(" ")
    moved = [part for part in parts if part.split("=", 1)[0] in _MOVED_IN_4]
    if not moved:
        return label
    first = next(i for i, part in enumerate(parts) if "." in part.split("=", 1)[0] and i > 0)
    renamed = []
    for part in parts[first:]:
        name, equals, value = part.partition("=")
        renamed.append(f"{_MOVED_IN_4.get(name, name)}{equals}{value}")
    return " ".join([*parts[:first], *sorted(renamed)])


def flat_config_of_4(config: Body) -> Body:
    """As `to_4`, of a configuration under dotted names."""
    return {
        _MOVED_IN_4.get(name, name): _source(value) if name == "preferences.editor" else value
        for name, value in config.items()
    }


def _with_edits(config: Body) -> Body:
    """The configuration with its section `edits`, taken out of `preferences`."""
    preferences = config.get("preferences")
    if not isinstance(preferences, dict):
        return config
    dotted = flat_config_of_4({f"preferences.{name}": x for name, x in preferences.items()})
    found: dict[str, Body] = {"preferences": {}, "edits": {}}
    for name, value in dotted.items():
        section, _, key = name.partition(".")
        found[section][key] = value
    edits = config.get("edits")
    return config | found | {"edits": found["edits"] | (edits if isinstance(edits, dict) else {})}


def _source(editor: Any) -> Any:
    """Who edits, by its name; of nobody's name, what the suite has."""
    return "auto" if editor is None else editor


def _paid_at(options: Body, prefix: str = "") -> Body:
    """The options of `token_ppo` with `granularity` as `paid_at`, whose "end" was "sequence"."""
    old = f"{prefix}granularity"
    if old not in options:
        return options
    others = {name: value for name, value in options.items() if name != old}
    value = "end" if options[old] == "sequence" else options[old]
    return others | {f"{prefix}paid_at": value}


def _fill(values: Mapping[str, Any], missing: Mapping[str, Any]) -> Body:
    """`values` and, section by section, what they lack of `missing`."""
    filled = dict(values)
    for name, value in missing.items():
        if value and isinstance(value, dict):
            section = filled.get(name, {})
            filled[name] = _fill(section, value) if isinstance(section, dict) else section
        else:
            filled.setdefault(name, value)
    return filled


MIGRATIONS: dict[int, Callable[[Body], Body]] = {1: to_2, 2: to_3, 3: to_4, 4: to_5}
