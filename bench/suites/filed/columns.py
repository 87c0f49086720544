"""A row's fields, under the names that its file has for them; a mistake is named with its place."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

from bench.data import Preference, Span, whole_prompt
from bench.errors import UserError
from bench.preference import FIRST, SECOND, TIE
from bench.suites.filed.sources import Source
from bench.tables import read_table, shortened


@dataclass(frozen=True)
class Fields:
    """A row of a file.

    Attributes:
        where: file and line, for messages.
        row: as it is in the file.
        columns: what the file calls a field, where it does not call it as we do.
    """

    where: str
    row: Mapping[str, Any]
    columns: Mapping[str, str] = field(default_factory=dict)

    def column(self, name: str) -> str:
        """What the file calls a field."""
        return self.columns.get(name, name)

    def value(self, name: str) -> Any:
        """What is there; None where the column is missing or null."""
        return self.row.get(self.column(name))

    def text(self, name: str, *, empty: bool = False) -> str:
        """The text of a field; of a conversation, a list of {role, content}, its transcript.

        Args:
            name: of the field.
            empty: whether it may be an empty text.

        Raises:
            UserError: there is none, or it is no text.
        """
        column = self.column(name)
        if column not in self.row:
            self._missing(name, column)
        text = _transcript(self.row[column])
        if text is None:
            found = shortened(repr(self.row[column]))
            self.wrong(name, f"a text is needed, or a list of {{role, content}}; it is {found}")
        try:
            text.encode()
        except UnicodeEncodeError as error:
            self.wrong(name, f"half a character is no Unicode text, at {error.start}")
        if not (text.strip() or empty):
            self.wrong(name, "it is empty")
        return text

    def prompt(self) -> str:
        """The prompt; with what the field `input` adds to it, if the row has one (AlpacaFarm)."""
        more = self.text("input", empty=True) if self.value("input") else None
        return whole_prompt(self.text("prompt"), more)

    def id(self) -> str | None:
        """The row's id as a text; None: it has none."""
        value = self.value("id")
        if value is None:
            return None
        if not isinstance(value, str | int) or value == "":
            self.wrong("id", f"an id is a text or a whole number; it is {shortened(repr(value))}")
        return str(value)

    def verdict(self) -> float | None:
        """Which of two outputs is preferred: -1 or 1 times how much more; 0: a tie; None: unknown.

        The field `preference` is AlpacaEval's (1 the first, 2 the second, 1.5 or 0 a tie, between
        them a mean) and its strength then no margin; or `score` is a number below 0 for the first
        and above 0 for the second, as HelpSteer3 writes it, and its size the margin.
        """
        name = "score" if "score" in self.columns else "preference"
        if self.column(name) not in self.row:
            self._missing(name, self.column(name))
        value = self.value(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float):
            self.wrong(name, f"a number is needed; it is {shortened(repr(value))}")
        if name == "score" or value == 0:
            return float(value)
        if not FIRST <= value <= SECOND:
            self.wrong(name, f"{value:g} is no preference: 1 to 2, 0 (a tie) or null")
        return float(value > TIE) - float(value < TIE)

    def spans(self, text: str) -> list[Span]:
        """The errors of a text, ordered; where two overlap, the later begins where the other ends.

        Raises:
            UserError: the field `spans` is no list of {start, end, kind}, or one lies outside.
        """
        found = self.value("spans")
        if not isinstance(found, Sequence) or isinstance(found, str):
            self.wrong("spans", f"a list is needed; it is {shortened(repr(found))}")
        spans, last = [], 0
        for start, end, kind in sorted(self._span(item, text) for item in found):
            if end > (start := max(start, last)):
                spans.append(Span(start=start, end=end, kind=kind))
                last = end
        return spans

    def _span(self, item: Any, text: str) -> tuple[int, int, str]:
        names = [self.column(name) for name in ("start", "end", "kind")]
        start, end, kind = (item.get(n) if isinstance(item, Mapping) else None for n in names)
        if not (type(start) is type(end) is int and isinstance(kind, str)):
            given = shortened(repr(item))
            self.wrong("spans", f"a span has {', '.join(names)} (two numbers, a text), not {given}")
        if not 0 <= start < end <= len(text):
            self.wrong("spans", f"{start} to {end} is no part of a text of {len(text)} characters")
        return start, end, kind

    def wrong(self, name: str, problem: str) -> NoReturn:
        """Raise a UserError that names file, line and column."""
        raise UserError(f"{self.where}, field {self.column(name)}: {problem}")

    def _missing(self, name: str, column: str) -> NoReturn:
        near = difflib.get_close_matches(column, map(str, self.row), n=1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        there = ", ".join(map(str, self.row)) or "none"
        raise UserError(
            f"{self.where}, field {column}: there is no such column{hint}; there are {there}. Say "
            f"which one is the {name} with columns: {{{name}: COLUMN}}"
        )


def rows(source: Source, columns: Mapping[str, str] | None = None) -> Iterator[Fields]:
    """The rows of a table.

    Raises:
        UserError: it cannot be read, or a row is no object.
    """
    path = source.path()
    for place, row in read_table(path):
        if not isinstance(row, Mapping):
            found = shortened(repr(row))
            raise UserError(f"{path}, {place}: a row is an object of columns; this one is {found}")
        yield Fields(f"{path}, {place}", row, columns or {})


def compared(row: Fields) -> Preference | str:
    """The pair of two outputs and a verdict; or why there is none."""
    prompt, verdict = row.prompt(), row.verdict()
    outputs = [row.text(name, empty=True) for name in ("output_1", "output_2")]
    if verdict is None:
        return "without a verdict"
    if verdict == 0:
        return "ties"
    if not all(text.strip() for text in outputs):
        return "with an empty response"
    if outputs[0] == outputs[1]:
        return "whose responses are equal"
    chosen, rejected = outputs if verdict < 0 else outputs[::-1]
    return Preference(prompt=prompt, chosen=chosen, rejected=rejected)


def _transcript(value: Any) -> str | None:
    """A text; of a conversation the content of its only turn, or all turns with who speaks."""
    if isinstance(value, str):
        return value
    if not isinstance(value, list) or not value:
        return None
    turns = [
        (turn.get("role"), turn.get("content")) if isinstance(turn, Mapping) else (None, None)
        for turn in value
    ]
    if not all(isinstance(role, str) and isinstance(content, str) for role, content in turns):
        return None
    if len(turns) == 1:
        return str(turns[0][1])
    return "\n\n".join(f"{str(role).capitalize()}: {content}" for role, content in turns)
