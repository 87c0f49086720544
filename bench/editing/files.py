"""From a file of preferences to a file of edits; every row is accounted for.

Rows are those of `bench.data.Preference`, or AlpacaFarm's of {instruction, input, output_1,
output_2, preference}; the file is any that `bench.tables` reads.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, ValidationError

from bench.data import Edit, Preference, PreferenceLabel, Row, Text, row_lines, whole_prompt
from bench.editing.acceptance import EditResult, require_answers
from bench.editing.claude import Claude, Pair
from bench.editing.report import EditReport
from bench.errors import UserError
from bench.files import check_writable, write_atomically
from bench.preference import side
from bench.tables import read_table

MAX_MISSING = 0.02
"""Share of the responses without an answer from which on the edits are not written."""


class FarmPreference(Row):
    """A pair of AlpacaFarm: 1 = `output_1` is preferred, 2 = `output_2`, 1.5 or 0 = tie.

    What lies between 1 and 2 is a mean of several labels. Other fields are passed over.
    """

    model_config = ConfigDict(extra="ignore")

    instruction: Text
    input: Text | None = None
    output_1: Text
    output_2: Text
    preference: PreferenceLabel

    def less_preferred(self) -> Pair | str:
        """The prompt and y_l, or why there is none."""
        if self.preference is None:
            return "unlabelled"
        preferred = side(self.preference)
        if preferred == "tie":
            return "tie"
        prompt = whole_prompt(self.instruction, self.input)
        return prompt, self.output_2 if preferred == "first" else self.output_1


class Rejected(Row):
    """A response that has no edit, and why; see `EditResult`."""

    prompt: str
    original: str
    status: str
    reason: str
    note: str = ""
    proposed: str | None = None
    changed_fraction: float | None = None

    @classmethod
    def of(cls, result: EditResult) -> Rejected:
        """The row of a result."""
        return cls(**{name: getattr(result, name) for name in cls.model_fields})


def read_responses(path: Path) -> tuple[list[Pair], dict[str, int]]:
    """The less preferred response of every pair, and how many rows have none, by reason.

    Raises:
        UserError: naming file, row and field of what is wrong, or there is no row.
    """
    responses = [_response(row) for row in _read(path)]
    pairs = [found for found in responses if not isinstance(found, str)]
    return pairs, dict(Counter(found for found in responses if isinstance(found, str)))


def edit_file(
    preferences: Path, out: Path, editor: Claude, *, allow_missing: bool = False
) -> EditReport:
    """Edit the less preferred response of every pair of a file.

    Writes the accepted edits to `out`, the others with their reason beside it as
    `NAME.rejected.jsonl`, the report as `NAME.report.json`; all when everything is done.

    Args:
        preferences: rows of `Preference`, or AlpacaFarm's.
        out: JSONL of `Edit`.
        editor: who edits.
        allow_missing: write whatever there is, however many responses have no answer.

    Raises:
        UserError: a file is wrong, or nothing can be answered; or more than `MAX_MISSING` of the
            responses have no answer (exit code 3, nothing is written). Answers so far are kept.
    """
    pairs, left_out = read_responses(preferences)
    if out.resolve() == preferences.resolve():
        raise UserError(f"the edits would overwrite the preferences in {preferences}; name another")
    check_rows(out)
    results = editor.edit(pairs)
    if not allow_missing:
        require_answers(results, MAX_MISSING, f"nothing was written to {out}; --allow-missing does")
    report = editor.report(left_out)
    accepted = [
        Edit(
            id=name,
            prompt=result.prompt,
            original=result.original,
            edited=text,
            source=editor.source,
        )
        for name, result in zip(_ids(preferences), results, strict=True)
        if (text := result.edited) is not None
    ]
    rejected = [Rejected.of(result) for result in results if result.edited is None]
    reported = json.dumps(report.as_dict(), indent=2, ensure_ascii=False, allow_nan=False)
    write_atomically(beside(out, "rejected.jsonl"), "".join(row_lines(rejected)))
    write_atomically(beside(out, "report.json"), reported + "\n")
    write_atomically(out, "".join(row_lines(accepted)))  # last: who finds it finds the others
    return report


def check_rows(out: Path) -> None:
    """Find out whether rows can be written to `out`, and are read again by its ending.

    Raises:
        UserError: they cannot.
    """
    if out.suffix in (".gz", ".json"):
        raise UserError(f"cannot write {out}: the file has a row a line; name one as edits.jsonl")
    check_writable(out)


def beside(out: Path, ending: str) -> Path:
    """The file beside `out` that has another ending."""
    return out.with_name(f"{out.name.removesuffix('.jsonl')}.{ending}")


def _ids(path: Path) -> list[str | None]:
    """The ids of a file's responses, which their edits take over; AlpacaFarm's have none."""
    rows = (row for row in _read(path) if not isinstance(_response(row), str))
    return [row.id if isinstance(row, Preference) else None for row in rows]


def _response(row: Preference | FarmPreference) -> Pair | str:
    """The prompt and the less preferred response, or why there is none."""
    if isinstance(row, Preference):
        return row.prompt, row.rejected
    return row.less_preferred()


def _read(path: Path) -> list[Preference | FarmPreference]:
    """The rows of a file, of the kind that the first of them is."""
    rows: list[Preference | FarmPreference] = []
    places: dict[str, str] = {}
    kind: type[Preference | FarmPreference] | None = None
    for place, value in read_table(path):
        kind = kind or (FarmPreference if _is_farm(value) else Preference)
        row = _parse(value, kind, f"{path}, {place}")
        if isinstance(row, Preference) and row.id is not None:
            first = places.setdefault(row.id, place)
            if first != place:
                raise UserError(f"{path}, {place}, field id: {row.id!r} is the id of {first}, too")
        rows.append(row)
    if not rows:
        raise UserError(f"{path} has no preferences")
    return rows


def _is_farm(row: Any) -> bool:
    return isinstance(row, dict) and "instruction" in row


def _parse(
    value: Any, kind: type[Preference | FarmPreference], where: str
) -> Preference | FarmPreference:
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"])) or "the row"
        raise UserError(f"{where}, field {field}: {first['msg']}") from error
