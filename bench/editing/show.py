"""What editing came to, as tables."""

from __future__ import annotations

from bench.editing.acceptance import Limits
from bench.editing.report import QUANTILES, EditReport, Spread
from bench.grid import Grid, words
from bench.llm.money.prices import dollars


def edit_tables(report: EditReport) -> list[Grid]:
    """Counts of a report, and the sizes of its edits."""
    return [_counts(report), _sizes(report)]


def _counts(report: EditReport) -> Grid:
    responses = sum(report.outcomes.values())
    rows = [
        ("editor", report.source),
        ("rows", f"{report.rows:,}"),
        *((f"left out: {why}", f"{n:,}") for why, n in report.left_out.items()),
        *(
            (status, f"{n:,} ({n / responses:.1%})" if responses else f"{n:,}")
            for status, n in report.outcomes.items()
        ),
        ("limits", _limits(report.limits)),
        ("calls", f"{report.calls:,} new, {report.stored:,} stored"),
        ("price", f"{dollars(report.cost_usd)} (prices of {report.prices['date']})"),
        *_lost(report),
        ("models", ", ".join(f"{name} ({n:,})" for name, n in report.models.items()) or "none"),
        ("answered", f"{report.first_at} to {report.last_at}" if report.first_at else "never"),
        ("prompt", f"{report.template} {report.template_sha[:8]}"),
    ]
    return words("edits", ["", ""], rows)


def _limits(limits: Limits) -> str:
    return (
        f"{limits.max_changed:.1%} replaced, {limits.max_removed:.1%} taken out, "
        f"{limits.max_added:.1%} added, or {limits.always_allowed} words"
    )


def _lost(report: EditReport) -> list[tuple[str, str]]:
    if report.possibly_billed_usd == 0:
        return []
    return [("may be billed beside, at most", dollars(report.possibly_billed_usd))]


def _sizes(report: EditReport) -> Grid:
    headers = ["", "mean", "standard error", *(f"{q:.0%}" for q in QUANTILES)]
    spreads = {
        "changed words, %": (report.changed_fraction, 100.0),
        "words added": (report.words_added, 1.0),
        "characters added": (report.characters_added, 1.0),
    }
    rows = [_cells(name, *spread) for name, spread in spreads.items()]
    return words(f"sizes of the {report.outcomes['ok']:,} accepted edits", headers, rows)


def _cells(name: str, spread: Spread | None, scale: float) -> list[str]:
    values: list[float | None] = [None] * (2 + len(QUANTILES))
    if spread:
        values = [spread.mean, spread.standard_error, *spread.quantiles]
    return [name, *("-" if value is None else f"{scale * value:.1f}" for value in values)]
