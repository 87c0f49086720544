"""What a shell offers behind an option: names from the registry, which imports no plug-in."""

from __future__ import annotations

from collections.abc import Iterable


def methods(incomplete: str) -> list[str]:
    """Names of methods; of several, as in `--method sft,to`, the last one is completed."""
    from bench.plugins.registry import METHODS

    given, comma, last = incomplete.rpartition(",")
    taken = given.split(",")
    return _beginning(last, (n for n in METHODS.names() if n not in taken), given + comma)


def suites(incomplete: str) -> list[str]:
    """Names of suites."""
    from bench.plugins.registry import SUITES

    return _beginning(incomplete, SUITES.names())


def judges(incomplete: str) -> list[str]:
    """Names of judges."""
    from bench.plugins.registry import JUDGES

    return _beginning(incomplete, JUDGES.names())


def editors(incomplete: str) -> list[str]:
    """Names of editors."""
    from bench.plugins.registry import EDITORS

    return _beginning(incomplete, EDITORS.names())


def presets(incomplete: str) -> list[str]:
    """Names of presets; where none fits, the shell offers files."""
    from bench.config.presets import preset_names

    return _beginning(incomplete, preset_names())


def _beginning(incomplete: str, names: Iterable[str], before: str = "") -> list[str]:
    return [before + name for name in names if name.startswith(incomplete)]
