"""What a run's numbers depend on beside its configuration, and what of it differs between two."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from bench.config.run import flatten
from bench.records.files import Hardware, Record
from bench.records.labels import DEFAULTS

Facts = dict[str, Any]

_PARTS: dict[str, Any] = {
    "code": True,
    "packages": True,
    "hardware": set(Hardware.model_fields) - {"memory_gib"},
    "data": True,
    "reference": True,
    "judge": {"name", "model", "template_sha"},
}
_SAME_KIND = ("cores", "threads")  # of the hardware: in what machines of one kind may differ,
# and what every record since these fields says: where it is None, nothing is known of it.
_TOLD = ("cpu", "cpu_family", "cpu_model", "cpu_stepping", "cpu_capability", "blas")
_NAMED = 6  # so many changes are named of each cause
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


def settings_changed(old: Facts, new: Facts) -> list[Change]:
    """Of two configurations; a field that the older harness had not was at its default."""
    usual = {name: value for name, value in DEFAULTS.items() if name != "seed"}
    return changes(usual | old, usual | new)


def changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Change]:
    """The facts that differ, in the order of their names."""
    return [
        Change(name, old.get(name), new.get(name))
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name)
    ]


def causes(found: Iterable[Change]) -> dict[str, list[Change]]:
    """The changes that may have moved a number of one configuration and seed, likeliest first.

    Another machine rounds otherwise, another version of a package often does; a change of the code
    is to be suspected only where both are the same.
    """
    sorted_out: dict[str, list[Change]] = {"machine": [], "packages": [], "code": []}
    for change in found:
        if change.name.startswith("hardware."):
            sorted_out["machine"].append(change)
        elif change.name.startswith("code.") or change.name == "packages.grainbench":
            sorted_out["code"].append(change)
        elif change.name.startswith("packages."):
            sorted_out["packages"].append(change)
    return {cause: own for cause, own in sorted_out.items() if own}


def listed(found: Iterable[Change]) -> str:
    """The changes by their cause, likeliest first; of each cause some are named."""
    return "; ".join(f"{cause} ({named(own)})" for cause, own in causes(found).items())


def named(found: list[Change]) -> str:
    """Some of the changes, and how many more there are."""
    more = f" and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
    return "; ".join(map(str, found[:_NAMED])) + more


def explanation(found: Iterable[Change]) -> str | None:
    """What most likely moved the numbers of one configuration and seed; None: nothing changed."""
    sorted_out = causes(found)
    if machine := sorted_out.get("machine"):
        return _of_machine({change.name.removeprefix("hardware."): change for change in machine})
    if "packages" in sorted_out:
        return "packages are of other versions, and may compute otherwise"
    if "code" in sorted_out:
        return "machine and packages are the same, so a change of the code moved them"
    return None


def _of_machine(found: Mapping[str, Change]) -> str:
    if dtype := found.get("dtype"):
        return f"the model ran in another precision ({dtype.old} -> {dtype.new})"
    kind = {name: change for name, change in found.items() if name not in _SAME_KIND}
    untold = [n for n, c in kind.items() if n in _TOLD and None in (c.old, c.new)]
    if len(untold) < len(kind):
        return (
            "the processor is of another kind, whose kernels round otherwise, and one other token "
            "changes all that follow"
        )
    if untold:
        return (
            "one of the records does not say on which kind of processor it ran "
            f"({', '.join(untold)}), and another kind rounds otherwise"
        )
    return "the machine has other threads or cores, and sums in another order round otherwise"
