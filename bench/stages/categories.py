"""Categories of errors that a method tells apart: what can be wrong with what is said of them.

Errors raised here name the option of the method, `reward.FIELD`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from bench.errors import UserError, unknown

REST = "errors"  # stands for every category that an option does not name


def check_named(groups: Mapping[str, Sequence[str]]) -> None:
    """Refuse names that no stage can have, and a category of nothing.

    Raises:
        ValueError: as pydantic's validators do.
    """
    for name, kinds in groups.items():
        if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
            raise ValueError(f"{name!r}: a category has lower-case letters, digits and _")
        if not kinds:
            raise ValueError(f"{name} has no kinds of errors")


def check_kinds(groups: Mapping[str, Sequence[str]], known: Sequence[str]) -> None:
    """Refuse a kind of errors that there is not, or that is in two categories.

    Args:
        groups: kinds by category.
        known: all kinds of the suite; none where it does not name them.

    Raises:
        UserError: naming the category.
    """
    owner: dict[str, str] = {}
    for name, kinds in groups.items():
        for kind in kinds:
            if known and kind not in known:
                raise UserError(f"reward.kinds.{name}: {unknown('kind', kind, known)}")
            if owner.setdefault(kind, name) != name:
                raise UserError(
                    f"reward.kinds: {kind!r} is in {owner[kind]} and in {name}: an error would "
                    "be paid for twice"
                )


def check_used(
    field: str, said: Mapping[str, Any], usual: Mapping[str, Any], groups: Mapping[str, Any]
) -> None:
    """Refuse what an option says of a category that there is not: it would do nothing.

    Args:
        field: of the option.
        said: by category.
        usual: what it says where nobody sets it, of categories that a suite need not have.
        groups: kinds by category.

    Raises:
        UserError: naming the field.
    """
    used = {name if name in said else REST for name in groups}
    for name in said:
        if name not in used and said[name] != usual.get(name):
            raise UserError(f"reward.{field}: {unknown('category', name, groups)}")


def said_of(said: Mapping[str, Any], category: str) -> Any:
    """What an option says of a category, or of all the others; None: nothing."""
    return said.get(category, said.get(REST))
