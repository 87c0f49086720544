"""The chart on top: each method's interval on one scale, by rank group."""

import math
from dataclasses import dataclass

from leaderboard.analysis.rows import Row, Table, interval, is_percent, number
from leaderboard.site.finding import shown_metric
from leaderboard.site.sheets import Forest, forest, forest_scale
from leaderboard.views.glossary import Term, method_term, metric_term

LOOKS = 6  # colours and shapes; a seventh group looks like the first
TICKS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
MOST_TICKS = 8
LONG = 40  # characters of a label that fit beside the marks


@dataclass(frozen=True)
class Bar:
    """One method's mark; `look` is that of its group, 0 where it has none."""

    term: Term
    text: str
    ends: str
    marks: Forest
    look: int


@dataclass(frozen=True)
class Tier:
    """A rank group with its methods; "" where nothing is ranked."""

    name: str
    bars: list[Bar]


@dataclass(frozen=True)
class Intervals:
    """The chart: its tiers from top to bottom, and (place in per cent, text) of each tick."""

    title: str
    tiers: list[Tier]
    ticks: list[tuple[float, str]]
    parity: float | None
    is_ranked: bool


def intervals(table: Table) -> Intervals | None:
    """The chart of a table; None where no row has an interval to show."""
    metric = shown_metric(table)
    rows = [row for row in table.rows if (cell := row.metrics.get(metric)) and cell.ci95]
    if not rows:
        return None
    scale = forest_scale([row.metrics[metric] for row in rows])
    bars: dict[int | None, list[Bar]] = {}
    for row in rows:
        cell = row.metrics[metric]
        if (marks := forest(cell, scale)) is not None:
            look = 0 if row.group is None else 1 + (row.group - 1) % LOOKS
            text, ends = number(metric, cell.mean), interval(metric, cell.ci95)
            bars.setdefault(row.group, []).append(Bar(_term(row), text, ends, marks, look))
    ranked = any(group is not None for group in bars)
    tiers = [Tier(_named(group) if ranked else "", own) for group, own in bars.items()]
    first = tiers[0].bars[0].marks
    unit = ", %" if is_percent(metric) else ""
    title = f"{metric_term(metric).name}{unit}, with 95 % intervals"
    return Intervals(title, tiers, _ticks(metric, scale), first.parity, ranked)


def _term(row: Row) -> Term:
    """A label that is too long to show whole is told with its meaning."""
    name, meaning = method_term(row)
    return Term(name, f"{name}: {meaning}" if len(name) > LONG else meaning)


def _named(group: int | None) -> str:
    return "Not ranked" if group is None else f"Group {group}"


def _ticks(metric: str, scale: tuple[float, float]) -> list[tuple[float, str]]:
    low, high = scale
    step = next((s for s in TICKS if (high - low) / s <= MOST_TICKS), TICKS[-1])
    values = [i * step for i in range(math.ceil(low / step), math.floor(high / step) + 1)]
    factor, digits = (100, 0) if is_percent(metric) and step >= 0.01 else (1, 2)
    return [(round(100 * (v - low) / (high - low), 2), f"{factor * v:.{digits}f}") for v in values]
