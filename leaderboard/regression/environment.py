"""What a run's numbers depend on beside its configuration, and what of it differs between two."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from bench.config.run import flatten
from bench.records.files import Record

Facts = dict[str, Any]

_PARTS: dict[str, Any] = {
    "code": True,
    "packages": True,
    "hardware": {"cpu", "cores", "gpu", "dtype", "threads"},
    "data": True,
    "reference": True,
    "judge": {"name", "model", "template_sha"},
}
MEASURED = ("data.", "reference.", "judge.")  # other ones measure something else


class Change(NamedTuple):
    """A fact that two runs do not share; None where one of them does not state it."""

    name: str
    old: Any
    new: Any

    def __str__(self) -> str:
        return f"{self.name}: {self.old} -> {self.new}"


def environment(record: Record) -> Facts:
    """Code, packages, machine, data, reference and judge under dotted names."""
    facts = flatten(record.model_dump(mode="json", include=_PARTS))
    return {name: value for name, value in facts.items() if value != {}}


def measured(facts: Facts) -> Facts:
    """Those that say what was measured."""
    return {name: value for name, value in facts.items() if name.startswith(MEASURED)}


def configuration(record: Record) -> Facts:
    """The configuration under dotted names, without the seed."""
    return {name: value for name, value in flatten(record.config).items() if name != "seed"}


def changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Change]:
    """The facts that differ, in the order of their names."""
    return [
        Change(name, old.get(name), new.get(name))
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name)
    ]
