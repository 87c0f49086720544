"""What a run leaves behind: `record.json` and its item, curve and sample files.

``results/<suite>/<run_id>/`` holds

    record.json     provenance, metrics, stages: the `Record` below
    items.jsonl     one `Item` per test instruction, averaged over its samples
    metrics.jsonl   one row per PPO step; ``validation_*`` only every k steps
    samples.jsonl   a few `Sample` generations with their per-token rewards

Every reader names the file and the field or line of what is wrong.
"""

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError, model_validator

from bench.errors import UserError

SCHEMA_VERSION = 1
RECORD = "record.json"
ITEMS = "items.jsonl"
CURVES = "metrics.jsonl"
SAMPLES = "samples.jsonl"

Status = Literal["ok", "diverged", "out_of_memory", "failed", "interrupted"]


class RecordError(UserError, ValueError):
    """A result file that cannot be read or written: which, where in it, and why."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="constants")


class Metric(_Strict):
    """A measured number; rates are fractions. What is unknown stays None, never NaN."""

    mean: FiniteFloat
    standard_error: FiniteFloat | None = None
    ci95: tuple[FiniteFloat, FiniteFloat] | None = None
    n: int | None = None
    wins: int | None = None
    losses: int | None = None
    ties: int | None = None
    missing: int | None = None

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.ci95 is not None and self.ci95[0] > self.ci95[1]:
            raise ValueError(f"ci95 begins at {self.ci95[0]}, above its end {self.ci95[1]}")
        return self

    @classmethod
    def of(cls, estimate: object) -> Self:
        """The metric of an estimate of `bench.stats`: its attributes that a record keeps."""
        return cls(**{k: v for k, v in vars(estimate).items() if k in cls.model_fields})


class StageRecord(_Strict):
    """One stage; the cost is that of computing it, also where it was found in the store.

    Attributes:
        counts: of its data, as "pairs", "identical" (left out) and "truncated" (responses cut).
    """

    name: str
    key: str
    seconds: FiniteFloat
    cached: bool
    tokens: int | None = None
    steps: int | None = None
    counts: dict[str, int] = {}
    peak_memory_gib: FiniteFloat | None = None


class Convergence(_Strict):
    """What it took to reach 90 % of the best evaluation score."""

    best_step: int | None = None
    steps_to_90: int | None = None
    seconds_to_90: FiniteFloat | None = None
    tokens_to_90: int | None = None


class Code(_Strict):
    """The source that ran; None outside a git checkout."""

    commit: str | None = None
    dirty: bool | None = None
    diff_sha: str | None = None


class Hardware(_Strict):
    """The machine and the arithmetic it did."""

    cpu: str | None = None
    cores: int | None = None
    gpu: str | None = None
    memory_gib: FiniteFloat | None = None
    dtype: str | None = None
    threads: int | None = None


class DataSplit(_Strict):
    """Rows and hash of one split."""

    n: int
    sha: str


class Reference(_Strict):
    """The outputs that methods are compared with, by hash."""

    name: str
    sha: str


class JudgeRecord(_Strict):
    """Who judged, with which prompt, how often with which outcome, for what money.

    Attributes:
        counts: verdicts by status.
        cost_usd: None where a price is not known.
        details: what else the judge says of its work: models, dates, diagnostics.
    """

    name: str
    model: str | None = None
    template_sha: str | None = None
    counts: dict[str, int] = Field(default_factory=dict)
    cost_usd: FiniteFloat | None = None
    details: dict[str, Any] = Field(default_factory=dict)


class EditorRecord(_Strict):
    """Who made the minimal edits; `details` as the judge's."""

    name: str
    source: str
    cost_usd: FiniteFloat | None = None
    details: dict[str, Any] = Field(default_factory=dict)


class Record(_Strict):
    """One run of one method with one seed."""

    schema_version: Literal[1] = 1
    run_id: str
    suite: str
    method: str
    label: str
    """Method plus non-default options, such as "token_ppo loss=eq4": the leaderboard's row."""
    paper: str = ""
    preset: str
    seed: int
    status: Status
    error: str | None = None
    config: dict[str, Any]
    config_sha: str
    code: Code = Field(default_factory=Code)
    packages: dict[str, str] = Field(default_factory=dict)
    hardware: Hardware = Field(default_factory=Hardware)
    data: dict[str, DataSplit] = Field(default_factory=dict)
    reference: Reference
    judge: JudgeRecord
    editor: EditorRecord | None = None
    """None where the suite edits itself, or nothing was edited."""
    stages: list[StageRecord] = Field(default_factory=list)
    metrics: dict[str, Metric] = Field(default_factory=dict)
    convergence: Convergence | None = None
    started_at: str
    finished_at: str
    """ISO 8601, UTC."""


