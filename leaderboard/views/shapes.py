"""What `--format json` prints, as pydantic models: docs/json.md and docs/schemas/ are made of them.

They are read off what the analysis computed (`from_attributes`), so that a field has the name that
it has there and in records. Another shape is another `version` of its document: a test holds the
models to docs/schemas/, where each version has its file.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, FiniteFloat, field_validator

from bench.records.reward_models import BestOf
from bench.records.schema import Brought, CurvePoint, DataSplit, Metric, Record, Status
from leaderboard.analysis.reported import ReportedPaper

Name = TypeVar("Name")
Version = TypeVar("Version")
Data = TypeVar("Data")


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


Number = Annotated[FiniteFloat | None, BeforeValidator(_finite)]
"""A number, or null where there is none, it is not known, or it is not finite."""
Interval = tuple[FiniteFloat, FiniteFloat] | None


class Shape(BaseModel):
    """A part of a document."""

    model_config = ConfigDict(extra="forbid", from_attributes=True, protected_namespaces=())


class Document(Shape, Generic[Name, Version, Data]):
    """The envelope of all documents."""

    model_config = ConfigDict(serialize_by_alias=True)

    name: Name = Field(alias="schema", description="which document this is")
    version: Version = Field(description="of its shape; another shape has another number")
    grainbench: str = Field(description="version of GrainBench that wrote it")
    data: Data


class Cell(Shape):
    """A measured number."""

    mean: Number = Field(description="a rate is a fraction")
    standard_error: Number = None
    ci95: Interval = Field(None, description="95 % interval, [low, high]")


class Row(Shape):
    """One label, over its seeds."""

    label: str = Field(description="method and what differs from the suite's default preset")
    method: str
    paper: str
    preset: str
    status: str = Field(description='"ok", or how many runs ended how')
    group: int | None = Field(description="rank group; null: not ranked")
    seeds: list[int] = Field(description="that ended ok; they alone enter the win rate")
    instructions: int | None = Field(description="judged in each seed")
    missing: int | None = Field(description="instructions without a verdict in some seed")
    basis: str | None = Field(description="what the win rate's interval speaks of")
    metrics: dict[str, Cell] = Field(description="by name, as in records")
    stage_seconds: dict[str, Number] = Field(description="mean, also where it was cached")
    seconds: Number = Field(description="of all stages")
    steps_to_90: Number = Field(description="to 90 % of the best validation score, mean")
    seconds_to_90: Number
    peak_memory_gib: Number
    cost_usd: Number = Field(description="of the judge; null: not known, or nobody was asked")
    editor_usd: Number
    pairs: list[int] = Field(description="fewest and most that a reward model learned from")
    devices: list[str]
    failures: list[str] = Field(description="a line for each run that did not end ok")


class Arrival(Shape):
    """A row on its way to the table's common score."""

    steps: Number = Field(description="of training, mean over seeds; null: not every seed arrives")
    seconds: Number
    arrived: int = Field(description="seeds that have the score at some validation")
    seeds: int = Field(description="that have validations")


class Common(Shape):
    """A validation score by which rows are timed: every seed of half of the rows reaches it."""

    score: str = Field(description="what it is, in words")
    level: Number
    rows: dict[str, Arrival] = Field(description="by label, of the rows with validations")


class Table(Shape):
    """Rows that may be compared: one suite, reference, judge and base model."""

    suite: str
    reference: str
    reference_sha: str
    judge: str
    judge_model: str | None
    template_sha: str | None = Field(description="of the judge's prompt")
    base: str | None = Field(description="base or SFT model; null: the suite's own")
    metric: str = Field(description="by which rows are ranked")
    reason: str = Field(description='why it is not ranked with the first table; "" there')
    warnings: list[str]
    rows: list[Row]
    common: Common | None = Field(description="null: no curves, or no score in common")


class Leaderboard(Shape):
    """`bench leaderboard`."""

    tables: list[Table] = Field(description="rows of one may be compared, of two never")
    reported: list[ReportedPaper] = Field(description="what papers print, in their own units")


class Sample(Shape):
    """A generation, as in samples.jsonl."""

    prompt: str
    output: str
    reference: str
    score: Number
    reference_score: Number
    preference: Number = Field(description="1: the reference is better, 2: the output is")
    tokens: list[str]
    token_rewards: list[Number] = Field(description="one a token, or none at all")
    greedy: bool


class Example(Shape):
    """One instruction on which two methods differ."""

    index: int
    prompt_sha: str
    values: tuple[Number, Number] = Field(description="of label and base, means over seeds")
    seed: int | None = Field(description="of the samples")
    samples: tuple[Sample, Sample] | None = Field(
        description="of label and base; null: none was kept"
    )


class Flips(Shape):
    """How the instructions fall between two methods."""

    above: int = Field(description="instructions that the label wins and the base loses")
    below: int = Field(description="the reverse")
    instructions: int
    examples: list[Example]


