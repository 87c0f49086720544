"""The schema of a run's files: the `Record` of `record.json`, and the rows of its other files.

Each class refuses what it does not know; `bench.records.files` reads and writes them.
"""

import hashlib
import json
from typing import Any, Final, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    TypeAdapter,
    ValidationError,
    model_validator,
)

SCHEMA_VERSION: Final = 5

# "partial": it ended well where it was told to, before anything was judged (`Record.until`).
Status = Literal["ok", "partial", "diverged", "out_of_memory", "failed", "interrupted"]


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


class RanOn(_Strict):
    """What a stage was computed on: where runs differ in it, their last bits may.

    Attributes:
        device: model of the GPU, or of the CPU.
        threads: CPU threads of torch.
        packed: whether batches went through the model without padding; None: no model was used.
        processes: how many shared the work.
    """

    device: str
    threads: int
    packed: bool | None = None
    processes: int = 1


class StageRecord(_Strict):
    """One stage; the cost is that of computing it, also where it was found in the store.

    Attributes:
        counts: of its data, as "pairs", "unchanged" and "changed_too_much" (edits), "identical" and
            "dropped" (left out), "truncated" (responses cut), "cut_prompts" and
            "set_aside" (pairs that no method learns from).
        data_sha: hash of the pairs or edits that it made; None: it made none, or the record is
            older.
        peak_memory_since: whether the peak is the stage's own or that of its process so far.
        role: "policy" of the one that trained the run's policy, by whatever algorithm; None: it is
            another one, or the record is older and it is "ppo" (`Record.policy_stage`).
    """

    name: str
    role: Literal["policy"] | None = None
    key: str
    seconds: FiniteFloat
    cached: bool
    tokens: int | None = None
    steps: int | None = None
    counts: dict[str, int] = {}
    data_sha: str | None = None
    peak_memory_gib: FiniteFloat | None = None
    peak_memory_since: Literal["stage", "process"] | None = None
    ran_on: RanOn | None = None


class Convergence(_Strict):
    """What it took to reach 90 % of the best evaluation score."""

    best_step: int | None = None
    steps_to_90: int | None = None
    seconds_to_90: FiniteFloat | None = None
    tokens_to_90: int | None = None


class Code(_Strict):
    """The source that ran; None outside a git checkout.

    Attributes:
        method_sha: SHA-256 of `method.py` beside the record, the source of a method that was
            registered for one session (`bench.register_method`); None: one that is installed.
    """

    commit: str | None = None
    dirty: bool | None = None
    diff_sha: str | None = None
    method_sha: str | None = None


class Hardware(_Strict):
    """The machine and the arithmetic it did; None: not known, or the record is older.

    Attributes:
        cpu: its name; several kinds that round otherwise share one ("AMD EPYC").
        cpu_family, cpu_model, cpu_stepping: the kind of an x86 CPU.
        cpu_capability: the instructions that torch's own kernels use, as "AVX2".
        blas: the library that multiplies matrices on the CPU, and its version.
        blas_kernel: what the environment tells it to use; None: what it finds best for the CPU.
    """

    cpu: str | None = None
    cpu_family: int | None = None
    cpu_model: int | None = None
    cpu_stepping: int | None = None
    cpu_capability: str | None = None
    blas: str | None = None
    blas_kernel: str | None = None
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


MarkLevel = Literal["marked", "invalid"]


class Mark(_Strict):
    """A reason to doubt a judge's win rate.

    Attributes:
        what: the diagnostic that it comes from, or "missing".
        level: "invalid": the win rate is not to be quoted.
        text: the reason, in words.
    """

    what: str
    level: MarkLevel
    text: str

    def __str__(self) -> str:
        return f"{'NOT VALID' if self.level == 'invalid' else 'MARKED'}: {self.text}"


_MARKS = TypeAdapter(list[Mark])


