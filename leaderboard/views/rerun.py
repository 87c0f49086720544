"""How equal a run and its repetition are, as tables."""

from bench.grid import DASH, Grid
from leaderboard.regression.rerun import Compared, RerunReport

_RESIDUALS = ["Mean residual", "Mean |residual|", "Max |residual|"]
_HEADERS = {
    "metric": ["Metric", "Recorded", "Rerun", "Difference", "Verdict"],
    "items": ["Of each instruction", *_RESIDUALS, "Verdict"],
    "curve": ["Of each step", *_RESIDUALS, "From step", "Verdict"],
}
_TITLES = {
    "metric": "Metrics",
    "items": "Items, paired by instruction",
    "curve": "Curve, paired by step",
}


def rerun_grids(report: RerunReport) -> list[Grid]:
    """Every metric, the items and curves that are not bitwise, what changed around them."""
    title = f"Rerun of {report.run}: {report.equality} (tolerance {report.tolerance:g})"
    notes = [*report.notes, *([report.why] if report.why else [])]
    grids = [Grid(title, [], [], notes, warnings=report.problems)]
    for what, headers in _HEADERS.items():
        found = sorted((c for c in report.compared if c.what == what), key=_worst_first)
        moved = [one for one in found if one.equality]
        rows = [_cells(one) for one in (found if what == "metric" else moved)]
        if found:
            title = f"{_TITLES[what]}: {len(found) - len(moved)} of {len(found)} bitwise"
            grids.append(Grid(title, headers if rows else [], rows))
    rows = [[c.name, _text(c.old), _text(c.new)] for c in report.changed]
    if not rows:
        return [*grids, Grid("Environment: nothing changed", [], [])]
    title = "Environment, likeliest cause first"
    return [*grids, Grid(title, ["What changed", "Recorded", "Rerun"], rows)]


def _worst_first(one: Compared) -> int:
    return -one.equality


def _cells(one: Compared) -> list[str]:
    if one.what == "metric":
        numbers = [one.old, one.new, one.mean]
    else:
        numbers = [one.mean, one.mean_absolute, one.max_absolute]
    step = [_text(one.first)] if one.what == "curve" else []
    return [one.name, *map(_text, numbers), *step, str(one.equality)]


def _text(value: object) -> str:
    if value is None:
        return DASH
    return f"{value:.6g}" if isinstance(value, float) else str(value)