class Needed(Shape):
    """How many it takes."""

    number: int | None
    possible: bool | None = Field(description="false: no number is enough; null: not known")


class Comparison(Shape):
    """One label minus another."""

    label: str
    base: str
    metric: str
    mean: Number = Field(description="label minus base")
    standard_error: Number
    df: Number = Field(description="degrees of freedom; null: infinitely many, or no numbers")
    ci95: Interval
    p_value: Number
    p_holm: Number = Field(description="after Holm over all comparisons of the document")
    significant: bool = Field(description="p_holm is at most .05")
    seeds: int
    instructions: int
    basis: str = Field(description="what the interval speaks of")
    detectable: Number = Field(description="difference that is found with 80 % power")
    planned: Number = Field(description="difference of which the next two speak")
    needed_seeds: Needed = Field(description="for 80 % power, with as many instructions")
    needed_instructions: Needed = Field(description="likewise, with as many seeds")
    note: str = Field(description='why there are no numbers; "" where there are')
    flips: Flips | None = Field(description="with --examples")

    @field_validator("needed_seeds", "needed_instructions", mode="before")
    @classmethod
    def _as_needed(cls, value: Any) -> Any:
        return needed(value)


class Comparisons(Shape):
    """`bench compare`."""

    comparisons: list[Comparison]


class Components(Shape):
    """Variance components."""

    seed: Number = Field(description="between seeds")
    instruction: Number = Field(description="between instructions, the same in every seed")
    residual: Number = Field(description="between instructions, new in every seed")


class Spread(Shape):
    """How a paired difference spreads."""

    metric: str
    what: str = Field(description="of which difference this speaks")
    components: Components = Field(description="standard deviations of the difference")
    sources: dict[str, str] = Field(description="where each comes from")


class Design(Shape):
    """The experiment that was asked about."""

    seeds: int
    instructions: int
    alpha: float
    comparisons: int = Field(description="in the Holm family")


class Power(Shape):
    """Of one size."""

    seeds: int
    instructions: int
    power: Number = Field(description="probability that the difference is found")


