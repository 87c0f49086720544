"""Folders that a caller names, or that stand for those that are not named."""

from __future__ import annotations

import os
from pathlib import Path

from bench.errors import UserError
from bench.records.published import at_hand


def folder(given: str | os.PathLike[str] | None, name: str, default: Path) -> Path:
    """The folder that is meant by an argument, else by BENCH_RESULTS, else the default.

    `results` stands for the published records where no folder of that name has any.

    Args:
        given: the argument; `~` is one's home.
        name: of the argument.
        default: where nothing is said.

    Raises:
        UserError: it is empty.
    """
    place = os.environ.get("BENCH_RESULTS") or default if given is None else given
    if not str(place).strip():
        raise UserError(f"{name} is empty: name a folder, or leave it out")
    return at_hand(Path(place).expanduser())
