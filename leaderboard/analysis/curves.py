"""The curves of a table's runs, as every view of them reads them."""

from collections.abc import Iterable

from bench.records.files import CURVES, CurvePoint, Damage, RecordError, Run, read_curves

SCORES = {
    "validation_gold": "gold score",
    "validation_heldout_rm": "held-out reward model's score",
    "validation_win_rate": "win rate",
}
METRICS = {  # the same, as a metric has its unit and its bounds
    "validation_gold": "gold_score",
    "validation_heldout_rm": "heldout_rm",
    "validation_win_rate": "win_rate",
}


def curve_of(run: Run, problems: list[str]) -> list[CurvePoint]:
    """The steps of a run; none where it has no curve, as SFT, or one that cannot be read.

    Args:
        run: its folder is read.
        problems: receives the line that says why a curve cannot be read.
    """
    try:
        return read_curves(run.folder) if (run.folder / CURVES).exists() else []
    except RecordError as error:
        problems.append(Damage(error))
        return []


def score_of(curves: Iterable[list[CurvePoint]]) -> str | None:
    """The validation score that checkpoints are chosen by: the first that any curve has."""
    known = {
        name for points in curves for p in points for name, v in p.values.items() if v is not None
    }
    return next((name for name in SCORES if name in known), None)
