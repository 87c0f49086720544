"""Credit of runs as tables: what is paid, and learned from, against what tokens were worth."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.grid import DASH, Grid
from leaderboard.analysis.credit import notes

if TYPE_CHECKING:
    from bench.stats.credit import Correlation, Mean
    from bench.stats.intervals import Estimate
    from leaderboard.analysis.credit import Correlations, Credit, CreditRow, Kind, LabelCredit

HEADERS = (
    "Run", "Paid r", "Paid rho", "Paid r / ceiling", "Advantage r", "Advantage rho",
    "Advantage r / ceiling", "Ceiling r", "Ceiling rho",
)  # fmt: skip
KINDS = (
    "Run", "Errors: worth", "Errors: paid", "Errors: tokens", "Others: worth", "Others: paid",
    "Others: tokens",
)  # fmt: skip
LABELS = (
    "Method", "Seeds", "Paid r", "Advantage r", "Ceiling r", "Errors: paid", "Others: paid",
)  # fmt: skip
WHO = {"sft": "responses of the SFT model", "policy": "responses of each run's own policy"}

EXPLAINED = (
    "r, rho: Pearson and Spearman with the Monte-Carlo advantage V(s_t+1) - V(s_t) of a token.",
    "Paid: what its method pays the token, before the KL. Advantage: what the policy learns from.",
    "Ceiling: what the true advantages would show, since the Monte-Carlo ones are noisy.",
    "In brackets: 95 % intervals, bootstrap over instructions.",
)


def credit_grids(found: Credit) -> list[Grid]:
    """Correlations, a row a run; and means by kind of token, where errors are known."""
    rows = [row for row in found.rows if row.ceiling is not None]
    sizes = {f"{row.tokens} tokens of {row.responses}" for row in rows}
    at = f"{' or '.join(sorted(sizes))} {WHO[found.drawn_by]}, K = {found.continuations}"
    cells = [_cells(row) for row in found.rows]
    title = f"Credit: correlation with the true advantage at {at}"
    grids = [Grid(title, HEADERS, cells, [*EXPLAINED, *notes(found.rows)])]
    if labels := found.labels:
        told = "Means over seeds, with 95 % intervals (t over seeds); a seed's tokens are its own."
        grids.append(Grid("Over seeds", LABELS, list(map(_label, labels)), [told], level=4))
    if kinds := [_kinds(row) for row in rows if row.errors and row.others]:
        told = "Worth: the mean Monte-Carlo advantage. Errors are where the suite says they are."
        grids.append(Grid("Means by kind of token", KINDS, kinds, [told], level=4))
    return grids


def _cells(row: CreditRow) -> list[str]:
    parts = (row.shares, row.advantages)
    measured = [cell for part in parts for cell in _three(part)]
    ceiling = [DASH] * 2
    if row.ceiling is not None:
        ceiling = [_cell(row.ceiling.pearson), _cell(row.ceiling.spearman)]
    return [row.run, *measured, *ceiling]


def _three(part: Correlations | None) -> list[str]:
    if part is None:
        return ["none"] * 3
    corrected = part.pearson.corrected
    share = DASH if corrected is None else f"{corrected:z.2f}"
    return [_cell(part.pearson), _cell(part.spearman), share]


def _cell(found: Correlation) -> str:
    if found.value is None:
        return "none"
    text = f"{found.value:z.2f}"
    return text if found.ci95 is None else f"{text} {_interval(found.ci95, 2)}"


def _label(row: LabelCredit) -> list[str]:
    correlations = (row.shares, row.advantages, row.ceiling)
    return [
        row.label,
        str(len(row.seeds)),
        *("none" if found is None else _estimate(found, 2) for found in correlations),
        *(DASH if found is None else _estimate(found, 3) for found in (row.errors, row.others)),
    ]


def _estimate(found: Estimate | Mean, digits: int) -> str:
    text = f"{found.mean:z.{digits}f}"
    return text if found.ci95 is None else f"{text} {_interval(found.ci95, digits)}"


def _kinds(row: CreditRow) -> list[str]:
    return [row.run, *(cell for kind in (row.errors, row.others) for cell in _kind(kind))]


def _kind(kind: Kind | None) -> list[str]:
    if kind is None:
        return [DASH] * 3
    return [_mean(kind.advantage), _mean(kind.share), str(kind.tokens)]


def _mean(found: Mean | None) -> str:
    if found is None:
        return DASH
    return _estimate(found, 3)


def _interval(ci95: tuple[float, float], digits: int) -> str:
    return "[" + ", ".join(f"{x:z.{digits}f}" for x in ci95) + "]"


def to_json(found: Credit) -> str:
    """As a JSON document."""
    from leaderboard.views.json import document

    return document("credit", found)
