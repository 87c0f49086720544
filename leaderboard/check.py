"""The regression check: does a run lie within the intervals of a baseline?

The caller exits with `REGRESSION` where it does not.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.errors import UserError
from bench.record import RECORD, Record, RecordError, read_record, read_records
from leaderboard.rows import DASH, Grid, to_markdown, to_rich

if TYPE_CHECKING:
    from rich.console import RenderableType

REGRESSION = 3
BASELINE = "baseline.json"
_SLACK = 1e-9


@dataclass(frozen=True)
class CheckRow:
    """One metric of the baseline; `why` says where the band comes from, `verdict` how it ended."""

    metric: str
    value: float | None
    mean: float
    low: float | None
    high: float | None
    why: str
    verdict: str

    @property
    def ok(self) -> bool:
        """Present, finite, and within the band."""
        return self.verdict == "ok"


@dataclass(frozen=True)
class CheckReport:
    """What `check` found; `problems` are reasons to fail that belong to no metric."""

    run: str
    baseline: str
    rows: list[CheckRow]
    problems: list[str]

    @property
    def ok(self) -> bool:
        """Nothing failed, and something was checked."""
        return not self.problems and bool(self.rows) and all(row.ok for row in self.rows)

    @property
    def exit_code(self) -> int:
        """0, or `REGRESSION`."""
        return 0 if self.ok else REGRESSION

    @property
    def failures(self) -> list[str]:
        """A line for each reason to fail, naming the metric."""
        failed = [f"{row.metric}: {row.verdict}" for row in self.rows if not row.ok]
        return self.problems + failed

    def grid(self) -> Grid:
        """Failed metrics first."""
        rows = []
        for r in sorted(self.rows, key=lambda row: row.ok):
            band = f"[{_text(r.low)}, {_text(r.high)}]"
            rows.append([r.metric, _text(r.value), _text(r.mean), band, r.verdict])
        verdict = "passed" if self.ok else f"FAILED ({len(self.failures)})"
        headers = ["Metric", "This run", "Baseline", "Band", "Verdict"]
        title = f"Regression check {verdict}: {self.run} against {self.baseline}"
        return Grid(title, headers, rows, self.problems)

    def render(self) -> "RenderableType":
        """For the terminal."""
        return to_rich(self.grid())

    def markdown(self) -> str:
        """For a summary page."""
        return to_markdown(self.grid()) + "\n"


def _text(value: float | None) -> str:
    return DASH if value is None else f"{value:.4g}"


def check(run: Path, baseline: Path) -> CheckReport:
    """Hold a run's record against a baseline.

    Args:
        run: the run's folder or its record.json.
        baseline: a JSON file that `make_baseline` made, a folder with such a `baseline.json`, or a
            folder of runs (those of the same label and suite are made into one).

    Raises:
        UserError: if the baseline cannot be read, or there is no such run. A record that cannot
            be read, for a NaN say, is a failed check: that is what the check is there to find.
    """
    if not run.exists():
        raise UserError(f"{run}: no such run")
    try:
        record = read_record(run)
    except RecordError as error:
        return CheckReport(str(run), str(baseline), [], [str(error)])
    bands = _read_baseline(baseline, record)
    problems = []
    if record.status != "ok":
        problems.append(f"status is {record.status}: {record.error or 'no reason recorded'}")
    rows = [_row(name, band, record) for name, band in sorted(bands.items())]
    return CheckReport(record.run_id, str(baseline), rows, problems)


def _row(name: str, band: dict[str, Any], record: Record) -> CheckRow:
    metric = record.metrics.get(name)
    value = metric.mean if metric is not None else None
    low, high = band["low"], band["high"]
    if value is None:
        verdict = "missing from this run"
    elif not math.isfinite(value):
        verdict = f"is {value}"
    elif low is not None and value < low - _SLACK:
        verdict = f"{value:.4g} is below {low:.4g}"
    elif high is not None and value > high + _SLACK:
        verdict = f"{value:.4g} is above {high:.4g}"
    else:
        verdict = "ok"
    return CheckRow(name, value, band["mean"], low, high, band["why"], verdict)


def _read_baseline(path: Path, record: Record) -> dict[str, dict[str, Any]]:
    file = path / BASELINE if path.is_dir() else path
    if file.name == RECORD or not file.is_file():
        return _from_runs(path, record)
    try:
        bands = json.loads(file.read_text(encoding="utf-8"))["metrics"]
        return {name: _band(file, name, band) for name, band in bands.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f'{file}: no baseline, for it needs {{"metrics": ...}}: {error}') from error


def _band(file: Path, name: str, band: dict[str, Any]) -> dict[str, Any]:
    """A band with all its fields, finite."""
    for key in ("mean", "low", "high"):
        value = band.get(key)
        number = isinstance(value, int | float) and math.isfinite(value)
        if not number and (key == "mean" or value is not None):
            raise UserError(f"{file}: metrics.{name}.{key} is {value}, no finite number")
    return {"low": None, "high": None, "why": "", **band}


def _from_runs(path: Path, record: Record) -> dict[str, dict[str, Any]]:
    problems: list[str] = []
    if path.is_file():
        records = [read_record(path)]
    elif path.is_dir():
        records, problems = read_records(path)
    else:
        raise UserError(f"{path}: no such baseline")
    if problems:
        raise UserError(f"{path}: baseline: {problems[0]}")
    alike = [r for r in records if (r.label, r.suite) == (record.label, record.suite)]
    alike = [r for r in alike if r.status == "ok"]
    if not alike:
        raise UserError(f"{path}: no baseline.json and no ok run of {record.label!r} in it")
    bands: dict[str, dict[str, Any]] = make_baseline(alike)["metrics"]
    return bands


def make_baseline(records: Sequence[Record], level: float = 0.95) -> dict[str, Any]:
    """Tolerance bands for one new run, from S runs of the same label.

    For each metric that every run has, the prediction interval ``mean ± t_{S-1} sd sqrt(1 + 1/S)``,
    its half-width at least that of the evaluation's own error, ``z se sqrt(1 + 1/S)`` with se the
    root mean square of the runs' standard errors. Where every run gave exactly 0 (or 1) of n, and
    no error is known, 3 / n is allowed (the rule of three). One run without a standard error gives
    no band: the metric must then be present and finite.

    The level is per metric: with a fixed seed the check fails on changes of the code alone; for a
    new seed expect one metric in twenty outside.

    Raises:
        UserError: if there is no record, or their labels or suites differ.
    """
    if not records:
        raise UserError("a baseline needs at least one record")
    if len({(r.label, r.suite) for r in records}) > 1:
        labels = ", ".join(sorted({f"{r.suite}/{r.label}" for r in records}))
        raise UserError(f"a baseline is made from runs of one label, not of {labels}")
    names = set.intersection(*(set(record.metrics) for record in records))
    metrics = {name: _make_band(name, records, level) for name in sorted(names)}
    return {
        "label": records[0].label,
        "suite": records[0].suite,
        "level": level,
        "runs": sorted(record.run_id for record in records),
        "metrics": metrics,
    }


def _make_band(name: str, records: Sequence[Record], level: float) -> dict[str, Any]:
    from bench.stats import prediction_interval

    found = [record.metrics[name] for record in records]
    means = [metric.mean for metric in found]
    errors = [m.standard_error for m in found if m.standard_error is not None]
    within = math.sqrt(sum(e * e for e in errors) / len(errors)) if errors else None
    band = prediction_interval(means, within, level)
    mean = sum(means) / len(means)
    seeds = "1 run" if len(found) == 1 else f"{len(found)} runs"
    why = f"{100 * level:g} % prediction interval of one new run, from {seeds}"
    if band is None:
        return {"mean": mean, "low": None, "high": None, "why": f"{seeds}, spread unknown"}
    low, high = band
    sizes = [metric.n for metric in found if metric.n]
    if low == high and mean in (0.0, 1.0) and sizes:
        low, high = max(0.0, mean - 3 / min(sizes)), min(1.0, mean + 3 / min(sizes))
        why = f"all of {seeds} gave {mean:g}; rule of three"
    return {"mean": mean, "low": low, "high": high, "why": why}


def write_baseline(records: Sequence[Record], path: Path, level: float = 0.95) -> None:
    """`make_baseline` as the JSON file that `check` reads."""
    text = json.dumps(make_baseline(records, level), indent=2, sort_keys=True, allow_nan=False)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror or error}") from error
