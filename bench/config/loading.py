"""From a preset and `path=value` overrides to a validated `RunConfig`.

Whatever a user can get wrong here - a preset, a section, a key, a value - is answered with a
`UserError` that names it, what is allowed, and the nearest match.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import math
import re
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

import yaml
from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from bench.config.presets import FOLDER, preset_names
from bench.config.run import RunConfig, flatten
from bench.config.section import NoOptions
from bench.errors import UserError, unknown, yaml_problem
from bench.plugins.entries import Registry
from bench.plugins.registry import EDITORS, JUDGES, METHODS, SUITES

# Sections of a plug-in's own options: checked by the plug-in, not here.
PLUGINS: dict[str, Registry[Any]] = {
    "reward": METHODS,
    "judge": JUDGES,
    "editor": EDITORS,
    "suite": SUITES,
}
# The field that holds a section's values. `suite` is the suite's name, and so a field of its own.
FIELDS = {section: section for section in PLUGINS} | {"suite": "suite_options"}


class _Loader(yaml.SafeLoader):
    """YAML 1.1 with two of YAML 1.2's ways, and no key twice.

    1e-4 is a number (in 1.1 it needs a dot and a signed exponent). Of the words for true and false
    only these two are taken: `no` and `off` are values of ours.
    """

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """A mapping; the second of two equal keys would silently win.

        Raises:
            ConstructorError: a key comes twice; names its line.
        """
        found: dict[Any, Any] = super().construct_mapping(node, deep=deep)
        if len(found) < len(node.value):
            seen = set()
            for key_node, _ in node.value:
                key = self.construct_object(key_node, deep=True)
                if key in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"the key {key!r} comes twice", key_node.start_mark
                    )
                seen.add(key)
        return found


_Loader.yaml_implicit_resolvers = {
    letter: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:bool"]
    for letter, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d[\d_]*(\.[\d_]*)?|\.\d[\d_]*)[eE][-+]?\d+$"),
    list("-+.0123456789"),
)


@dataclass(frozen=True)
class FieldDoc:
    """What a user is told about one field of the configuration."""

    path: str
    expected: str
    value: Any
    description: str


def load_config(
    preset: str = "testbed", overrides: list[str] | None = None, **direct: Any
) -> RunConfig:
    """Build the configuration of a run.

    Args:
        preset: name of a file in `bench/config/presets` without its ending, or the path of a YAML
            file.
        overrides: `path=value` strings, as "ppo.lr=1e-4"; values are YAML.
        **direct: top-level fields (method, suite, seed) by name; None leaves the preset's value.

    Raises:
        UserError: naming the preset, key or value that is wrong, and what is allowed.
    """
    values = _preset(preset_path(preset))
    given = {"preset": preset} | {key: value for key, value in direct.items() if value is not None}
    _merge(values, given)
    for override in overrides or []:
        keys, value = parse_override(override)
        if keys[0] in given:
            raise UserError(f"--set {override}: {keys[0]} has an option of its own, --{keys[0]}")
        _merge(values, _nest(keys, value))
    return _validate(values)


def preset_path(preset: str) -> Path:
    """Find the file of a preset given by name or by path.

    Raises:
        UserError: there is no such preset.
    """
    if preset.endswith((".yaml", ".yml")):
        return Path(preset)
    if preset not in preset_names():
        raise UserError(unknown("preset", preset, preset_names()) + "; or give a .yaml file's path")
    return FOLDER / f"{preset}.yaml"


def config_sha(config: RunConfig) -> str:
    """Hash a configuration: equal values, equal hash, in whatever order and file they stood.

    Of the values that are not the defaults, so that a field which the harness gets later changes no
    hash: the same run then still has its folder, and is compared bit for bit with its record.
    """
    usual = flatten(RunConfig().model_dump(mode="json"))
    values = flatten(config.model_dump(mode="json", exclude={"preset"}))
    own = {key: value for key, value in values.items() if value != usual.get(key)}
    text = json.dumps(own, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def describe(config: RunConfig | None = None, section: str | None = None) -> list[FieldDoc]:
    """List every field with what it may be, its value in `config` (or its default) and its meaning.

    Raises:
        UserError: there is no such section.
    """
    config = config or RunConfig()
    docs = list(_walk(config, ""))
    if section is None:
        return docs
    found = [doc for doc in docs if doc.path == section or doc.path.startswith(f"{section}.")]
    if not found:
        raise UserError(unknown("section", section, RunConfig.model_fields))
    return found


def typed(value: Any) -> str:
    """A value as `--set` takes it: null, true, [a, b]; a text as it is, or quoted if it must be."""
    if isinstance(value, str):
        try:
            plain = yaml.load(value, Loader=_Loader) == value
        except yaml.YAMLError:
            plain = False
        return value if plain else json.dumps(value, ensure_ascii=False)
    if isinstance(value, list):
        return f"[{', '.join(map(typed, value))}]"
    return json.dumps(value)


def plugin_name(config: RunConfig, section: str) -> str | None:
    """Name of the plug-in whose options are in `section`; None where there is no plug-in."""
    names = {
        "reward": config.method,
        "judge": config.evaluation.judge,
        "editor": config.edits.editor,
        "suite": config.suite,
    }
    return names[section]


def given_options(config: RunConfig, section: str) -> dict[str, Any]:
    """The options that the configuration has for a plug-in, not validated."""
    given: dict[str, Any] = getattr(config, FIELDS[section])
    return given


def plugin_options(config: RunConfig, section: str) -> Any:
    """Validate the own options of the method ("reward"), "judge", "editor" or "suite".

    Raises:
        UserError: the plug-in cannot be loaded, an option is wrong, or there is no plug-in for it.
    """
    name, given = plugin_name(config, section), given_options(config, section)
    if name is None:
        if given:
            raise UserError(f"{section}.{next(iter(given))}: no {section} is chosen")
        return NoOptions()
    plugin = PLUGINS[section].get(name)
    return named_options(plugin, given, f"{PLUGINS[section].kind} {name}", section)


def load_suite(config: RunConfig) -> Any:
    """The configured suite, made with its options.

    Raises:
        UserError: it cannot be loaded, or an option is wrong.
    """
    return SUITES.get(config.suite)(plugin_options(config, "suite"))


def judge_options(config: RunConfig, name: str) -> Any:
    """Options of the judge `name`: the configured ones if it is the configured judge, else its own.

    Raises:
        UserError: as `plugin_options`.
    """
    if name == config.evaluation.judge:
        return plugin_options(config, "judge")
    return named_options(JUDGES.get(name), {}, f"judge {name}", "judge")


def named_options(plugin: Any, given: dict[str, Any], who: str, section: str) -> Any:
    """Validate options for a plug-in; `who` and `section` are for the error's line.

    Raises:
        UserError: an option is wrong.
    """
    try:
        return plugin.Options(**given)
    except ValidationError as error:
        message = validation_message(error, plugin.Options, f"{section}.")
        raise UserError(f"{who}: {message}") from error


def describe_options(config: RunConfig, section: str) -> list[FieldDoc]:
    """List a plug-in's own options, as `describe` does.

    Raises:
        UserError: as `plugin_options`.
    """
    return list(_walk(plugin_options(config, section), f"{section}."))


def parse_options(overrides: list[str], section: str) -> dict[str, Any]:
    """The values of "section.key=value" strings.

    Raises:
        UserError: one is of another section, or is no such string.
    """
    values: dict[str, Any] = {}
    for override in overrides:
        keys, value = parse_override(override)
        if keys[0] != section or len(keys) < 2:
            raise UserError(f"--set {override}: only {section}.NAME=VALUE has a meaning here")
        _merge(values, _nest(keys[1:], value))
    return values


def validation_message(error: ValidationError, model: type[BaseModel], prefix: str = "") -> str:
    """Say in one line which field's value is wrong, what is allowed, and what was given.

    Args:
        error: what pydantic raised.
        model: the model that was validated.
        prefix: path of the model in the configuration, as "reward.".
    """
    first = error.errors()[0]
    keys = [str(part) for part in first["loc"]]
    holder, name = field_owner(model, keys)
    if name is not None and first["type"] == "extra_forbidden":
        return _unknown_key(holder, name, (prefix + ".".join(keys[:-1])).rstrip("."))
    if name is None or name not in holder.model_fields:
        if first["type"] == "value_error":  # a section's own check, of several of its fields
            return f"{prefix}{'.'.join(keys)}: {first['ctx']['error']}"
        return f"{prefix}{'.'.join(keys)}: {first['msg']} (given: {first['input']!r})"
    depth = next(i for i, key in enumerate(keys) if key == name) + 1
    field = holder.model_fields[name]
    if first["type"] == "missing":
        return f"{prefix}{'.'.join(keys)} has to be given: {field.description}"
    if len(keys) > depth and get_origin(field.annotation) is dict:  # an entry of a mapping
        return f"{prefix}{'.'.join(keys)}: {first['msg']} (given: {first['input']!r})"
    why = f", {first['ctx']['error']}" if first["type"] == "value_error" else ""
    return (
        f"{prefix}{'.'.join(keys[:depth])} must be {_expected(field)}{why}, "
        f"given: {first['input']!r} ({field.description})"
    )


def _preset(path: Path) -> dict[str, Any]:
    """The values of a preset's file, over those of the preset that it `extends`, if it does.

    Only one that comes with GrainBench can be extended, so that no file leads back to itself.
    """
    values = _read(path)
    below = values.pop("extends", None)
    _check_keys(values, str(path))
    if below is None:
        return values
    if below not in preset_names():
        raise UserError(f"{path}: extends: {unknown('preset', str(below), preset_names())}")
    whole = _preset(FOLDER / f"{below}.yaml")
    _merge(whole, values)
    return whole


def _read(path: Path) -> dict[str, Any]:
    try:
        values = deepcopy(_loaded(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read the preset {path}: {error}") from error
    except yaml.YAMLError as error:
        raise UserError(f"{path} is not YAML: {yaml_problem(error)}") from error
    if not values:
        raise UserError(f"{path} is empty: expected `section:` lines, or `extends: PRESET`")
    if not isinstance(values, dict):
        raise UserError(f"{path}: expected `section:` lines, found {type(values).__name__}")
    return values


@cache
def _loaded(text: str) -> Any:
    """What a YAML text holds; the same preset is asked for with every label."""
    return yaml.load(text, Loader=_Loader)


def parse_override(override: str) -> tuple[list[str], Any]:
    """The keys and the value of "path=value".

    Raises:
        UserError: it is no such text, its value is not YAML, or there is no such key.
    """
    path, equals, text = override.partition("=")
    if not equals or not path.strip():
        raise UserError(f"--set {override}: expected path=value, as in --set ppo.lr=1e-4")
    if not text.strip():
        raise UserError(f"--set {override}: the value is empty; null means none, '' an empty text")
    try:
        value = yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        raise UserError(
            f"--set {override}: the value is not YAML (quote it?): {yaml_problem(error)}"
        ) from error
    keys = path.strip().split(".")
    if keys[0] == "suite" and (len(keys) > 1 or isinstance(value, dict)):
        keys[0] = FIELDS["suite"]
    _check_keys(_nest(keys, value), f"--set {override}")
    return keys, value


def _nest(keys: list[str], value: Any) -> dict[str, Any]:
    nested = value
    for key in reversed(keys):
        nested = {key: nested}
    return dict(nested)


def _merge(into: dict[str, Any], new: dict[str, Any]) -> None:
    for key, value in new.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = value


def _check_keys(
    values: dict[str, Any], where: str, model: type[BaseModel] = RunConfig, prefix: str = ""
) -> None:
    """Refuse keys that `model` lacks, and what is no section where one is expected."""
    for key, value in values.items():
        if key not in model.model_fields:
            raise UserError(f"{where}: {_unknown_key(model, str(key), prefix.rstrip('.'))}")
        section = _section(model.model_fields[key])
        if section is None:
            if isinstance(value, dict) and key not in FIELDS.values():
                raise UserError(f"{where}: {prefix}{key} is a value, it has no keys of its own")
        elif isinstance(value, dict):
            _check_keys(value, where, section, f"{prefix}{key}.")
        else:
            keys = ", ".join(section.model_fields)
            raise UserError(f"{where}: {prefix}{key} is a section; set one of its keys ({keys})")
        if isinstance(value, float) and not math.isfinite(value):
            raise UserError(f"{where}: {prefix}{key} must be finite, given: {value}")


def _unknown_key(model: type[BaseModel], key: str, section: str) -> str:
    """Name the nearest key: of the section, or else the same one or the nearest of another.

    A key that the section had under this name is not guessed at: the section says what it is now.
    """
    if now := getattr(model, "renamed", {}).get(key):
        moved = "." in now.split()[0]
        return f"{section}.{key} is now {now if moved else f'{section}.{now}'}"
    leaves = {doc.path.split(".")[-1]: doc.path for doc in describe() if "." in doc.path}
    near = difflib.get_close_matches(key, model.model_fields, n=1, cutoff=0.6)
    hint = [".".join(filter(None, [section, match])) for match in near]
    if key in leaves:
        hint = [leaves[key]]
    elif not hint:
        hint = [leaves[match] for match in difflib.get_close_matches(key, leaves, n=1, cutoff=0.6)]
    suggestion = f"; did you mean {hint[0]}?" if hint else ""
    kind = f"key of {section}" if section else "key"
    valid = ", ".join(model.model_fields) or "none"
    return f"no {kind} is named {key!r}{suggestion} (valid: {valid})"


def _validate(values: dict[str, Any]) -> RunConfig:
    try:
        return RunConfig.model_validate(values)
    except ValidationError as error:
        raise UserError(validation_message(error, RunConfig)) from error


def field_owner(model: type[BaseModel], keys: list[str]) -> tuple[type[BaseModel], str | None]:
    """Return the model that holds the last field on the path `keys`, and that field's name."""
    name = None
    for key in keys:
        name = key
        field = model.model_fields.get(key)
        section = _section(field) if field else None
        if section is None:
            break
        model = section
    return model, name


