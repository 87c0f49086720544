"""Whether a submitted run comes out again: to the bit, or as one more seed would."""

from __future__ import annotations

from collections.abc import Sequence

from bench.records.files import Run
from leaderboard.regression.baseline import make_baseline
from leaderboard.regression.rerun import EXIT_DIFFERENT, TOLERANCE, compare_runs
from leaderboard.submission.findings import Finding

RULE = "rerun"


def repetition(old: Run, new: Run, runs: Sequence[Run]) -> Finding:
    """Compare a run with its repetition.

    Another machine rounds otherwise, and one other token changes all that follows: then the bands
    of a new run, made of all seeds of the row, decide.

    Args:
        old: as it was submitted.
        new: as it came out here.
        runs: all seeds of the row.
    """
    report = compare_runs(old, new, TOLERANCE, [])
    seed = old.record.seed
    if report.exit_code != EXIT_DIFFERENT:
        return Finding(RULE, "ok", f"seed {seed} again: {report.equality}")
    bands = make_baseline([run.record for run in runs]).metrics
    found = new.record.metrics
    outside = [
        name
        for name, band in sorted(bands.items())
        if (own := found.get(name)) is None
        or (
            band.low is not None and band.high is not None and not band.low <= own.mean <= band.high
        )
    ]
    why = report.why or "It does not repeat to the bit, and nothing around it changed."
    if outside:
        text = f"seed {seed} again leaves the bands of its row: {', '.join(outside)}. {why}"
        return Finding(RULE, "refused", text)
    return Finding(RULE, "differs", f"seed {seed} again is within all bands. {why}")
