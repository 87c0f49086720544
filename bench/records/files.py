"""What a run leaves behind: `record.json` and its item, curve and sample files.

``results/<suite>/<run_id>/`` holds

    record.json     provenance, metrics, stages: a `bench.records.schema.Record`, and its digest
    items.jsonl     one `Item` per test instruction, averaged over its samples
    metrics.jsonl   one row per training step; ``validation_*`` only every k steps
    samples.jsonl   a few `Sample` generations with their per-token rewards
    method.py       the method's source, where no package holds it (`bench.register_method`)

Every reader names the file and the field or line of what is wrong. A record of an older schema is
migrated on reading (`bench.records.migrations`).

The digest holds a hash of each field and of each file beside the record, taken when it was written.
It tells what was edited or mixed up by hand; it is no signature, and none of schema 1 has one.
"""

import contextlib
import hashlib
import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from pydantic import BaseModel, ValidationError

from bench.errors import UserError
from bench.records.migrations import migrate
from bench.records.schema import (
    Brought,
    Code,
    Convergence,
    CurvePoint,
    DataSplit,
    EditorRecord,
    Hardware,
    Item,
    JudgeRecord,
    Mark,
    MarkLevel,
    Metric,
    RanOn,
    Record,
    Reference,
    Row,
    Sample,
    StageRecord,
)

__all__ = [
    "CURVES",
    "ITEMS",
    "METHOD",
    "OWN",
    "PUBLISHED",
    "RECORD",
    "SAMPLES",
    "Brought",
    "Code",
    "Convergence",
    "CurvePoint",
    "Damage",
    "DataSplit",
    "EditorRecord",
    "Hardware",
    "Item",
    "JudgeRecord",
    "Mark",
    "MarkLevel",
    "Metric",
    "RanOn",
    "Record",
    "RecordError",
    "Reference",
    "Run",
    "Sample",
    "StageRecord",
    "contradictions",
    "edits",
    "explain",
    "find_runs",
    "read_curves",
    "read_document",
    "read_documents",
    "read_items",
    "read_record",
    "read_records",
    "read_samples",
    "record_files",
    "without_copies",
    "write_record",
]

PUBLISHED = Path(__file__).parents[2] / "results"
"""The records that the repository holds; beside an installed package there are none."""
OWN = "runs"  # the folder in `results` for a user's own runs, which git ignores
RECORD = "record.json"
ITEMS = "items.jsonl"
CURVES = "metrics.jsonl"
SAMPLES = "samples.jsonl"
METHOD = "method.py"
BESIDE = (ITEMS, CURVES, SAMPLES, METHOD)
DIGEST = "digest"
MAX_DRIFT = 1e-6  # record.json and items.jsonl hold the same mean, up to rounding
_NAMED = 4  # so many edited fields fit into a line

_AnyRow = TypeVar("_AnyRow", bound=Row)
DocumentT = TypeVar("DocumentT", bound=BaseModel)


class RecordError(UserError, ValueError):
    """A result file that cannot be read or written: which, where in it, and why."""


class Damage(str):
    """A line about a result that cannot be trusted or read, among lines that only inform."""

    __slots__ = ()


class Run(NamedTuple):
    """A record and the folder that holds it."""

    record: Record
    folder: Path


def explain(error: ValidationError) -> str:
    """The first complaint of pydantic as "field: what"; the number of others."""
    first, *others = error.errors(include_url=False)
    field = ".".join(str(part) for part in first["loc"])
    more = f" (and {len(others)} more)" if others else ""
    return f"{field}: {first['msg']}{more}" if field else f"{first['msg']}{more}"


def read_document(path: Path, kind: type[DocumentT]) -> DocumentT:
    """A JSON file that is one of our models, a record of a run apart (`read_record`).

    Raises:
        RecordError: naming the file and the first field that is wrong.
    """
    try:
        return kind.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise RecordError(f"{path}: cannot be read: {error}") from error
    except ValidationError as error:
        raise RecordError(f"{path}: {explain(error)}") from error


