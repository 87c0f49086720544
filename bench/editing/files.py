"""From a file of preferences to a file of edits; every row is accounted for.

Two formats are read: JSONL of `bench.data.Preference`, and AlpacaFarm's JSON list of {instruction,
input, output_1, output_2, preference}.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError, field_validator

from bench.data import Edit, Preference, Row, read_rows, write_rows
from bench.editing.acceptance import EditResult
from bench.editing.claude import Claude, Pair
from bench.editing.report import EditReport
from bench.errors import UserError

TIE, UNLABELLED = "tie", "unlabelled"


class FarmPreference(Row):
    """A pair of AlpacaFarm: 1 = `output_1` is preferred, 2 = `output_2`, 1.5 or 0 = tie.

    What lies between 1 and 2 is a mean of several labels. Other fields are passed over.
    """

    model_config = ConfigDict(extra="ignore")

    instruction: str
    input: str | None = None
    output_1: str
    output_2: str
    preference: float | None

    @field_validator("preference")
    @classmethod
    def _known(cls, value: float | None) -> float | None:
        if value is None or value == 0 or 1 <= value <= 2:
            return value
        raise ValueError("is neither 0 nor between 1 and 2")

    def less_preferred(self) -> Pair | str:
        """The prompt and y_l, or why there is none."""
        if self.preference is None:
            return UNLABELLED
        if self.preference in (0.0, 1.5):
            return TIE
        prompt = f"{self.instruction}\n\n{self.input}" if self.input else self.instruction
        return prompt, self.output_2 if self.preference < 1.5 else self.output_1


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
    _check_encodable(path, rows)
    pairs = [row for row in rows if not isinstance(row, str)]
    return pairs, dict(Counter(row for row in rows if isinstance(row, str)))


def edit_file(preferences: Path, out: Path, editor: Claude) -> EditReport:
    """Edit the less preferred response of every pair of a file.

    Writes the accepted edits to `out`, the others with their reason beside it as
    `NAME.rejected.jsonl`, the report as `NAME.report.json`; all when everything is done.

    Args:
        preferences: JSONL of `Preference`, or AlpacaFarm's JSON list.
        out: JSONL of `Edit`.
        editor: who edits.

    Raises:
        UserError: a file is wrong, or nothing can be answered; answers so far are kept.
    """
    pairs, left_out = read_responses(preferences)
    _check_writable(out, preferences)
    results = editor.edit(pairs)
    report = editor.report(left_out)
    accepted = [
        Edit(prompt=result.prompt, original=result.original, edited=text, source=editor.source)
        for result in results
        if (text := result.edited) is not None
    ]
    rejected = [Rejected.of(result) for result in results if result.edited is None]
    try:
        _write(beside(out, "rejected.jsonl"), rejected)
        _write(beside(out, "report.json"), report.as_dict())
        _write(out, accepted)  # last: who finds it finds the others
    except OSError as error:
        raise UserError(
            f"cannot write {out}: {error.strerror}; the answers are kept, run it again", exit_code=1
        ) from error
    return report


def beside(out: Path, ending: str) -> Path:
    """The file beside `out` that has another ending."""
    return out.with_name(f"{out.name.removesuffix('.jsonl')}.{ending}")


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


def _check_encodable(path: Path, rows: list[Pair | str]) -> None:
    """Refuse half a character, as JSON can spell it: it can be neither sent nor hashed."""
    for number, row in enumerate(rows, start=1):
        try:
            "".join(row).encode()
        except UnicodeEncodeError as error:
            raise UserError(
                f"{path}, row {number}: half a character (\\ud800 to \\udfff in JSON) is no text"
            ) from error


def _check_writable(out: Path, preferences: Path) -> None:
    """Find out before anything is paid for."""
    if out.resolve() == preferences.resolve():
        raise UserError(f"the edits would overwrite the preferences in {preferences}; name another")
    if out.is_dir():
        raise UserError(f"cannot write {out}: it is a folder; name a file in it")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        temporary = _temporary(out)
        temporary.touch()
        temporary.unlink()
    except OSError as error:
        raise UserError(f"cannot write {out}: {error.strerror}") from error


def _write(path: Path, content: Iterable[Row] | Mapping[str, Any]) -> None:
    """Write a file at one stroke."""
    temporary = _temporary(path)
    try:
        if isinstance(content, Mapping):
            text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
            temporary.write_text(text + "\n", encoding="utf-8")
        else:
            write_rows(temporary, content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}")
