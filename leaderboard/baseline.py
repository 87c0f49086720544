"""What the regression check holds a run against: bands of tolerance, and the runs they are from."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, FiniteFloat, ValidationError, model_validator

from bench.errors import UserError
from bench.record import RECORD, Record, Run, explain, find_runs, read_record
from leaderboard.environment import Facts, environment
from leaderboard.rows import is_percent
from leaderboard.runs import Comparability

BASELINE = "baseline.json"
HEADLINE = ("win_rate", "gold_score")
LEVEL, OTHER_LEVEL = 0.95, 0.99  # of the bands of these two, and of all other metrics


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Band(_Part):
    """Where one new run's metric may lie.

    Attributes:
        mean: of the baseline's runs.
        low, high: None where nothing is known of the spread: the metric must be there, no more.
        spread: standard error of one new run's mean around `mean`.
        values: one a run of the baseline, in the order of `Baseline.runs`.
        why: where the band comes from, in words.
    """

    mean: FiniteFloat
    low: FiniteFloat | None = None
    high: FiniteFloat | None = None
    spread: FiniteFloat | None = None
    values: list[FiniteFloat] = []
    why: str = ""

    @property
    def tolerance(self) -> float | None:
        """Half the width of the band."""
        return None if self.low is None or self.high is None else (self.high - self.low) / 2


class BaselineRun(_Part):
    """What a run is recognised by."""

    run_id: str
    seed: int
    config_sha: str
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

    For each metric that every run has, the prediction interval ``mean ± t_{S-1} sd sqrt(1 + 1/S)``,
    its half-width at least that of the evaluation's own error, ``z se sqrt(1 + 1/S)`` with se the
    root mean square of the runs' standard errors. Where every run gave exactly 0 (or 1) of n, and
    no error is known, a rate is allowed 3 / n (the rule of three).

    Its level is 95 % for a `HEADLINE` metric and 99 % for the others: at 95 % each, thirty metrics
    fail every other run that is as good as the baseline's (18 of the 35 published runs of the
    testbed, each held against the four others of its row; 9 of 35 as it is).

    Args:
        records: runs of one label.
        confidence: level of all bands, instead of those two.

    Raises:
        UserError: if there is no record, or their labels or suites differ.
    """
    if not records:
        raise UserError("a baseline needs at least one record")
    if len({(r.label, r.suite) for r in records}) > 1:
        labels = ", ".join(sorted({f"{r.suite}/{r.label}" for r in records}))
        raise UserError(f"a baseline is made from runs of one label, not of {labels}")
    records = sorted(records, key=_order)
    names = sorted(set.intersection(*(set(record.metrics) for record in records)))
    return Baseline(
        label=records[0].label,
        suite=records[0].suite,
        runs=[
            BaselineRun(
                run_id=r.run_id,
                seed=r.seed,
                config_sha=r.config_sha,
                environment=environment(r),
            )
            for r in records
        ],
        metrics={name: _band(name, records, confidence) for name in names},
    )


def _order(record: Record) -> tuple[int, str]:
    return record.seed, record.run_id


def _band(name: str, records: Sequence[Record], confidence: float | None) -> Band:
    from bench.stats import prediction_interval

    level = confidence or (LEVEL if name in HEADLINE else OTHER_LEVEL)
    found = [record.metrics[name] for record in records]
    values = [metric.mean for metric in found]
    mean = math.fsum(values) / len(values)
    errors = [m.standard_error for m in found if m.standard_error is not None]
    within = float(np.sqrt(np.mean(np.square(errors)))) if errors else None
    interval = prediction_interval(values, within, level)
    runs = "1 run" if len(found) == 1 else f"{len(found)} runs"
    constant = min(values) == max(values) and not within
    if interval is not None and not constant:
        between = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
        spread = max(between, within or 0.0) * math.sqrt(1 + 1 / len(values))
        why = f"{100 * level:.4g} % prediction interval of one new run, from {runs}"
        low, high = interval
        return Band(mean=mean, low=low, high=high, spread=spread, values=values, why=why)
    sizes = [metric.n for metric in found if metric.n]
    if interval is not None and is_percent(name) and mean in (0.0, 1.0) and sizes:
        low, high = max(0.0, mean - 3 / min(sizes)), min(1.0, mean + 3 / min(sizes))
        why = f"all of {runs} gave {mean:g}; rule of three"
        return Band(mean=mean, low=low, high=high, values=values, why=why)
    return Band(mean=mean, values=values, why=f"{runs}, spread unknown")


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


def read_baseline(
    path: Path, new: Run, confidence: float | None = None
) -> tuple[Baseline, list[Run]]:
    """What a run is held against, and those of the baseline's runs that are at hand, as listed.

    Args:
        path: a JSON file of `write_baseline`, a folder with such a `baseline.json`, a run, or a
            folder of runs (those of the same label, suite, preset, reference and judge).
        new: the run that is held against it.
        confidence: level of all bands; a JSON file has its own.

    Raises:
        UserError: naming the file and field that is wrong, or that there is no such run.
    """
    file = path / BASELINE if path.is_dir() else path
    if file.is_file() and file.name != RECORD:
        if confidence is not None:
            raise UserError(f"{file} has bands of its own: give --confidence to `baseline`")
        return _read_file(file), []
    runs = [run for run in _read_runs(path) if _is_like(run, new)]
    if not runs:
        raise UserError(
            f"{path}: no baseline.json and no ok run of {new.record.label!r} in it that has the "
            "same suite, preset, reference and judge"
        )
    runs.sort(key=lambda run: _order(run.record))
    return make_baseline([run.record for run in runs], confidence), runs


def _read_file(file: Path) -> Baseline:
    try:
        body: Any = json.loads(file.read_text(encoding="utf-8"))
        return Baseline.model_validate(body)
    except ValidationError as error:
        reason = explain(error)
    except (OSError, ValueError) as error:
        reason = str(error)
    raise UserError(f"{file}: no baseline, write it again with `bench baseline`: {reason}")


def _read_runs(path: Path) -> list[Run]:
    if path.is_file():
        return [Run(read_record(path), path.parent)]
    if not path.is_dir():
        raise UserError(f"{path}: no such baseline")
    runs, problems = find_runs(path)
    if problems:
        raise UserError(f"baseline: {problems[0]}")
    return runs


def _is_like(old: Run, new: Run) -> bool:
    """Whether both measure the same; of a run that did not end ok the judge is not known."""
    one, other = old.record, new.record
    if one.status != "ok" or (one.label, one.suite) != (other.label, other.suite):
        return False
    judged = other.status != "ok" or Comparability.of(old) == Comparability.of(new)
    return judged and one.preset == other.preset
