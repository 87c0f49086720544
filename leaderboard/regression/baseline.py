"""What the regression check holds a run against: bands of tolerance, and the runs they are from."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, FiniteFloat, ValidationError, model_validator

from bench.errors import UserError
from bench.records.files import RECORD, Damage, Metric, Record, Run, explain, find_runs, read_record
from bench.records.migrations import (
    flat_config_of_3,
    flat_config_of_4,
    label_of_3,
    label_of_4,
)
from leaderboard.analysis.rows import is_percent
from leaderboard.analysis.runs import Comparability
from leaderboard.regression.environment import Facts, changes, configuration, environment, measured

BASELINE = "baseline.json"
HEADLINE = ("win_rate", "gold_score")
LEVEL = 0.95  # of the band of each of these two, and of all other metrics together
_CONSTANT = 1e-4  # of max(1, |value|), around what was the same in every run


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Band(_Part):
    """Where one new run's metric may lie.

    Attributes:
        mean: of the baseline's runs.
        low, high: None where nothing is known of the spread: the metric must be there, no more.
        spread: standard error of one new run's mean around `mean`.
        values: one a run of the baseline, in the order of `Baseline.runs`; None where it has none.
        why: where the band comes from, in words.
    """

    mean: FiniteFloat
    low: FiniteFloat | None = None
    high: FiniteFloat | None = None
    spread: FiniteFloat | None = None
    values: list[FiniteFloat | None] = []
    why: str = ""

    @property
    def known(self) -> list[float]:
        """The values of the runs that have the metric."""
        return [value for value in self.values if value is not None]

    @property
    def tolerance(self) -> float | None:
        """Half the width of the band."""
        return None if self.low is None or self.high is None else (self.high - self.low) / 2


class BaselineRun(_Part):
    """What a run is recognised by; `config` is flat and without the seed."""

    run_id: str
    seed: int
    config_sha: str
    config: Facts
    environment: Facts


class Baseline(_Part):
    """Bands by metric, as `write_baseline` writes them; `runs` may be unknown."""

    label: str = ""
    suite: str = ""
    runs: list[BaselineRun] = []
    metrics: dict[str, Band]

    @model_validator(mode="after")
    def _one_value_a_run(self) -> Self:
        for name, band in self.metrics.items():
            if band.values and len(band.values) != len(self.runs):
                raise ValueError(f"{name} has {len(band.values)} values, of {len(self.runs)} runs")
        return self


def make_baseline(records: Sequence[Record], confidence: float | None = None) -> Baseline:
    """Bands of tolerance for one new run, from S runs of the same label.

    For each metric, of the S runs that have it, the prediction interval
    ``mean ± t_{S-1} sd sqrt(1 + 1/S)``, its half-width at least that of the evaluation's own error,
    ``z se sqrt(1 + 1/S)`` with se the root mean square of the runs' standard errors. Where two runs
    or more gave the same number, and no error is known, it may differ by `_CONSTANT`; a rate that
    is exactly 0 (or 1) of n, by 3 / n (the rule of three).

    Its level is 95 % for each `HEADLINE` metric; the m others share 5 % (Bonferroni), so that each
    is at ``1 - 0.05 / m``: thirty metrics at 95 % each fail every other run that is as good as the
    baseline's. So made, 12 of the 155 published runs of the testbed fail, each held against the
    four others of its row; with all bands at 95 % it would be 104.

    Args:
        records: runs of one label.
        confidence: level of all bands, instead of those two.

    Raises:
        UserError: if there is no record, or their labels or suites or what they measure differ.
    """
    if not records:
        raise UserError("a baseline needs at least one record")
    if len({(r.label, r.suite) for r in records}) > 1:
        labels = ", ".join(sorted({f"{r.suite}/{r.label}" for r in records}))
        raise UserError(f"a baseline is made from runs of one label, not of {labels}")
    records = sorted(records, key=_order)
    _check_measured(records)
    names = sorted(set().union(*(record.metrics for record in records)))
    others = len(set(names) - set(HEADLINE))
    levels = {name: LEVEL if name in HEADLINE else 1 - (1 - LEVEL) / others for name in names}
    return Baseline(
        label=records[0].label,
        suite=records[0].suite,
        runs=[
            BaselineRun(
                run_id=r.run_id,
                seed=r.seed,
                config_sha=r.config_sha,
                config=configuration(r),
                environment=environment(r),
            )
            for r in records
        ],
        metrics={name: _band(name, records, confidence or levels[name]) for name in names},
    )


def _check_measured(records: Sequence[Record]) -> None:
    """All runs of a baseline measure the same, so that a new run can be held against any."""
    first = records[0]
    for record in records[1:]:
        if found := changes(measured(environment(first)), measured(environment(record))):
            raise UserError(
                f"{record.run_id} measures something else than {first.run_id}: {found[0]}"
            )


def _order(record: Record) -> tuple[int, str]:
    return record.seed, record.run_id


def _band(name: str, records: Sequence[Record], level: float) -> Band:
    found = [record.metrics.get(name) for record in records]
    metrics = [metric for metric in found if metric is not None]
    known = [metric.mean for metric in metrics]
    low, high, spread, why = _bounds(name, metrics, level)
    return Band(
        mean=math.fsum(known) / len(known),
        low=low,
        high=high,
        spread=spread,
        values=[None if metric is None else metric.mean for metric in found],
        why=why,
    )


def _bounds(
    name: str, metrics: Sequence[Metric], level: float
) -> tuple[float | None, float | None, float | None, str]:
    """Low, high, spread and why of the band of a metric, from the runs that have it."""
    from bench.stats import prediction_interval

    values = [metric.mean for metric in metrics]
    runs = "1 run" if len(values) == 1 else f"{len(values)} runs"
    errors = [m.standard_error for m in metrics if m.standard_error is not None]
    within = float(np.sqrt(np.mean(np.square(errors)))) if errors else None
    interval = prediction_interval(values, within, level)
    if interval is None:
        return None, None, None, f"{runs}, spread unknown"
    if min(values) < max(values) or within:
        between = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
        spread = max(between, within or 0.0) * math.sqrt(1 + 1 / len(values))
        return (
            *interval,
            spread,
            f"{100 * level:.4g} % prediction interval of one new run, from {runs}",
        )
    value = values[0]
    sizes = [metric.n for metric in metrics if metric.n]
    if is_percent(name) and value in (0.0, 1.0) and sizes:
        apart = 3 / min(sizes)
        low, high = max(0.0, value - apart), min(1.0, value + apart)
        return low, high, None, f"all of {runs} gave {value:g}; rule of three"
    if len(values) == 1:
        return None, None, None, f"{runs}, spread unknown"
    apart = _CONSTANT * max(1.0, abs(value))
    return value - apart, value + apart, None, f"all of {runs} gave {value:g}"


def write_baseline(records: Sequence[Record], path: Path, confidence: float | None = None) -> None:
    """`make_baseline` as the JSON file that `check` reads."""
    body = make_baseline(records, confidence).model_dump(mode="json")
    write_text(path, json.dumps(body, indent=1, sort_keys=True, allow_nan=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a file, its folder too where that is missing.

    Raises:
        UserError: it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror or error}") from error


class NoBaselineRun(UserError):
    """A baseline without a run that the checked ones can be held against."""


class Known(NamedTuple):
    """What runs are held against.

    Attributes:
        baseline: its bands.
        runs: those of the baseline that are at hand, as listed; none of a JSON file's.
        left_out: runs of the baseline's folder that are the checked ones themselves.
    """

    baseline: Baseline
    runs: list[Run]
    left_out: list[str]


def read_baseline(path: Path, new: Sequence[Run], confidence: float | None = None) -> Known:
    """What some runs of one label are held against.

    Args:
        path: a JSON file of `write_baseline`, a folder with such a `baseline.json`, a run, or a
            folder of runs (those of the same label, suite, reference and judge).
        new: the runs that are held against it, at least one; never against themselves.
        confidence: level of all bands; a JSON file has its own.

    Raises:
        UserError: naming the file and field that is wrong.
        NoBaselineRun: there is no such run in the folder.
    """
    file = path / BASELINE if path.is_dir() else path
    if file.is_file() and file.name != RECORD:
        if confidence is not None:
            raise UserError(f"{file} has bands of its own: give --confidence to `baseline`")
        return Known(_read_file(file), [], [])
    like = [run for run in _read_runs(path) if is_like(run, new[0])]
    if not like:
        raise NoBaselineRun(
            f"{path}: no baseline.json and no ok run of {new[0].record.label!r} in it that has the "
            "same suite, reference and judge"
        )
    own = {run.folder.resolve() for run in new}
    runs = [run for run in like if run.folder.resolve() not in own]
    if not runs:
        raise NoBaselineRun(
            f"{path}: every run of {new[0].record.label!r} in it is one that is checked, and a run "
            "is not held against itself; give another baseline"
        )
    runs.sort(key=lambda run: _order(run.record))
    left_out = sorted(run.record.run_id for run in like if run.folder.resolve() in own)
    return Known(make_baseline([run.record for run in runs], confidence), runs, left_out)


def _read_file(file: Path) -> Baseline:
    try:
        body: Any = json.loads(file.read_text(encoding="utf-8"))
        return _of_today(Baseline.model_validate(body))
    except ValidationError as error:
        reason = explain(error)
    except (OSError, ValueError) as error:
        reason = str(error)
    raise UserError(f"{file}: no baseline, write it again with `bench baseline`: {reason}")


def _of_today(baseline: Baseline) -> Baseline:
    """With today's names in its label and configurations: records are read with them, too."""
    runs = [
        run.model_copy(update={"config": flat_config_of_4(flat_config_of_3(run.config))})
        for run in baseline.runs
    ]
    label = label_of_4(label_of_3(baseline.label))
    return baseline.model_copy(update={"label": label, "runs": runs})


def _read_runs(path: Path) -> list[Run]:
    if path.is_file():
        return [Run(read_record(path), path.parent)]
    if not path.is_dir():
        raise UserError(f"{path}: no such baseline")
    runs, problems = find_runs(path)
    if damage := [problem for problem in problems if isinstance(problem, Damage)]:
        raise UserError(f"baseline: {damage[0]}")
    return runs


def is_like(old: Run, new: Run) -> bool:
    """Whether both measure the same; of a run that did not end ok the judge is not known."""
    one, other = old.record, new.record
    if one.status != "ok" or (one.label, one.suite) != (other.label, other.suite):
        return False
    return other.status != "ok" or Comparability.of(old) == Comparability.of(new)