def _section(field: FieldInfo) -> type[BaseModel] | None:
    kind = field.annotation
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def _walk(config: BaseModel, prefix: str) -> Iterator[FieldDoc]:
    for name, field in type(config).model_fields.items():
        value = getattr(config, name)
        if isinstance(value, BaseModel):
            yield from _walk(value, f"{prefix}{name}.")
        else:
            yield FieldDoc(f"{prefix}{name}", _expected(field), value, field.description or "")


_NAMES = {
    int: "an integer",
    float: "a number",
    str: "text",
    bool: "true or false",
    dict: "a mapping",
}
_BOUNDS = ((Gt, "gt", ">"), (Ge, "ge", ">="), (Lt, "lt", "<"), (Le, "le", "<="))


def _expected(field: FieldInfo) -> str:
    """Put type and range of a field into words: "a number > 0"."""
    bounds = [
        f"{sign} {getattr(limit, attribute):g}"
        for kind, attribute, sign in _BOUNDS
        for limit in field.metadata
        if isinstance(limit, kind)
    ]
    return " ".join([_type_name(field.annotation), " and ".join(bounds)]).strip()


def _type_name(kind: Any) -> str:
    origin, parts = get_origin(kind), get_args(kind)
    if kind is type(None):
        return "null"
    if origin is Literal:
        return ("one of " if len(parts) > 1 else "") + ", ".join(map(str, parts))
    if origin is list:
        return "a list of " + _type_name(parts[0])
    if origin is Union or str(origin) == "<class 'types.UnionType'>":
        return " or ".join(_type_name(part) for part in parts)
    return _NAMES.get(origin or kind, getattr(kind, "__name__", str(kind)))
