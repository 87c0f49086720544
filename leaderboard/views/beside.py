"""A user's own runs beside the published ones of the same row: is this what was to be expected?"""

from collections.abc import Sequence
from pathlib import Path

from bench.grid import DASH, Grid
from bench.records.files import Record, Run, find_runs
from leaderboard.analysis.bounds import clipped
from leaderboard.analysis.rows import interval, number
from leaderboard.regression.baseline import LEVEL, Band, is_like, make_baseline

METRIC = "win_rate"
EXPECTED, BELOW, ABOVE = "as expected", "below the band", "above the band"
UNPUBLISHED = "no published run"
_HEADERS = ["Your run", "Seed", "Win %", "95 % interval", "Published", "Seeds", "Band", "Here"]
_LEGEND = (
    f"Band: where the win rate of one new run lies in {100 * LEVEL:.0f} % of cases, from the "
    "published runs of its row, the run itself left out."
)
_OUTSIDE = (
    "Outside the band: one run in twenty by chance; otherwise the code, packages or machine. "
    "`python -m bench check RUN --baseline results/SUITE` names what differs."
)


def beside(own: Sequence[Run], published: Path) -> Grid:
    """Each run beside the published ones that have its label and measure the same.

    Args:
        own: runs of one suite.
        published: folder of the published runs, of this suite among others; there may be none.
    """
    known = find_runs(published)[0] if published.is_dir() else []
    rows = [_row(run, published_band(run, known)) for run in own]
    notes = [_LEGEND] if any(row[-1] in (EXPECTED, BELOW, ABOVE) for row in rows) else []
    if any(row[-1] in (BELOW, ABOVE) for row in rows):
        notes.append(_OUTSIDE)
    return Grid("Your runs beside the published ones", _HEADERS, rows, notes, spare=["Seeds"])


def published_band(run: Run, known: Sequence[Run]) -> Band | None:
    """The published band of a run's win rate; None where no published run has its label."""
    here = run.folder.resolve()
    like = [one.record for one in known if is_like(one, run) and one.folder.resolve() != here]
    return make_baseline(like).metrics.get(METRIC) if like else None


def _row(run: Run, band: Band | None) -> list[str]:
    record = run.record
    metric = record.metrics.get(METRIC)
    own = [record.label, str(record.seed), number(METRIC, metric.mean if metric else None)]
    own.append(interval(METRIC, metric.ci95 if metric else None))
    if band is None:
        published = [DASH, DASH, DASH]
    else:
        bounds = None
        if band.low is not None and band.high is not None:
            bounds = clipped(record.suite, METRIC, (band.low, band.high))
        published = [number(METRIC, band.mean), str(len(band.known)), interval(METRIC, bounds)]
    return [*own, *published, verdict(record, band)]


def verdict(record: Record, band: Band | None) -> str:
    """Whether a run's win rate is what was to be expected; of one that has none, its status."""
    metric = record.metrics.get(METRIC)
    if record.status != "ok" or metric is None:
        return record.status.replace("_", " ")
    mean = metric.mean
    if band is None:
        return UNPUBLISHED
    if band.low is None or band.high is None:
        return DASH
    if band.low <= mean <= band.high:
        return EXPECTED
    return BELOW if mean < band.low else ABOVE
