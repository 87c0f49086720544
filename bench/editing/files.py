"""From a file of preferences to a file of edits; every row is accounted for.

Two formats are read: JSONL of `bench.data.Preference`, and AlpacaFarm's JSON list of {instruction,
input, output_1, output_2, preference}.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

from pydantic import ConfigDict, TypeAdapter, ValidationError

from bench.data import (
    Edit,
    Preference,
    PreferenceLabel,
    Row,
    Text,
    read_rows,
    row_lines,
    whole_prompt,
)
from bench.editing.acceptance import EditResult, require_answers
from bench.editing.claude import Claude, Pair
from bench.editing.report import EditReport
from bench.errors import UserError
from bench.files import check_writable, write_atomically
from bench.preference import side

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
    rows: list[Pair | str]
    if _is_list(path):
        rows = [row.less_preferred() for row in _read_farm(path)]
    else:
        rows = [(row.prompt, row.rejected) for row in read_rows(path, Preference)]
    if not rows:
        raise UserError(f"{path} has no preferences")
    pairs = [row for row in rows if not isinstance(row, str)]
    return pairs, dict(Counter(row for row in rows if isinstance(row, str)))


def edit_file(
    preferences: Path, out: Path, editor: Claude, *, allow_missing: bool = False
) -> EditReport:
    """Edit the less preferred response of every pair of a file.

    Writes the accepted edits to `out`, the others with their reason beside it as
    `NAME.rejected.jsonl`, the report as `NAME.report.json`; all when everything is done.

    Args:
        preferences: JSONL of `Preference`, or AlpacaFarm's JSON list.
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
    check_writable(out)
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
        for name, result in zip(_ids(preferences, len(results)), results, strict=True)
        if (text := result.edited) is not None
    ]
    rejected = [Rejected.of(result) for result in results if result.edited is None]
    reported = json.dumps(report.as_dict(), indent=2, ensure_ascii=False, allow_nan=False)
    write_atomically(beside(out, "rejected.jsonl"), "".join(row_lines(rejected)))
    write_atomically(beside(out, "report.json"), reported + "\n")
    write_atomically(out, "".join(row_lines(accepted)))  # last: who finds it finds the others
    return report


def beside(out: Path, ending: str) -> Path:
    """The file beside `out` that has another ending."""
    return out.with_name(f"{out.name.removesuffix('.jsonl')}.{ending}")


def _ids(path: Path, n: int) -> list[str | None]:
    """The ids of a file's n pairs, which their edits take over; AlpacaFarm's have none."""
    if _is_list(path):
        return [None] * n
    return [row.id for row in read_rows(path, Preference)]


def _is_list(path: Path) -> bool:
    """Whether a file begins as a JSON list does."""
    try:
        with path.open(encoding="utf-8") as file:
            return file.read(1000).lstrip().startswith("[")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {path}: {error}") from error


def _read_farm(path: Path) -> list[FarmPreference]:
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read {path}: {error}") from error
    try:
        return TypeAdapter(list[FarmPreference]).validate_python(rows)
    except ValidationError as error:
        first = error.errors()[0]
        number, *fields = first["loc"]
        field = ".".join(map(str, fields)) or "the row"
        where = f"{path}, row {int(number) + 1}, field {field}"
        raise UserError(f"{where}: {first['msg']}") from error
