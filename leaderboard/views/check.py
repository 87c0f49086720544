"""What a regression check found, as a table."""

from collections.abc import Sequence

from bench.grid import DASH, Grid
from leaderboard.regression.check import CheckReport
from leaderboard.regression.verdicts import NOT_TESTED

_HEADERS = ["Metric", "Here", "Baseline", "Band", "Distance", "Residual", "Max", "Detects"]
_HEADERS += ["Test", "Verdict"]
_LEGEND = (
    "Band: where one new run may lie. Distance: in standard errors of one new run. Residual: mean "
    "difference to the baseline's runs of the same seeds; Max: on one instruction. Detects: the "
    "true difference that fails in 80 % of cases."
)


def check_grid(report: CheckReport) -> Grid:
    """Failed metrics first."""
    rows = []
    for r in sorted(report.rows, key=lambda row: row.ok):
        band = f"[{_text(r.low)}, {_text(r.high)}]"
        others = map(_text, (r.distance, r.residual, r.largest, r.detects))
        rows.append([r.metric, _text(r.value), _text(r.mean), band, *others, r.test, r.verdict])
    verdict = "passed" if report.ok else f"FAILED ({len(report.failures)})"
    untested = sum(row.verdict == NOT_TESTED for row in report.rows)
    if untested:
        verdict += f", {untested} of {len(report.rows)} metrics not tested"
    title = f"Regression check {verdict}: {report.run} against {report.baseline}"
    notes = [*report.notes, _LEGEND] if rows else report.notes
    return Grid(title, _HEADERS if rows else [], rows, notes, warnings=report.problems)


def to_json(reports: Sequence[CheckReport]) -> str:
    """All reports as one JSON document."""
    from leaderboard.views.json import document

    ok = all(report.ok for report in reports)
    return document("check", {"ok": ok, "reports": reports})


def _text(value: float | None) -> str:
    return DASH if value is None else f"{value:.4g}"
