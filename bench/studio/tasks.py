"""The four tasks: what a person is shown, and the rows of a file that it is made of.

A value is an answer in the item's own terms, whoever saw its responses in which order: it is what
known answers and results hold.

| task | item | value |
|---|---|---|
| edit | prompt, original | text: the minimal edit |
| prefer | prompt, output_1, output_2 | preference: 1, 1.5 (tie) or 2 |
| rank | prompt, responses | ranks, 0 best |
| spans | prompt, response | spans: start, end, kind |
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar, get_args

from pydantic import Field, ValidationError, model_validator

from bench.data import (
    Annotation,
    Comparison,
    Demonstration,
    Edit,
    Ids,
    Named,
    Preference,
    PreferenceLabel,
    Row,
    Text,
)
from bench.errors import UserError, unknown
from bench.judging import alpaca_eval
from bench.preference import FIRST
from bench.tables import read_table

TaskName = Literal["edit", "prefer", "rank", "spans"]
LONGEST = 1 << 16
"""Bytes of a response. A form holds it in three times as many; and what an edit changed is found in
memory that grows with the product of both texts, so that longer ones could fill the machine."""
TASKS: tuple[TaskName, ...] = get_args(TaskName)
Value = dict[str, Any]


class ToEdit(Named):
    """A response to be edited; its `id` is that of the pair that rejected it."""

    prompt: Text
    original: Text
    original_ids: Ids | None = None


class ToPrefer(Named):
    """Two responses, of which one is better, or neither."""

    prompt: Text
    output_1: Text
    output_2: Text
    ids_1: Ids | None = None
    ids_2: Ids | None = None


class ToRank(Named):
    """Responses to be ranked."""

    prompt: Text
    responses: Annotated[list[Text], Field(min_length=2)]
    response_ids: list[Ids] | None = None


class ToMark(Named):
    """A response whose errors are to be marked."""

    prompt: Text
    response: Text
    response_ids: Ids | None = None


class _Unranked(ToRank):
    """A `Ranking` whose ranks may be missing."""

    ranks: list[int] | None = None

    @model_validator(mode="after")
    def _ranked(self) -> Self:
        if self.ranks is not None and len(self.ranks) != len(self.responses):
            raise ValueError(f"{len(self.ranks)} ranks of {len(self.responses)} responses")
        return self


class _Compared(Comparison):
    """A `Comparison` whose preference may be missing, and is one."""

    preference: PreferenceLabel = None


class _Marked(Annotation):
    """An `Annotation` of which each span is within its response."""

    @model_validator(mode="after")
    def _within(self) -> Self:
        length = len(self.response)
        for span in self.spans or ():
            if not span.start < span.end <= length:
                raise ValueError(
                    f"the span {span.start} to {span.end} is not within the response, which has "
                    f"{length} characters"
                )
        return self


Content = ToEdit | ToPrefer | ToRank | ToMark
_CONTENT: dict[TaskName, type[Content]] = {
    "edit": ToEdit,
    "prefer": ToPrefer,
    "rank": ToRank,
    "spans": ToMark,
}
RowT = TypeVar("RowT", bound=Row)


@dataclass(frozen=True)
class Item:
    """What one person answers at a time.

    Attributes:
        id: a hash of task and content, the same wherever it comes from.
        task: which of the four.
        content: what is shown, with what joins it to other files.
    """

    id: str
    task: TaskName
    content: Content

    @classmethod
    def of(cls, task: TaskName, content: Content) -> Item:
        """The item of a content."""
        text = json.dumps([task, content.model_dump()], sort_keys=True, ensure_ascii=False)
        return cls(hashlib.sha256(text.encode()).hexdigest()[:24], task, content)

    @classmethod
    def stored(cls, key: str, task: TaskName, row: str) -> Item:
        """As the study holds it."""
        return cls(key, task, _CONTENT[task].model_validate_json(row))

    @property
    def responses(self) -> tuple[str, ...]:
        """The texts that are edited, compared, ranked or marked."""
        match self.content:
            case ToEdit(original=text) | ToMark(response=text):
                return (text,)
            case ToPrefer(output_1=first, output_2=second):
                return first, second
            case ToRank(responses=texts):
                return tuple(texts)


def check_task(name: str) -> TaskName:
    """The task of this name.

    Raises:
        UserError: there is none.
    """
    for task in TASKS:
        if task == name:
            return task
    raise UserError(unknown("task", name, TASKS))


def read_items(path: Path, task: TaskName) -> list[tuple[Item, Value | None]]:
    """The items of a file (.json or .jsonl, either with .gz), with the answers that it holds.

    Args:
        path: edit: rows of `bench.data.Preference` or `Edit`; prefer: `Preference`, `Comparison` or
            AlpacaEval's comparisons; rank: `Ranking`, its ranks may be missing; spans:
            `Annotation`, `Demonstration` or `Preference`, of which the rejected response is marked.
        task: what is to be done.

    Raises:
        UserError: naming file, line and field of the first row that is none of these.
    """
    found = list(_read(path, _READERS[task], task))
    if not found:
        raise UserError(f"{path} has no rows")
    return found


def _read(path: Path, reader: _Reader, task: TaskName) -> Iterator[tuple[Item, Value | None]]:
    places: dict[str, str] = {}
    for place, row in read_table(path):
        try:
            content, value = reader(row if isinstance(row, dict) else {})
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(str(part) for part in first["loc"]) or "the row"
            raise UserError(f"{path}, {place}, field {field}: {first['msg']}") from error
        item = Item.of(task, content)
        longest = max(len(text.encode()) for text in item.responses)
        if longest > LONGEST:
            raise UserError(
                f"{path}, {place}: a response of {longest} bytes; the page takes at most {LONGEST}"
            )
        if content.id is not None:
            earlier = places.setdefault(content.id, place)
            if earlier != place:
                raise UserError(
                    f"{path}, {place}, field id: {content.id!r} is the id of {earlier}, too"
                )
        yield item, value


_Reader = Callable[[dict[str, Any]], tuple[Content, Value | None]]


def _read_edit(row: dict[str, Any]) -> tuple[Content, Value | None]:
    if "original" in row:
        edit = Edit.model_validate(row)
        return _picked(ToEdit, edit), {"text": edit.edited}
    pair = Preference.model_validate(row)
    return (
        ToEdit(
            id=pair.id, prompt=pair.prompt, original=pair.rejected, original_ids=pair.rejected_ids
        ),
        None,
    )


def _read_prefer(row: dict[str, Any]) -> tuple[Content, Value | None]:
    if "instruction" in row:  # AlpacaEval's own, as `bench outputs` writes them
        kind = alpaca_eval.Annotation if "preference" in row else alpaca_eval.Comparison
        found = kind.model_validate(row)
        content = ToPrefer(prompt=found.prompt, output_1=found.output_1, output_2=found.output_2)
        return content, _preference(getattr(found, "preference", None))
    if "output_1" in row:
        given = _Compared.model_validate(row)
        return _picked(ToPrefer, given), _preference(given.preference)
    pair = Preference.model_validate(row)
    content = ToPrefer(
        id=pair.id,
        prompt=pair.prompt,
        output_1=pair.chosen,
        output_2=pair.rejected,
        ids_1=pair.chosen_ids,
        ids_2=pair.rejected_ids,
    )
    return content, {"preference": FIRST}


def _preference(said: float | None) -> Value | None:
    return None if said is None else {"preference": said}


def _read_rank(row: dict[str, Any]) -> tuple[Content, Value | None]:
    ranking = _Unranked.model_validate(row)
    return _picked(ToRank, ranking), None if ranking.ranks is None else {"ranks": ranking.ranks}


def _read_spans(row: dict[str, Any]) -> tuple[Content, Value | None]:
    if "rejected" in row:
        pair = Preference.model_validate(row)
        content = ToMark(
            id=pair.id, prompt=pair.prompt, response=pair.rejected, response_ids=pair.rejected_ids
        )
        return content, None
    if "spans" not in row:
        return _picked(ToMark, Demonstration.model_validate(row)), None
    marked = _Marked.model_validate(row)
    spans = marked.spans
    value = None if spans is None else {"spans": [span.model_dump() for span in spans]}
    return _picked(ToMark, marked), value


_READERS: dict[TaskName, _Reader] = {
    "edit": _read_edit,
    "prefer": _read_prefer,
    "rank": _read_rank,
    "spans": _read_spans,
}


def _picked(kind: type[RowT], row: Row) -> RowT:
    """What of a row the item shows; not the answer that it holds."""
    return kind.model_validate({name: getattr(row, name) for name in kind.model_fields})