def read_documents(
    paths: Iterable[Path], kind: type[DocumentT], problems: list[str]
) -> list[DocumentT]:
    """Those that can be read; `problems` receives a `Damage` for each of the others."""
    found = []
    for path in paths:
        try:
            found.append(read_document(path, kind))
        except RecordError as error:
            problems.append(Damage(error))
    return found


def write_record(record: Record, folder: Path) -> Path:
    """Write `record.json` into `folder` (made where missing) at one stroke.

    The files beside it are there already: their hashes go into the digest.

    Raises:
        RecordError: naming the field that holds NaN, a value that is not JSON or a text that is not
            UTF-8, or if the folder cannot be written.
    """
    path = folder / RECORD
    temporary = folder / f".{RECORD}.{os.getpid()}"
    body = _body(record, path)
    text = _to_json(body | {DIGEST: _digest(body) | _file_digest(folder)})
    try:
        folder.mkdir(parents=True, exist_ok=True)
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        raise RecordError(f"{path}: cannot be written: {error.strerror or error}") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()
    return path


def _body(record: Record, path: Path) -> dict[str, Any]:
    """The record's fields, each of them JSON."""
    body: dict[str, Any] = {}
    for name in Record.model_fields:
        try:
            body |= record.model_dump(mode="json", include={name})
            _to_json({name: body[name]}).encode()
        except ValueError as error:
            raise RecordError(f"{path}: {name}: {error}") from error
    return body


def _to_json(body: dict[str, Any]) -> str:
    text = json.dumps(body, indent=2, sort_keys=True, allow_nan=False, ensure_ascii=False)
    return text + "\n"


def _digest(body: Mapping[str, Any]) -> dict[str, str]:
    """A hash of each field, the same however the file is laid out."""
    return {name: _sha(json.dumps(value, sort_keys=True).encode()) for name, value in body.items()}


def _file_digest(folder: Path) -> dict[str, str]:
    """A hash of each file beside the record; git may change the ends of lines."""
    paths = [folder / name for name in BESIDE]
    return {p.name: _sha(p.read_bytes().replace(b"\r\n", b"\n")) for p in paths if p.is_file()}


def _sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def read_record(path: Path, *, verify: bool = True) -> Record:
    """The record at `path`, which is the file or the run's folder.

    Args:
        path: the file or the folder.
        verify: refuse a record that was edited after it was written; else see `edits`.

    Raises:
        RecordError: naming the file and the first field that is wrong.
    """
    file, body = _read_body(path)
    try:
        migrated = migrate({name: value for name, value in body.items() if name != DIGEST})
    except ValueError as error:
        raise RecordError(f"{file}: {error}") from error
    try:
        record = Record.model_validate(migrated)
    except ValidationError as error:
        raise RecordError(f"{file}: {explain(error)}") from error
    if verify and (edited := _edits(body, file.parent)):
        raise RecordError(f"{file}: {_edited(edited)}")
    return record


def edits(path: Path) -> list[str]:
    """Fields of the record at `path`, and files beside it, that are not as they were written.

    Raises:
        RecordError: the file is not there, or no JSON object.
    """
    file, body = _read_body(path)
    return _edits(body, file.parent)


def _edits(body: dict[str, Any], folder: Path) -> list[str]:
    written = body.get(DIGEST)
    fields = {name: value for name, value in body.items() if name != DIGEST}
    if written is None and fields.get("schema_version", 1) == 1:
        return []
    if not isinstance(written, dict):
        return [DIGEST]
    found = _digest(fields)
    edited = {name for name in found if written.get(name) != found[name]}
    files = _file_digest(folder)
    beside = written.keys() & set(BESIDE)
    edited |= {name for name in beside if written[name] != files.get(name)}
    return sorted(edited | (written.keys() - found.keys() - beside))