class Plan(Shape):
    """`bench power`."""

    spread: Spread
    difference: float = Field(description="the true one")
    design: Design
    power: list[Power]
    needed_seeds: Needed = Field(description="for 80 % power, with the design's instructions")
    needed_instructions: Needed = Field(description="likewise, with the design's seeds")

    @field_validator("power", mode="before")
    @classmethod
    def _as_rows(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return [Power(seeds=s, instructions=n, power=p) for (s, n), p in value.items()]

    @field_validator("needed_seeds", "needed_instructions", mode="before")
    @classmethod
    def _as_needed(cls, value: Any) -> Any:
        return needed(value)


class Shown(Shape):
    """`bench show`."""

    folder: str
    record: Record = Field(description="record.json, in today's form (its schema_version)")
    curve: list[CurvePoint] | None = Field(description="metrics.jsonl; null: there is none to read")
    samples: list[Sample] | None = Field(description="samples.jsonl; null: there is none to read")


class Plugin(Shape):
    """One line of `bench list`."""

    kind: str = Field(description="method, algorithm, judge, editor or suite")
    name: str
    summary: str
    paper: str
    source: str = Field(description='"grainbench", or a distribution and its version')
    broken: bool = Field(description="it cannot be loaded; `run` says why")


class Plugins(Shape):
    """`bench list`."""

    plugins: list[Plugin]
    presets: list[str]


class CheckRow(Shape):
    """One metric of the baseline."""

    metric: str
    ok: bool
    value: Number = Field(description="mean over the runs; null: one has none")
    mean: Number = Field(description="of the baseline")
    low: Number = Field(description="of the band; null: none is known")
    high: Number
    test: str = Field(description="docs/leaderboard.md has the tests")
    verdict: str = Field(description='"ok", "not tested", or what is wrong')
    distance: Number = Field(description="in standard errors of one new run")
    residual: Number = Field(description="mean difference to the runs of the same seeds")
    largest: Number = Field(description="greatest difference on one instruction")
    detects: Number = Field(description="true difference that fails in 80 % of cases")


class Report(Shape):
    """The runs of one label."""

    run: str
    baseline: str
    ok: bool
    failures: list[str] = Field(description="reasons to fail, as on standard error")
    problems: list[str] = Field(description="those that belong to no metric")
    notes: list[str]
    rows: list[CheckRow]


class Reports(Shape):
    """`bench check`."""

    ok: bool = Field(description="of all; false: exit code 3")
    reports: list[Report]


class Band(Shape):
    """Where one new run's win rate lies in 95 % of cases."""

    mean: Number = Field(description="of the published runs")
    low: Number
    high: Number
    runs: int


class Outcome(Shape):
    """One run."""

    label: str
    method: str
    seed: int
    swept: dict[str, Any] = Field(description="field -> this run's value, of a sweep")
    folder: str = Field(description="of its record")
    status: Status | None = Field(description="null: it left no record")
    until: str | None
    error: str | None
    metrics: dict[str, Metric]
    published: Band | None = Field(description="band of one new run's win rate, of this row")
    verdict: str = Field(description='"as expected", "below the band", ..., or the status')


class SweepRow(Shape):
    """One method with one value of every swept field, over its seeds."""

    method: str
    values: dict[str, Any] = Field(description="field -> value")
    label: str
    asked: int = Field(description="seeds that were to run")
    seeds: list[int] = Field(description="that ended ok, or where they were to end")
    validation: dict[str, Cell] = Field(description="at the step that was chosen: to choose by")
    metrics: dict[str, Cell] = Field(description="of the test prompts")


class Outcomes(Shape):
    """`bench run`."""

    runs: list[Outcome] = Field(description="in the order of the runs")
    failures: list[str] = Field(description="as on standard error")
    sweep: list[SweepRow] = Field(description="empty where no field was given several values")


class Correlation(Shape):
    """With the Monte-Carlo advantage of the same tokens."""

    value: Number = Field(description="null: there is none, see note")
    ci95: Interval = Field(description="95 % interval, bootstrap over instructions")
    corrected: Number = Field(
        description="value by the ceiling, beyond 1 by noise; null: see the ceiling's note"
    )
    corrected_ci95: Interval
    note: str = Field(description='why there is no number, or no correction; "": nothing lacks')


class Correlations(Shape):
    """Both kinds."""

    pearson: Correlation
    spearman: Correlation


class Kind(Shape):
    """Tokens of one kind."""

    tokens: int
    advantage: Cell | None = Field(description="mean Monte-Carlo advantage")
    share: Cell | None = Field(description="mean of what is paid")


class CreditRow(Shape):
    """One run."""

    run: str
    method: str
    label: str
    seed: int
    tokens: int = Field(description="at which it is measured; 0: the method pays none")
    responses: int
    instructions: int
    reliability: Number = Field(description="of the Monte-Carlo advantages")
    ceiling: Correlations | None = Field(description="what the true advantages would show")
    shares: Correlations | None = Field(description="of what the method pays, the KL apart")
    advantages: Correlations | None = Field(description="of what it learns from; null: see note")
    errors: Kind | None = Field(description="tokens within errors; null: they are not known")
    others: Kind | None
    note: str = Field(description="what is missing and why")


class LabelCredit(Shape):
    """One label, over its seeds."""

    label: str
    seeds: list[int]
    shares: Cell | None = Field(description="Pearson's r of what is paid; null: a seed has none")
    advantages: Cell | None
    ceiling: Cell | None
    errors: Cell | None = Field(description="mean that is paid at tokens within errors")
    others: Cell | None


class Credit(Shape):
    """`bench credit`."""

    drawn_by: Literal["sft", "policy"] = Field(description="whose responses and continuations")
    continuations: int = Field(description="K, of each state")
    seed: int
    rows: list[CreditRow] = Field(description="in the order of the runs")
    labels: list[LabelCredit] = Field(description="empty where no label has several seeds")


class Measured(Shape):
    """One reward model on one suite."""

    name: str = Field(description="of its record's file")
    label: str
    model: Brought
    run: str | None = Field(description="that trained it; null: it was brought")
    seed: int = Field(description="of pairs and draws")
    metrics: dict[str, Metric]
    best_of_n: list[BestOf] = Field(description="empty where the suite has no gold scores")


class RewardModels(Shape):
    """Reward models on the same held-out pairs, and the same draws."""

    suite: str
    held_out: DataSplit
    draws: DataSplit | None = Field(description="null: none, so that nothing was chosen of them")
    labels: str = Field(description="set of pairs by whose accuracy the rows are ordered")
    longer: dict[str, Metric] = Field(
        description="what preferring the longer response is right on, by set of pairs"
    )
    rows: list[Measured]


class RewardModelTables(Shape):
    """`bench rm`."""

    tables: list[RewardModels]


def needed(value: Any) -> Any:
    """A needed number as the analysis has it: infinite where none is enough, None: not known."""
    if isinstance(value, Needed | dict):
        return value
    possible = None if value is None else math.isfinite(value)
    return Needed(number=round(value) if possible else None, possible=possible)


DOCUMENTS: dict[str, type[Document[Any, Any, Any]]] = {
    "leaderboard": Document[Literal["grainbench/leaderboard"], Literal[1], Leaderboard],
    "compare": Document[Literal["grainbench/compare"], Literal[1], Comparisons],
    "power": Document[Literal["grainbench/power"], Literal[1], Plan],
    "show": Document[Literal["grainbench/show"], Literal[1], Shown],
    "list": Document[Literal["grainbench/list"], Literal[1], Plugins],
    "check": Document[Literal["grainbench/check"], Literal[1], Reports],
    "run": Document[Literal["grainbench/run"], Literal[1], Outcomes],
    "credit": Document[Literal["grainbench/credit"], Literal[1], Credit],
    "rm": Document[Literal["grainbench/rm"], Literal[1], RewardModelTables],
}