class JudgeRecord(_Strict):
    """Who judged, with which prompt, how often with which outcome, for what money.

    Attributes:
        counts: verdicts by status.
        cost_usd: None where a price is not known.
        details: what else the judge says of its work: models, dates, diagnostics, marks.
    """

    name: str
    model: str | None = None
    template_sha: str | None = None
    counts: dict[str, int] = Field(default_factory=dict)
    cost_usd: FiniteFloat | None = None
    details: dict[str, Any] = Field(default_factory=dict)

    @property
    def marks(self) -> list[Mark]:
        """What the judge says against its own verdicts."""
        try:
            return _MARKS.validate_python(self.details.get("marks", []))
        except ValidationError:  # a judge may mean something else by the word
            return []


class EditorRecord(_Strict):
    """Who made the minimal edits; `details` as the judge's."""

    name: str
    source: str
    cost_usd: FiniteFloat | None = None
    details: dict[str, Any] = Field(default_factory=dict)


class Brought(_Strict):
    """A model that a run was given, where it would have trained one.

    Attributes:
        name: last part of its path or of its id on the hub.
        kind: what it is, in words.
        granularity: of a reward model, what it scores.
        sha: hash of its files.
        commit: of one on the hub, instead.
    """

    name: str
    kind: str
    granularity: Literal["sequence", "segment", "token"] | None = None
    sha: str | None = None
    commit: str | None = None


class Record(_Strict):
    """One run of one method with one seed."""

    schema_version: Literal[5] = SCHEMA_VERSION
    run_id: str
    suite: str
    method: str
    label: str
    """Method plus non-default options, such as "token_ppo loss=eq4": the leaderboard's row."""
    paper: str = ""
    preset: str
    seed: int
    status: Status
    until: str | None = None
    """The stage behind which it was to end (`run --until`); None: it is of a whole run."""
    error: str | None = None
    config: dict[str, Any]
    config_sha: str
    model_commit: str | None = None
    """Of a base model on the hub, the commit that its revision stood for."""
    code: Code = Field(default_factory=Code)
    packages: dict[str, str] = Field(default_factory=dict)
    hardware: Hardware = Field(default_factory=Hardware)
    data: dict[str, DataSplit] = Field(default_factory=dict)
    reference: Reference
    judge: JudgeRecord
    editor: EditorRecord | None = None
    """None where the suite edits itself, or nothing was edited."""
    brought: dict[Literal["sft", "reward_model"], Brought] = {}
    """By the stage whose place it takes: `sft.path`, `reward_model.path`."""
    stages: list[StageRecord] = Field(default_factory=list)
    metrics: dict[str, Metric] = Field(default_factory=dict)
    convergence: Convergence | None = None
    started_at: str
    finished_at: str
    """ISO 8601, UTC."""

    @property
    def policy_stage(self) -> StageRecord | None:
        """The stage that trained the policy; None: none did, or the run did not come so far."""
        named = {stage.role or stage.name: stage for stage in self.stages}
        return named.get("policy") or named.get("ppo")  # before there were roles


class Row(BaseModel):
    """A line of a JSONL file beside the record; keys that it does not name are kept."""

    model_config = ConfigDict(extra="allow", frozen=True)


class Item(Row):
    """One test instruction: metric name -> its value here, None where it is missing."""

    __pydantic_extra__: dict[str, FiniteFloat | None]

    index: int
    prompt_sha: str

    @property
    def values(self) -> dict[str, float | None]:
        """The numeric keys, `win_rate` (probability that the model is preferred) among them."""
        return self.__pydantic_extra__ or {}


class Sample(Row):
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


class CurvePoint(Row):
    """One training step; NaN is allowed here, since a diverging run has such steps."""

    __pydantic_extra__: dict[str, float | None]

    step: int

    @property
    def values(self) -> dict[str, float | None]:
        """The numeric keys of this step."""
        return self.__pydantic_extra__ or {}


def texts_sha(texts: list[str]) -> str:
    """The hash by which a record names its references and its instructions."""
    return hashlib.sha256(json.dumps(texts).encode()).hexdigest()[:16]


def prompt_sha(prompt: str) -> str:
    """The hash by which `items.jsonl` names an instruction."""
    return texts_sha([prompt])
