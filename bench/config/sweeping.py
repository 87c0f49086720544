"""Several values of one field: `--set ppo.lr=1e-4,3e-4` stands for a run with each.

The field's type says whether a comma parts values. A number, a truth value or a choice has no comma
of its own, so that there it does; a text may have one, so that several texts are a YAML list,
`[a, b]`, which any such field takes. A field that is itself a list, or may be one, has one value.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Collection, Sequence
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin

from bench.config.loading import (
    FIELDS,
    PLUGINS,
    field_owner,
    load_config,
    parse_override,
    plugin_name,
    plugin_options,
    typed,
)
from bench.config.run import RunConfig, flatten
from bench.errors import UserError

MOST_RUNS = 1000  # more are a slip of the keyboard
_ELSEWHERE = {
    "seed": "several seeds are --seeds 0,1",
    "method": "several methods are --method a,b",
    "suite": "a command has one suite, --suite NAME",
    "preset": "a command has one preset, --preset NAME",
}
_TEXTS = {str, Path}
_SCALARS = {int, float, bool, NoneType} | _TEXTS
_SPELLED = {f"{field}.": f"{section}." for section, field in FIELDS.items() if section != field}


def expand(
    overrides: Sequence[str], preset: str, method: str | None = None, suite: str | None = None
) -> list[list[str]]:
    """The overrides of each combination of values, the last field's the quickest to change.

    Args:
        overrides: "path=value", of which some have several values.
        preset: of the run, as are the other two; they say whose options `reward.x` are, say.
        method: None: the preset's.
        suite: None: the preset's.

    Raises:
        UserError: a value is missing or comes twice, a field comes twice, or there are too many.
    """
    single = [one for one in overrides if not _may_be_several(one)]
    choices: list[list[str]] = []
    for override in overrides:
        several = None
        if override not in single:
            several = _several(override, single, preset, method, suite)
        choices.append(several or [override])
    for several in choices:
        path = _path(several[0])
        if len(several) > 1 and sum(_path(own[0]) == path for own in choices) > 1:
            raise UserError(f"--set {path} is given twice, with several values: once is enough")
    check_count(math.prod(map(len, choices)))
    return [list(point) for point in itertools.product(*choices)]


def check_count(runs: int) -> None:
    """Refuse more runs than anybody means.

    Raises:
        UserError: saying how many they are.
    """
    if runs > MOST_RUNS:
        raise UserError(
            f"that would be {runs:,} runs, at most {MOST_RUNS:,}: leave out some values"
        )


def swept(configs: Sequence[RunConfig]) -> list[str]:
    """The fields in which runs of one method differ, as `--set` calls them."""
    found: dict[str, None] = {}
    for method in dict.fromkeys(config.method for config in configs):
        flat = [_settings(config) for config in configs if config.method == method]
        keys = dict.fromkeys(key for own in flat for key in own)
        found |= {key: None for key in keys if len({_text(own.get(key)) for own in flat}) > 1}
    return list(found)


def value_of(config: RunConfig, path: str) -> Any:
    """A field's value, that of a plug-in's option at its default included."""
    section, _, name = path.partition(".")
    if section in PLUGINS and name:
        return plugin_options(config, section).model_dump(mode="json")[name]
    return _settings(config)[path]


def overrides_of(config: RunConfig, overrides: Sequence[str], fields: Collection[str]) -> list[str]:
    """The overrides that make one run of a sweep over `fields`: of several values, its own."""
    others = [one for one in overrides if _path(one) not in fields]
    return others + [f"{path}={typed(value_of(config, path))}" for path in fields]


def _settings(config: RunConfig) -> dict[str, Any]:
    flat = flatten(config.model_dump(mode="json", exclude={"preset", "method", "seed"}))
    return {_spelled(key): value for key, value in flat.items() if value != {}}


def _spelled(key: str) -> str:
    """A key as the command line has it: suite.x, not suite_options.x."""
    for field, section in _SPELLED.items():
        if key.startswith(field):
            return section + key.removeprefix(field)
    return key


def _path(override: str) -> str:
    return override.partition("=")[0].strip()


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def _may_be_several(override: str) -> bool:
    value = parse_override(override)[1]
    return isinstance(value, list) or (isinstance(value, str) and "," in value)


def _several(
    override: str, single: list[str], preset: str, method: str | None, suite: str | None
) -> list[str] | None:
    """An override for each value; None where the field takes what is written as one value."""
    keys, value = parse_override(override)
    path = _path(override)
    kinds = _kinds(keys, single, preset, method, suite)
    is_list = isinstance(value, list)
    if not kinds <= _SCALARS or (kinds & _TEXTS and not is_list):
        return None
    if path in _ELSEWHERE:
        raise UserError(f"--set {override}: {_ELSEWHERE[path]}")
    texts = list(map(typed, value)) if is_list else [part.strip() for part in value.split(",")]
    if "" in texts:
        raise UserError(f"--set {override}: a value is missing between the commas")
    if len(texts) < 2:
        raise UserError(f"--set {override}: a list stands for several values; give one without []")
    found = [f"{path}={text}" for text in texts]
    values = [parse_override(one)[1] for one in found]
    if twice := [text for i, text in enumerate(texts) if values[i] in values[:i]]:
        raise UserError(f"--set {override}: {twice[0]} is there twice")
    return found


def _kinds(
    keys: list[str], single: list[str], preset: str, method: str | None, suite: str | None
) -> set[Any]:
    """The types that a field's values may have; none where there is no such field.

    Of a choice the types of what can be chosen, a text apart: what is not on its list is no value,
    and a comma is in none of them.
    """
    section = next((name for name, field in FIELDS.items() if field == keys[0]), None)
    if section is None:
        model, name = field_owner(RunConfig, keys)
    else:
        config = load_config(preset, single, method=method, suite=suite)
        plugin = plugin_name(config, section)
        if plugin is None or len(keys) < 2:
            return {dict}
        model, name = field_owner(PLUGINS[section].get(plugin).Options, keys[1:])
    field = model.model_fields.get(name or "")
    return {dict} if field is None else _scalars(field.annotation)


def _scalars(kind: Any) -> set[Any]:
    origin, parts = get_origin(kind), get_args(kind)
    if origin is Literal:
        return {NoneType}  # a scalar, and no text
    if origin is Annotated:
        return _scalars(parts[0])
    if origin in (list, dict, tuple, set):
        return {origin}
    return set().union(*map(_scalars, parts)) if parts else {kind}
