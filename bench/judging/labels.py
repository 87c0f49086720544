"""Labels of comparisons, by people or judges: one row for each who said something of one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field

from bench.data import PreferenceLabel
from bench.errors import UserError
from bench.files import content_sha
from bench.judging.alpaca_eval import Comparison, parse
from bench.judging.files import ANNOTATIONS
from bench.preference import exchanged, side
from bench.tables import read_table

VALUE = {"first": 0.0, "tie": 0.5, "second": 1.0}
Key = tuple[str, str, str]  # instruction and the two outputs, in the order of their texts


class Label(Comparison):
    """A label or a verdict; AlpacaFarm's files count the people."""

    preference: PreferenceLabel
    annotator: str | int | None = None
    annotator_index: int | None = None
    status: str | None = None
    orders: list[dict[str, Any]] = Field(default_factory=list)


@dataclass(frozen=True)
class Labelled:
    """What somebody, or several people, say of comparisons.

    Attributes:
        path: where it comes from, for messages.
        rows: place and row.
        sha: of the content.
    """

    path: Path
    rows: tuple[tuple[str, Label], ...]
    sha: str

    @classmethod
    def read(cls, path: Path) -> Labelled:
        """From a file of annotations, or the folder of `bench judge --out`.

        Raises:
            UserError: it cannot be read, or a row is wrong.
        """
        file = annotations_of(path)
        return cls.of(path, read_table(file), content_sha(file))

    @classmethod
    def of(cls, path: Path, table: Iterable[tuple[str, Any]], sha: str) -> Labelled:
        """From rows with their places, wherever they were read.

        Raises:
            UserError: a row is wrong.
        """
        rows = tuple((place, parse(row, Label, f"{path}, {place}")) for place, row in table)
        return cls(path, rows, sha)

    def by_comparison(self) -> dict[Key, dict[Any, float]]:
        """0, 1/2 or 1 by comparison and by who said so; without what has no verdict.

        Raises:
            UserError: somebody labels a comparison twice.
        """
        found: dict[Key, dict[Any, float]] = {}
        for place, row in self.rows:
            if row.preference is None:
                continue
            key, swapped = key_of(row)
            preference = exchanged(row.preference) if swapped else row.preference
            who = row.annotator if row.annotator is not None else row.annotator_index
            own = found.setdefault(key, {})
            who = f"nobody named, {len(own)}" if who is None else who
            if who in own:
                raise UserError(f"{self.path}, {place}: {who} labels this comparison once more")
            own[who] = VALUE[side(preference)]
        return found


def annotations_of(path: Path) -> Path:
    """The file itself, or the one in a folder of `bench judge --out`."""
    return path / ANNOTATIONS if path.is_dir() else path


def key_of(row: Comparison) -> tuple[Key, bool]:
    """A comparison, whichever output stands first; and whether they are exchanged."""
    first, second = sorted((row.output_1, row.output_2))
    return (row.prompt, first, second), first != row.output_1
