"""The labels that a user names: in which table they stand, and why some may not be compared."""

from collections.abc import Sequence
from pathlib import Path

from bench.errors import UserError, unknown
from leaderboard.analysis.runs import Comparability, Group, load


def table_with(
    results: Path, suite: str | None, labels: Sequence[str], metric: str, problems: list[str]
) -> list[Group]:
    """Everything in the first (largest) table that holds all of `labels`.

    Args:
        results: folder of runs.
        suite: this suite only.
        labels: as the leaderboard writes them, such as "sft".
        metric: a key of the items.
        problems: receives a line for each thing that is wrong with the runs.

    Raises:
        UserError: if there is no such folder, suite, label, or metric, a label comes twice, or the
            labels stand in different tables.
    """
    if twice := [label for label in labels if labels.count(label) > 1]:
        raise UserError(f"{twice[0]!r} is named twice: nothing differs from itself")
    grouped, wrong = load(results, suite)
    problems += wrong
    found = [group for groups in grouped.values() for group in groups]
    for label in labels:
        if not any(group.label == label for group in found):
            unreadable = "".join(f"; {line}" for line in wrong[:1])
            raise UserError(f"{results}: {_unknown_label(label, found)}{unreadable}")
    groups = _common(grouped, labels)
    named = [group for group in groups if group.label in labels]
    items = [item for group in named for items in group.items.values() for item in items]
    metrics = {name for item in items for name in item.values}
    if metric not in metrics:
        raise UserError(unknown(f"metric of {', '.join(labels)}:", metric, metrics))
    return groups


def _unknown_label(label: str, groups: Sequence[Group]) -> str:
    """What a label that no row has may have meant: a method's name is its default preset's row."""
    own = sorted({group.label for group in groups if group.runs[0].record.method == label})
    if not own:
        return unknown("label", label, {group.label for group in groups})
    rows = ", ".join(map(repr, own))
    return f"no run of {label} with the default preset; what there is of it: {rows}"


def _common(grouped: dict[Comparability, list[Group]], labels: Sequence[str]) -> list[Group]:
    holding: dict[str, list[Comparability]] = {label: [] for label in labels}
    for key, groups in grouped.items():
        own = {group.label for group in groups}
        if own.issuperset(labels):
            return groups
        for label in own.intersection(labels):
            holding[label].append(key)
    first, key = labels[0], holding[labels[0]][0]
    other = next(label for label in labels if key not in holding[label])
    raise UserError(
        f"{other} is never compared with {first}: {holding[other][0].difference(key)} "
        f"(here: of {other}, there: of {first})"
    )
