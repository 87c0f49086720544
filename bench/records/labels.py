"""What a run is called: its row on the leaderboard, its folder, and what makes two runs one row.

A label holds what differs from the suite's default preset, by value: where the values were written
(a preset's name, a file, `--set`) does not matter, and no path of a machine gets into a table.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

from bench.config.loading import FIELDS, config_sha, load_config, plugin_options
from bench.config.presets import default_preset, preset_names
from bench.config.run import PPOConfig, RunConfig, flatten
from bench.config.section import OPERATIONAL
from bench.naming import file_name

NAMED = 3  # so many differences fit into a label
_LONGEST = 80  # characters of a folder's name before seed and hash; file systems end at 255 bytes

# Suites and judges have tables of their own, and every label begins with its method. Where values
# come from, seeds, devices, what is computed twice, and how a model is asked make no other row.
_NO_ROW = {"preset", "suite", "method", "seed", "model.device", "evaluation.judge"}
_NO_ROW |= {"model.gradient_checkpointing", *(f"ppo.{name}" for name in PPOConfig.operational)}
_NO_ROW |= {f"{section}.{name}" for section in ("judge", "editor") for name in OPERATIONAL}
DEFAULTS = flatten(RunConfig().model_dump(mode="json"))
"""What a field was before a record had it: the code of that day did what today's default does."""


def label(config: RunConfig) -> str:
    """The row of a run: its method and what differs from the suite's default preset.

    "token_ppo", "token_ppo loss=eq4" (an option of the method), "token_ppo ppo.lr=0.0004". Where
    more than `NAMED` values differ, the nearest preset is named and what differs from that one,
    "token_ppo [instructgpt] ppo.steps=10", or a hash of the differences, "token_ppo [config 3f2a]".

    Raises:
        UserError: an option of the method is wrong.
    """
    options = _options(config)
    usual = _options(load_config(default_preset(config.suite), method=config.method))
    own = [f"{key}={text(value)}" for key, value in sorted(options.items()) if value != usual[key]]
    return " ".join([config.method, *own, *_others(config)])


def run_id(config: RunConfig) -> str:
    """A folder's name: readable, and unique to the configuration."""
    return f"{file_name(label(config))[:_LONGEST]}-s{config.seed}-{config_sha(config)[:8]}"


def folder_of(config: RunConfig, results: Path) -> Path:
    """Where a run's record goes."""
    return results / config.suite / run_id(config)


def names_differences(label: str) -> bool:
    """Whether a label says that more than the method's own options differ from the default."""
    return any("." in part.partition("=")[0] or "[" in part for part in label.split()[1:])


def settings(config: dict[str, Any]) -> dict[str, Any]:
    """The flat values of a configuration, perhaps a recorded one, that make it another row.

    A field that it does not have was added to the harness after it: it gets today's default, which
    is what the code of its day did. A suite's options have the names of the command line.
    """
    flat = DEFAULTS | flatten(config)
    own, spelled = f"{FIELDS['suite']}.", "suite."
    return {
        key.replace(own, spelled, 1) if key.startswith(own) else key: value
        for key, value in flat.items()
        if key not in _NO_ROW and value != {}
    }


def base_name(config: dict[str, Any]) -> str | None:
    """What a run's methods stand on, of a configuration that may be recorded; None: the suite's.

    Runs on an SFT model that somebody brought (`sft.path`) are compared with each other only.
    """
    given, path = (config.get(section, {}).get("path") for section in ("sft", "model"))
    if given is not None:
        return f"the SFT model {text(given)}"
    return None if path is None else text(path)


def text(value: Any) -> str:
    """A value for a label; of a path or a hub id its last part."""
    if isinstance(value, str):
        return re.split(r"[/\\]", value.rstrip("/\\"))[-1]
    if isinstance(value, list):
        return ",".join(map(text, value))
    return json.dumps(value)


def _options(config: RunConfig) -> dict[str, Any]:
    """The method's own options, defaults included."""
    options: dict[str, Any] = plugin_options(config, "reward").model_dump(mode="json")
    return options


def _others(config: RunConfig) -> list[str]:
    """The differences beside the method's own options."""
    found = _differences(config, default_preset(config.suite))
    if len(found) <= NAMED:
        return _listed(found)
    nearest = min(preset_names(), key=lambda name: len(_differences(config, name)))
    rest = _differences(config, nearest)
    if len(rest) <= NAMED:
        return [f"[{nearest}]", *_listed(rest)]
    sha = hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()
    return [f"[config {sha[:8]}]"]


def _differences(config: RunConfig, preset: str) -> dict[str, Any]:
    """The values that the preset does not have, beside the method's and the judge's own options."""
    own, usual = _shared(config), _shared(load_config(preset))
    return {key: value for key, value in own.items() if value != usual.get(key)}


def _shared(config: RunConfig) -> dict[str, Any]:
    unread = RunConfig.of_some - config.model_fields_set  # by an older record
    found = settings(config.model_dump(mode="json", exclude={"reward", "judge"}))
    return {key: value for key, value in found.items() if key.partition(".")[0] not in unread}


def _listed(values: dict[str, Any]) -> list[str]:
    return [f"{key}={text(value)}" for key, value in sorted(values.items())]
