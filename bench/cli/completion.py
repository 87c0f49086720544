"""What a shell offers behind an option: names from the registry, which imports no plug-in."""

from __future__ import annotations

from collections.abc import Callable, Iterable


def methods(incomplete: str) -> list[str]:
    """Names of methods; of several, as in `--method sft,to`, the last one is completed."""
    from bench.plugins.registry import METHODS

    given, comma, last = incomplete.rpartition(",")
    taken = given.split(",")
    return _beginning(last, (n for n in METHODS.names() if n not in taken), given + comma)


def _names_of(registry: str) -> Callable[[str], list[str]]:
    """Completes the names of a registry, which is imported when a shell asks."""

    def names(incomplete: str) -> list[str]:
        from bench.plugins import registry as registries

        return _beginning(incomplete, getattr(registries, registry).names())

    return names


suites, judges, editors = map(_names_of, ("SUITES", "JUDGES", "EDITORS"))


def presets(incomplete: str) -> list[str]:
    """Names of presets; where none fits, the shell offers files."""
    from bench.config.presets import preset_names

    return _beginning(incomplete, preset_names())


def _beginning(incomplete: str, names: Iterable[str], before: str = "") -> list[str]:
    return [before + name for name in names if name.startswith(incomplete)]