def _edited(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    named = ", ".join(names[:_NAMED]) + more
    return (
        f"{named}: edited or removed after the run was written, and cannot be trusted; restore the "
        "folder, or run it again"
    )


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "is not UTF-8"
        raise RecordError(f"{path}: cannot be read: {reason}") from error


def _read_body(path: Path) -> tuple[Path, dict[str, Any]]:
    """The record's file, and what is in it."""
    file = path / RECORD if path.is_dir() else path
    try:
        body = json.loads(_read_text(file))
    except json.JSONDecodeError as error:
        raise RecordError(f"{file}, line {error.lineno}: not JSON: {error.msg}") from error
    if not isinstance(body, dict):
        raise RecordError(f"{file}: expected an object, found {type(body).__name__}")
    return file, body


def record_files(root: Path) -> list[Path]:
    """Every record at or below `root`, by path; a user's own runs (`OWN`) are no part of it."""
    found = sorted(root.rglob(RECORD))
    return [path for path in found if path.relative_to(root).parts[0] != OWN]


def find_runs(root: Path) -> tuple[list[Run], list[str]]:
    """Every run at or below `root`, by path, and a `Damage` for each record that is unreadable.

    Copies of a run count once, and are named among the lines.
    """
    runs, problems = [], []
    for path in record_files(root):
        try:
            runs.append(Run(read_record(path), path.parent))
        except RecordError as error:
            problems.append(Damage(error))
    kept, copies = without_copies(runs)
    return kept, [*problems, *copies]


def without_copies(runs: Sequence[Run]) -> tuple[list[Run], list[str]]:
    """One run of equal records, that whose folder has its name; and a line for each other.

    A backup is no second result, and not a newer one.
    """
    kept: dict[tuple[str, str, str], Run] = {}
    copies = []
    for run in sorted(runs, key=lambda run: run.folder.name != run.record.run_id):
        record = run.record
        same = kept.setdefault((record.run_id, record.started_at, record.finished_at), run)
        if same is not run:
            copies.append(f"{run.folder}: passed over, it is a copy of {same.folder}")
    folders = {run.folder for run in kept.values()}
    return [run for run in runs if run.folder in folders], copies


def read_records(root: Path) -> tuple[list[Record], list[str]]:
    """Every record at or below `root`, and a line for each that is unreadable."""
    runs, problems = find_runs(root)
    return [run.record for run in runs], problems


def contradictions(record: Record, items: Sequence[Item]) -> dict[str, tuple[float, float]]:
    """Metrics whose mean is not that of the items: name -> (in the record, over the items).

    One of the two was edited, or they belong to different runs.
    """
    found = {}
    for name, metric in record.metrics.items():
        values = [value for item in items if (value := item.values.get(name)) is not None]
        mean = math.fsum(values) / len(values) if values else metric.mean
        if abs(mean - metric.mean) > MAX_DRIFT:
            found[name] = (metric.mean, mean)
    return found


def _read_lines(path: Path, row: type[_AnyRow]) -> Iterator[_AnyRow]:
    for number, line in enumerate(_read_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            yield row.model_validate(json.loads(line))
        except json.JSONDecodeError as error:
            raise RecordError(f"{path}, line {number}: not JSON: {error.msg}") from error
        except ValidationError as error:
            raise RecordError(f"{path}, line {number}: {explain(error)}") from error


def read_items(folder: Path) -> list[Item]:
    """The rows of `items.jsonl`. Raises RecordError, also where an index comes twice."""
    items = list(_read_lines(folder / ITEMS, Item))
    seen: set[int] = set()
    for item in items:
        if item.index in seen:
            raise RecordError(f"{folder / ITEMS}: index {item.index} comes twice")
        seen.add(item.index)
    return items


def read_curves(folder: Path) -> list[CurvePoint]:
    """The rows of `metrics.jsonl`. Raises RecordError."""
    return list(_read_lines(folder / CURVES, CurvePoint))


def read_samples(folder: Path) -> list[Sample]:
    """The rows of `samples.jsonl`. Raises RecordError."""
    return list(_read_lines(folder / SAMPLES, Sample))