class _Row(BaseModel):
    model_config = ConfigDict(extra="allow", frozen=True)


class Item(_Row):
    """One test instruction: metric name -> its value here, None where it is missing."""

    __pydantic_extra__: dict[str, FiniteFloat | None]

    index: int
    prompt_sha: str

    @property
    def values(self) -> dict[str, float | None]:
        """The numeric keys, `win_rate` (probability that the model is preferred) among them."""
        return self.__pydantic_extra__ or {}


class Sample(_Row):
    """A generation beside the reference, with the reward of each of its tokens."""

    prompt: str
    output: str
    reference: str
    score: float | None = None
    reference_score: float | None = None
    preference: float | None = None
    tokens: list[str] = Field(default_factory=list)
    token_rewards: list[float] = Field(default_factory=list)
    greedy: bool = False

    @model_validator(mode="after")
    def _aligned(self) -> Self:
        if self.token_rewards and len(self.token_rewards) != len(self.tokens):
            raise ValueError(
                f"{len(self.tokens)} tokens, but {len(self.token_rewards)} token_rewards"
            )
        return self


class CurvePoint(_Row):
    """One PPO step; NaN is allowed here, since a diverging run has such steps."""

    __pydantic_extra__: dict[str, float | None]

    step: int

    @property
    def values(self) -> dict[str, float | None]:
        """The numeric keys of this step."""
        return self.__pydantic_extra__ or {}


_AnyRow = TypeVar("_AnyRow", bound=_Row)


class Run(NamedTuple):
    """A record and the folder that holds it."""

    record: Record
    folder: Path


def _explain(error: ValidationError) -> str:
    """The first complaint of pydantic as "field: what"; the number of others."""
    first, *others = error.errors(include_url=False)
    field = ".".join(str(part) for part in first["loc"])
    more = f" (and {len(others)} more)" if others else ""
    return f"{field}: {first['msg']}{more}" if field else f"{first['msg']}{more}"


def write_record(record: Record, folder: Path) -> Path:
    """Write `record.json` into `folder` (made where missing) at one stroke.

    Raises:
        RecordError: if the config holds NaN or a non-JSON value, or the folder cannot be written.
    """
    path = folder / RECORD
    try:
        body = record.model_dump(mode="json")
        text = json.dumps(body, indent=2, sort_keys=True, allow_nan=False, ensure_ascii=False)
    except ValueError as error:
        raise RecordError(f"{path}: config: {error}") from error
    temporary = folder / f".{RECORD}.{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        temporary.write_text(text + "\n", encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        raise RecordError(f"{path}: cannot be written: {error.strerror or error}") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()
    return path


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "is not UTF-8"
        raise RecordError(f"{path}: cannot be read: {reason}") from error


def read_record(path: Path) -> Record:
    """The record at `path`, which is the file or the run's folder.

    Raises:
        RecordError: naming the file and the first field that is wrong.
    """
    path = path / RECORD if path.is_dir() else path
    try:
        return Record.model_validate(json.loads(_read_text(path)))
    except json.JSONDecodeError as error:
        raise RecordError(f"{path}, line {error.lineno}: not JSON: {error.msg}") from error
    except ValidationError as error:
        raise RecordError(f"{path}: {_explain(error)}") from error


def find_runs(root: Path) -> tuple[list[Run], list[str]]:
    """Every run at or below `root`, by path, and a line for each record that is unreadable."""
    runs, problems = [], []
    for path in sorted(root.rglob(RECORD)):
        try:
            runs.append(Run(read_record(path), path.parent))
        except RecordError as error:
            problems.append(str(error))
    return runs, problems


def read_records(root: Path) -> tuple[list[Record], list[str]]:
    """Every record at or below `root`, and a line for each that is unreadable."""
    runs, problems = find_runs(root)
    return [run.record for run in runs], problems


def _read_lines(path: Path, row: type[_AnyRow]) -> Iterator[_AnyRow]:
    for number, line in enumerate(_read_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            yield row.model_validate(json.loads(line))
        except json.JSONDecodeError as error:
            raise RecordError(f"{path}, line {number}: not JSON: {error.msg}") from error
        except ValidationError as error:
            raise RecordError(f"{path}, line {number}: {_explain(error)}") from error


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
