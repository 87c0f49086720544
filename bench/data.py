"""The kinds of data that stages hand to each other, and their JSONL files."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from bench.errors import UserError
from bench.preference import FIRST, SECOND, TIE


def _encodable(text: str) -> str:
    """Refuse half a character: it can be neither sent nor hashed nor written."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"half a character (\\ud800 to \\udfff in JSON) is no Unicode text, at {error.start}"
        ) from error
    return text


def _known_preference(value: float | None) -> float | None:
    """As AlpacaEval and AlpacaFarm write it: 0 is a tie too, and no number is no verdict."""
    if value is None or math.isnan(value):
        return None
    if value != 0 and not FIRST <= value <= SECOND:
        raise ValueError(f"{value:g} is no preference: 1 to 2, 0 (a tie) or null")
    return value or TIE


Text = Annotated[str, AfterValidator(_encodable)]
# A response as the model of a run drew it, EOS included if it ended; only a run's own rows have
# them (`Tokens.response` says what becomes of a text without).
Ids = list[int]
PreferenceLabel = Annotated[float | None, AfterValidator(_known_preference)]


def whole_prompt(instruction: str, more: str | None) -> str:
    """AlpacaFarm's instruction and input as one text, as AlpacaEval joins them."""
    return f"{instruction}\n\n{more}" if more else instruction


class Row(BaseModel):
    """One line of a JSONL file."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Named(Row):
    """A row that may have an `id`, by which rows of files join; no two of a file have the same."""

    id: Text | None = Field(None, min_length=1)


class Demonstration(Named):
    """A prompt and a response to imitate, or one that a model drew."""

    prompt: str
    response: str
    response_ids: Ids | None = None


class Preference(Named):
    """Two responses to a prompt, of which an annotator preferred `chosen`, by `margin` if known."""

    prompt: Text
    chosen: Text
    rejected: Text
    margin: float | None = Field(None, ge=0)
    chosen_ids: Ids | None = None
    rejected_ids: Ids | None = None


class Ranking(Named):
    """K responses to a prompt with their ranks, 0 best, ties allowed (arXiv:2203.02155)."""

    prompt: str
    responses: list[str]
    ranks: list[int]
    response_ids: list[Ids] | None = None


class Edit(Named):
    """A response and its minimal edit (arXiv:2406.02756, Section 2.1); `source` made the edit.

    Its `id` is that of the pair whose rejected response is `original`.
    """

    prompt: str
    original: str
    edited: str
    source: str
    original_ids: Ids | None = None


class Span(Row):
    """An error's place in a text: characters `start` to before `end`; `kind` says what it is."""

    start: int = Field(ge=0)
    end: int = Field(ge=0)
    kind: str


class Annotation(Named):
    """A response and the places of its errors; None: nobody has looked for them.

    Its `id` is that of the pair whose rejected response it is.
    """

    prompt: str
    response: str
    spans: list[Span] | None
    response_ids: Ids | None = None


class Comparison(Named):
    """A judge's verdict on two outputs: 1 = `output_1`, 2 = `output_2`, 1.5 = tie."""

    prompt: str
    output_1: str
    output_2: str
    preference: float | None
    ids_1: Ids | None = None
    ids_2: Ids | None = None


RowT = TypeVar("RowT", bound=Row)


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """Write `rows` as JSONL, one object a line; a field that has its default is left out."""
    with path.open("w", encoding="utf-8") as file:
        file.writelines(row_lines(rows))


def row_lines(rows: Iterable[Row]) -> Iterator[str]:
    """The lines that `write_rows` writes."""
    return (row.model_dump_json(exclude_defaults=True) + "\n" for row in rows)


def read_rows(path: Path, kind: type[RowT]) -> list[RowT]:
    """Read a JSONL file of `kind`; blank lines are passed over, nothing else is.

    Raises:
        UserError: naming file, line and field of the first row that is not a `kind`, or whose id
            another one has.
    """
    return [row for _, row in _numbered(path, kind)]


def read_edits(path: Path, pairs: Iterable[Preference]) -> list[Edit]:
    """Read a JSONL file of edits, each of which joins the pair that has its id.

    Args:
        path: the file.
        pairs: all that there are, not only those that a run draws.

    Raises:
        UserError: as `read_rows`; or an edit has no id, its id no pair, or its `original` is not
            what that pair rejected. Naming file and line.
    """
    by_id = {pair.id: pair for pair in pairs if pair.id is not None}
    edits = []
    for number, edit in _numbered(path, Edit):
        if problem := mismatch(edit, by_id):
            raise UserError(f"{path}, line {number}, {problem}")
        edits.append(edit)
    return edits


def mismatch(edit: Edit, pairs: Mapping[str, Preference]) -> str | None:
    """Why an edit does not join the pair of its id, beginning with the field; None: it does."""
    if edit.id is None:
        return "field id: an edit joins its pair by id, and this one has none"
    if edit.id not in pairs:
        return f"field id: no pair has the id {edit.id!r}"
    pair = pairs[edit.id]
    if edit.prompt != pair.prompt:
        return f"field prompt: the pair {edit.id!r} has another prompt"
    if edit.original != pair.rejected:
        return f"field original: it is not the rejected response of the pair {edit.id!r}"
    return None


def _numbered(path: Path, kind: type[RowT]) -> Iterator[tuple[int, RowT]]:
    """The rows of a file with their lines' numbers."""
    lines_of: dict[str, int] = {}
    try:
        lines = path.read_text(encoding="utf-8").split("\n")  # not splitlines: U+2028 is text
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {path}: {error}") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        row = _parse(line, kind, f"{path}, line {number}")
        if isinstance(row, Named) and row.id is not None:
            first = lines_of.setdefault(row.id, number)
            if first != number:
                raise UserError(
                    f"{path}, line {number}, field id: {row.id!r} is the id of line {first}, too"
                )
        yield number, row


def _parse(line: str, kind: type[RowT], where: str) -> RowT:
    try:
        return kind.model_validate(json.loads(line))
    except json.JSONDecodeError as error:
        raise UserError(f"{where}: not JSON ({error})") from error
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "the row"
        raise UserError(f"{where}, field {field}: {first['msg']}") from error
