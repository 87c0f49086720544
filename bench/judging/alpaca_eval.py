"""AlpacaEval's files: outputs, references and annotations, as that tool reads and writes them.

Outputs and references are rows of {instruction, output, generator}; annotations are rows of
{instruction, output_1, output_2, generator_1, generator_2, annotator, preference}, where output_1
is the reference's and preference is 1 for it, 2 for the model, 0 or 1.5 for a tie, null for an
answer that could not be read. All are JSON, or JSONL with a row a line, and may be gzipped.

AlpacaFarm keeps a part of some instructions in a field `input`. It follows the instruction after a
blank line, as in AlpacaEval's own instructions: so joined, AlpacaFarm's are found among them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from bench.data import PreferenceLabel, Text, whole_prompt
from bench.errors import UserError
from bench.plugins.protocols import OrderVerdict, Verdict
from bench.tables import read_table, shortened


class Row(BaseModel):
    """What all rows have; fields that are not named here are passed over."""

    model_config = ConfigDict(frozen=True, strict=True)

    instruction: Text
    input: Text | None = None
    dataset: str | None = None

    @property
    def prompt(self) -> str:
        """The whole instruction."""
        return whole_prompt(self.instruction, self.input)


class Output(Row):
    """A model's answer to an instruction."""

    output: Text
    generator: str | None = None


class Comparison(Row):
    """The reference's answer and a model's."""

    output_1: Text
    output_2: Text
    generator_1: str | None = None
    generator_2: str | None = None


class Annotation(Comparison):
    """A comparison and its verdict.

    Attributes:
        preference: 1 to 2, or None where there is none.
        status: why there is none; only in files that this harness wrote.
    """

    preference: PreferenceLabel
    annotator: str | None = None
    status: str | None = None


RowT = TypeVar("RowT", bound=Row)


def read(path: Path, kind: type[RowT], *, samples: bool = False) -> list[RowT]:
    """Read the rows of a file: .json or .jsonl, either with .gz.

    Args:
        path: the file.
        kind: what its rows are.
        samples: whether an instruction may have several rows, each as many as the others.

    Raises:
        UserError: naming file, row and field of what is wrong, an instruction that comes twice (or
            more often than another), or a file without rows.
    """
    rows: list[RowT] = []
    places: dict[str, str] = {}
    for place, value in read_table(path):
        row = parse(value, kind, f"{path}, {place}")
        earlier = places.setdefault(row.prompt, place)
        if earlier != place and not samples:
            raise UserError(f"{path}, {place}: has the instruction of {earlier} once more")
        rows.append(row)
    if not rows:
        raise UserError(f"{path} has no rows")
    _require_even(path, Counter(row.prompt for row in rows), places)
    return rows


def _require_even(path: Path, counts: Counter[str], places: dict[str, str]) -> None:
    """Refuse a file in which just some instructions have several samples: that is a mistake."""
    most, least = max(counts, key=counts.__getitem__), min(counts, key=counts.__getitem__)
    if counts[most] != counts[least]:
        raise UserError(
            f"{path}: has the instruction of {places[most]} {counts[most]} times and that of "
            f"{places[least]} {counts[least]} times; give each the same number of samples"
        )


def compares(path: Path) -> bool:
    """Whether the rows of a file are comparisons, by the first of them."""
    first: Any = next(read_table(path), ("", None))[1]
    return isinstance(first, dict) and "output_2" in first


def match(path: Path, rows: Sequence[RowT], other: Path, others: Sequence[Row]) -> list[RowT]:
    """Rows in the order of `others`, which has the same instructions.

    Raises:
        UserError: an instruction is in one file only.
    """
    found = {row.prompt: row for row in rows}
    missing = [row.prompt for row in others if row.prompt not in found]
    expected = {row.prompt for row in others}
    surplus = [row.prompt for row in rows if row.prompt not in expected]
    for these, here, there in ((missing, other, path), (surplus, path, other)):
        if these:
            raise UserError(
                f"{len(these)} instructions of {here} are not in {there}, first "
                f"{shortened(these[0])}; both files need the same instructions"
            )
    return [found[row.prompt] for row in others]


def annotation_rows(
    comparisons: Iterable[Comparison], verdicts: Iterable[Verdict], annotator: str
) -> list[dict[str, Any]]:
    """Rows of an annotation file; `status` and `orders` are ours, the rest is AlpacaEval's."""
    return [
        {
            **comparison.model_dump(exclude_none=True),
            "annotator": annotator,
            "preference": verdict.preference,
            "status": verdict.status,
            "orders": [_order(order) for order in verdict.orders],
        }
        for comparison, verdict in zip(comparisons, verdicts, strict=True)
    ]


def _order(order: OrderVerdict) -> dict[str, Any]:
    """The reference was shown first in the first of two, the model in the second."""
    row = vars(order).copy()
    return row | {"raw_completion": row.pop("text")}


def parse(value: Any, kind: type[RowT], where: str) -> RowT:
    """A row of a file.

    Raises:
        UserError: naming the place and the field of what is wrong.
    """
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        field = f", field {first['loc'][0]}" if first["loc"] else ""
        raise UserError(f"{where}{field}: {first['msg']}") from error
