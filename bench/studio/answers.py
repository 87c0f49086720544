"""What a person may answer, in the terms of what was shown, and its check against the item."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import mode
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from bench.data import Text
from bench.editing.acceptance import assess
from bench.errors import UserError
from bench.preference import FIRST, SECOND, TIE
from bench.studio.names import NAME, is_name
from bench.studio.settings import Settings
from bench.studio.tasks import Item, TaskName, ToEdit, Value
from bench.tables import shortened

Reason = Literal["safety", "academic_words", "form", "facts", "other"]
"""Why a response was edited, as the paper's examples have it (arXiv:2406.02756, Section 2.1)."""
Severity = Literal["minor", "major", "critical"]


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class EditAnswer(_Answer):
    """The whole text after the edit."""

    kind: Literal["edit"]
    text: Text
    reasons: list[Reason] = []


class NothingToMend(_Answer):
    """The response is good as it is."""

    kind: Literal["nothing_to_mend"]


class CannotBeMended(_Answer):
    """No minimal edit makes the response good."""

    kind: Literal["cannot_be_mended"]


class Skip(_Answer):
    """The person does not say."""

    kind: Literal["skip"]


class PreferAnswer(_Answer):
    """Of the responses as they were shown, a first."""

    kind: Literal["prefer"]
    choice: Literal["a", "b", "tie"]


class RankAnswer(_Answer):
    """Places of the responses as they were shown, from 0, the best response's first."""

    kind: Literal["rank"]
    order: list[int]


class MarkedSpan(_Answer):
    """Characters (code points) `start` to before `end`, what is wrong there and how much."""

    start: int = Field(ge=0)
    end: int = Field(ge=0)
    type: Text = Field(min_length=1)
    severity: Severity = "major"


class SpansAnswer(_Answer):
    """All errors; none: there are none."""

    kind: Literal["spans"]
    spans: list[MarkedSpan]


Answer = (
    EditAnswer
    | NothingToMend
    | CannotBeMended
    | Skip
    | PreferAnswer
    | RankAnswer
    | SpansAnswer
)  # fmt: skip
_ADAPTER: TypeAdapter[Answer] = TypeAdapter(Annotated[Answer, Field(discriminator="kind")])
KINDS: dict[TaskName, tuple[str, ...]] = {
    "edit": ("edit", "nothing_to_mend", "cannot_be_mended", "skip"),
    "prefer": ("prefer", "skip"),
    "rank": ("rank", "skip"),
    "spans": ("spans", "skip"),
}
_BREAK = re.compile(r"\r\n|\r|\n")
_CHOICE = {"a": FIRST, "tie": TIE, "b": SECOND}


@dataclass(frozen=True)
class Checker:
    """Checks answers to an item.

    Attributes:
        item: what is answered.
        shown: places of its responses, in the order in which the person sees them.
        settings: of the study, such as the cap of an edit.
    """

    item: Item
    shown: Sequence[int]
    settings: Settings

    def checked(self, given: dict[str, Any], *, done: bool = True) -> Answer:
        """The answer as it is kept.

        Args:
            given: what a page sends, as {"kind": "prefer", "choice": "a"}.
            done: False: a draft, whose text may still be whatever it is.

        Raises:
            UserError: it is no answer to this item; says why.
        """
        try:
            answer = _ADAPTER.validate_python(given)
        except ValidationError as error:
            first = error.errors()[0]
            # The first part of the place is the union's own.
            field = ".".join(map(str, first["loc"][1:])) or "kind"
            raise UserError(f"the answer, field {field}: {first['msg']}") from error
        task = self.item.task
        if answer.kind not in KINDS[task]:
            raise UserError(f"{answer.kind} is no answer to {task}: {', '.join(KINDS[task])} are")
        match answer:
            case EditAnswer():
                return self._edit(answer, done)
            case RankAnswer(order=order) if sorted(order) != list(range(len(self.shown))):
                raise UserError(
                    f"the order {order} does not have each of the {len(self.shown)} responses "
                    f"once, from 0 to {len(self.shown) - 1}"
                )
            case SpansAnswer(spans=spans):
                self._check_spans(spans)
        return answer

    def value(self, answer: Answer) -> Value | None:
        """The answer in the item's own terms; None where there is none, as of one that skips."""
        match answer:
            case EditAnswer(text=text):
                return {"text": text}
            case NothingToMend():
                return {"text": self.item.responses[0]}
            case PreferAnswer(choice=choice):
                seen = _CHOICE[choice]
                exchanged = self.shown[0] == 1
                return {"preference": FIRST + SECOND - seen if exchanged else seen}
            case RankAnswer(order=order):
                places = [self.shown[place] for place in order]
                return {"ranks": [places.index(i) for i in range(len(places))]}
            case SpansAnswer(spans=spans):
                return {"spans": [{"start": s.start, "end": s.end, "kind": s.type} for s in spans]}
        return None

    def _edit(self, answer: EditAnswer, done: bool) -> EditAnswer:
        content = self.item.content
        assert isinstance(content, ToEdit)
        text = with_breaks_of(content.original, answer.text)
        if not done:
            return answer.model_copy(update={"text": text})
        result = assess(content.prompt, content.original, text, "", self.settings.limits)
        if result.edited is None:
            how = " (or is there nothing to mend?)" if result.status == "rejected_unchanged" else ""
            raise UserError(f"the edit is not accepted: {result.reason}{how}")
        return answer.model_copy(update={"text": result.edited})

    def _check_spans(self, spans: Sequence[MarkedSpan]) -> None:
        length = len(self.item.responses[0])
        for span in spans:
            if not span.start < span.end <= length:
                raise UserError(
                    f"the span {span.start} to {span.end} is not within the response, which has "
                    f"{length} characters"
                )
            kinds, named = self.settings.span_types, shortened(span.type)
            if kinds and span.type not in kinds:
                raise UserError(f"the span's type {named} is none of {', '.join(kinds)}")
            if not kinds and not is_name(span.type):
                raise UserError(f"the span's type {named} is not {NAME}")
        for one, other in pairwise(sorted(spans, key=lambda s: (s.start, s.end, s.type))):
            if (one.start, one.end, one.type) == (other.start, other.end, other.type):
                raise UserError(f"the span {one.start} to {one.end} ({one.type}) is there twice")


def with_breaks_of(original: str, text: str) -> str:
    """A text with the line breaks of the original; a form sends each as two characters.

    Where there are more of them, or fewer, all are as most of the original's.
    """
    own, lines = _BREAK.findall(original), _BREAK.split(text)
    if len(own) != len(lines) - 1:
        own = [mode(own) if own else "\n"] * (len(lines) - 1)
    return "".join(map("".join, zip(lines, [*own, ""], strict=True)))


def parsed(text: str) -> Answer:
    """An answer as the study holds it."""
    return _ADAPTER.validate_json(text)


__all__ = [
    "KINDS",
    "Answer",
    "Checker",
    "MarkedSpan",
    "Reason",
    "Severity",
    "parsed",
    "with_breaks_of",
]
