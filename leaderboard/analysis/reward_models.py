"""Reward models that were measured by themselves (`bench rm`): what may be compared."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bench.records.reward_models import RewardModelRecord, read_all
from bench.records.schema import DataSplit, Metric

ACCURACY, LONGER = "rm_accuracy.", "longer_wins."
# The labels on which length, prefixes and order are told: the truth's, where it is known.
LABELS = ("original_clean", "original")


@dataclass(frozen=True)
class RewardModels:
    """Models on the same held-out pairs, and the same draws.

    Attributes:
        suite: its name.
        held_out: how many pairs, and their hash.
        draws: how many prompts were drawn for, and the draws' hash; None: nothing was.
        labels: the set of pairs by which the rows are ordered.
        longer: what preferring the longer response is right on, by set of pairs.
        rows: the most accurate first.
    """

    suite: str
    held_out: DataSplit
    draws: DataSplit | None
    labels: str
    longer: dict[str, Metric]
    rows: list[RewardModelRecord]


def tables(results: Path, problems: list[str], suite: str | None = None) -> list[RewardModels]:
    """All reward models below a folder of results.

    Args:
        results: the folder.
        problems: receives a line for each record that cannot be read.
        suite: this suite only.
    """
    found: dict[tuple[str, str, str], list[RewardModelRecord]] = {}
    for record in read_all(results, problems):
        if suite in (None, record.suite):
            draws = record.data.get("draws")
            key = record.suite, record.data["held_out"].sha, draws.sha if draws else ""
            found.setdefault(key, []).append(record)
    return [_table(rows) for rows in found.values()]


def _table(rows: list[RewardModelRecord]) -> RewardModels:
    first = rows[0]
    known = {name: metric for row in reversed(rows) for name, metric in row.metrics.items()}
    labels = next((name for name in LABELS if ACCURACY + name in known), LABELS[-1])

    def order(record: RewardModelRecord) -> tuple[float, str]:
        accuracy = record.metrics.get(ACCURACY + labels)
        return -(accuracy.mean if accuracy else -1.0), record.label

    longer = {
        name.removeprefix(LONGER): metric
        for name, metric in known.items()
        if name.startswith(LONGER)
    }
    data = first.data
    return RewardModels(
        first.suite, data["held_out"], data.get("draws"), labels, longer, sorted(rows, key=order)
    )


def peak(record: RewardModelRecord) -> int | None:
    """The n with the highest mean gold score; beyond it more choice makes it worse."""
    if not record.best_of_n:
        return None
    return max(record.best_of_n, key=lambda one: one.gold.mean).n
