"""The fields of a configuration by what a table's rules say of them, and how two differ."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal, NamedTuple

from bench.records.labels import settings, text

# "method": its own options, which are free.
Kind = Literal["method", "data", "budget", "evaluation", "hyperparameter"]

_SECTIONS: dict[str, Kind] = {
    "reward": "method",
    "suite": "data",
    "preferences": "data",
    "edits": "data",
    "evaluation": "evaluation",
}
_FIELDS: dict[str, Kind] = {
    **dict.fromkeys(("sft.demonstrations", "sft.seed", "sft.path", "ppo.prompts"), "data"),
    **dict.fromkeys(("sft.steps", "sft.epochs", "sft.batch_size", "sft.max_length"), "budget"),
    **dict.fromkeys(("reward_model.epochs", "reward_model.batch_size"), "budget"),
    **dict.fromkeys(("ppo.steps", "ppo.epochs", "ppo.batch_size"), "budget"),
    **dict.fromkeys(("ppo.max_new_tokens", "ppo.ptx_batch_size"), "budget"),
    "reward_model.path": "data",
    "preferences.max_new_tokens": "budget",
}


class Change(NamedTuple):
    """A field with another value than the table's rows have.

    Attributes:
        field: its dotted name.
        own, usual: the values; None where a configuration does not have the field.
    """

    field: str
    own: Any
    usual: Any

    def __str__(self) -> str:
        return f"{self.field}={_text(self.own)} (the rows: {_text(self.usual)})"

    @property
    def kind(self) -> Kind:
        """What the rules say of the field."""
        section = self.field.partition(".")[0]
        return _FIELDS.get(self.field) or _SECTIONS.get(section) or "hyperparameter"

    @property
    def is_more(self) -> bool:
        """Whether of a budget this is not less than what the rows had."""
        numbers = [isinstance(v, int | float) for v in (self.own, self.usual)]
        return not (all(numbers) and self.own < self.usual)


def changes(own: Mapping[str, Any], usual: Mapping[str, Any]) -> list[Change]:
    """The fields of a configuration that differ from a row's, seeds and devices apart."""
    mine, theirs = settings(dict(own)), settings(dict(usual))
    return [
        Change(name, mine.get(name), theirs.get(name))
        for name in sorted(mine.keys() | theirs.keys())
        if mine.get(name) != theirs.get(name)
    ]


def of_kind(found: Iterable[Change], kind: Kind) -> list[Change]:
    """Those of one kind."""
    return [change for change in found if change.kind == kind]


def named_in(label: str) -> Iterator[str]:
    """The fields that the name of a row says."""
    for part in label.split()[1:]:
        name, is_value, _ = part.partition("=")
        if is_value:
            yield name


def _text(value: Any) -> str:
    return "none" if value is None else text(value)
