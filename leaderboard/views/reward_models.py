"""Reward models by themselves, as tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from bench.grid import DASH, Grid, drop_empty
from leaderboard.analysis.reward_models import ACCURACY, peak
from leaderboard.views.columns import HELD_OUT, PROBE, kind, set_heading

if TYPE_CHECKING:
    from bench.records.reward_models import BestOf, RewardModelRecord
    from bench.records.schema import Metric
    from leaderboard.analysis.reward_models import RewardModels

LENGTH = {
    "prefers_longer": "longer scores higher %",
    ACCURACY + "chosen_longer": "right where longer won %",
    ACCURACY + "chosen_shorter": "right where shorter won %",
}
PREFIXES = {
    "prefix_accuracy.25": "first 25 %",
    "prefix_accuracy.50": "first 50 %",
    "prefix_accuracy.75": "first 75 %",
}
PLACES = {
    "rm_localisation": "outputs AUROC",
    "prefix_localisation": "falls AUROC",
    "place_localisation": "place alone AUROC",
    "prefix_end_share": "movement at the end %",
}
SETS = "In %, with 95 % intervals clustered by prompt. A difference within them is a tie."
FIRST = "First 25 %: accuracy on the same pairs, cut to that share of the tokens of both responses."
AUROC = (
    "AUROC for tokens within errors against all others; .5 is chance. Outputs: what a segment or "
    "token model says of each token, negated; of a sequence model, R had it ended there. Falls: by "
    "how much R falls when the token is added, of any model. Place alone: later tokens first, "
    "looking at nothing else."
)
END = (
    "Movement at the end: share of all ups and downs of R that lies in the last tenth of the "
    "tokens; 10 where R moves evenly."
)
CHOSEN = (
    "Gold: mean gold score of the response that the model scores highest of n draws of the SFT "
    "model. Ceiling: of the one that gold would choose. Where gold falls while the score goes on "
    "rising, the model is over-optimised; peak is the n with the highest gold."
)
EXPECTED = "Expected over all sets of n of the draws; 95 % intervals over prompts."


def grids(found: Sequence[RewardModels]) -> list[Grid]:
    """Each table's grids below each other."""
    return [grid for table in found for grid in _grids(table)]


def _grids(table: RewardModels) -> list[Grid]:
    held_out = f"{table.held_out.n} held-out pairs [{table.held_out.sha[:8]}]"
    sets = list(dict.fromkeys(name for row in table.rows for name in row.metrics
                              if name.startswith(ACCURACY) and name not in LENGTH))  # fmt: skip
    headed = {name: set_heading(name) for name in sets}
    longer = [
        f"{HELD_OUT.get(ACCURACY + name, name).removesuffix(' %')} {100 * metric.mean:.1f} %"
        for name, metric in table.longer.items()
    ]
    beside = f"Preferring the longer response is right on: {', '.join(longer)}." if longer else ""
    title = f"Reward models on {table.suite}: {held_out}"
    made = [
        _grid(title, table, headed | LENGTH, percent, [*filter(None, [beside]), SETS], level=3),
        _grid("How fine is what they know", table, PREFIXES | PLACES, _fine, [FIRST, AUROC, END]),
    ]
    planted = dict.fromkeys(n for row in table.rows for n in row.metrics if n.startswith(PROBE))
    if planted:
        headings = {name: f"{kind(name)} %" for name in planted}
        note = "Share of texts without error that are preferred to the same with one planted."
        made.append(_grid("Planted errors", table, headings, percent, [note]))
    return [*made, *_best_of_n(table)]


def _grid(
    title: str,
    table: RewardModels,
    headings: dict[str, str],
    text: Callable[[str, Metric | None], str],
    notes: list[str],
    level: int = 4,
) -> Grid:
    rows = [
        [row.label, str(row.model.granularity), *(text(n, row.metrics.get(n)) for n in headings)]
        for row in table.rows
    ]
    headers, rows = drop_empty(["Reward model", "scores each", *headings.values()], rows)
    return Grid(title, headers, rows, notes, level=level)


def _best_of_n(table: RewardModels) -> list[Grid]:
    rows = [row for row in table.rows if row.best_of_n]
    if not rows or table.draws is None:
        return []
    steps = rows[0].best_of_n
    headers = ["Reward model", *(f"n = {one.n}" for one in steps)]

    def cells(row: RewardModelRecord, of: Callable[[BestOf], Metric]) -> list[str]:
        return [plain("", of(one)) for one in row.best_of_n]

    bounds = ["KL at most, nats", *(f"{one.kl_bound:.2f}" for one in steps), DASH]
    ceiling = ["ceiling", *cells(rows[0], lambda one: one.ceiling), DASH]
    gold = [[row.label, *cells(row, lambda one: one.gold), str(peak(row))] for row in rows]
    scores = [[row.label, *cells(row, lambda one: one.proxy)] for row in rows]
    of = f"{table.draws.n} prompts [{table.draws.sha[:8]}]"
    unit = "Each model's own score, in standard deviations of single draws; 0 is their mean."
    return [
        Grid(f"Gold of the best of n, {of}", [*headers, "peak"], [*gold, ceiling, bounds],
             [CHOSEN, EXPECTED], level=4),
        Grid("Score of the best of n", headers, scores, [unit], level=4),
    ]  # fmt: skip


def percent(name: str, metric: Metric | None) -> str:
    """A rate in per cent with its interval."""
    return _with_interval(metric, 100, 1)


def plain(name: str, metric: Metric | None) -> str:
    """A number of its own unit with its interval."""
    return _with_interval(metric, 1, 2)


def _fine(name: str, metric: Metric | None) -> str:
    return (plain if name.endswith("localisation") else percent)(name, metric)


def _with_interval(metric: Metric | None, factor: int, digits: int) -> str:
    if metric is None:
        return DASH
    text = f"{factor * metric.mean:z.{digits}f}"
    if metric.ci95 is None:
        return text
    return f"{text} [{', '.join(f'{factor * x:z.{digits}f}' for x in metric.ci95)}]"


def to_json(found: Sequence[RewardModels]) -> str:
    """As a JSON document."""
    from leaderboard.views.json import document

    return document("rm", {"tables": found})
