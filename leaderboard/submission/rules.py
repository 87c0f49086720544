"""The rules by which runs become a row of a published table: each with its verdict.

"refused": the row would not be comparable, or cannot be trusted. "differs": it may stand there, and
whoever reads it must know that. The table is its runs: what its rows share is the rule.
"""

from __future__ import annotations

from pathlib import Path

from bench.records.files import Run
from leaderboard.analysis.runs import Comparability, Group, load
from leaderboard.submission.findings import Finding, Review
from leaderboard.submission.offer import Offer
from leaderboard.submission.table import against
from leaderboard.submission.texts import contamination, licence
from leaderboard.submission.trust import trust


def review(new: Offer, results: Path) -> Review:
    """Hold an offer against the table that it would join.

    Args:
        new: the offer.
        results: the folder of the published records; the offered runs are none of its rows, also
            where they are in it already.

    Raises:
        UserError: there is no such folder.
    """
    key = Comparability.of(new.runs[0])
    name = f"{key.suite}, judged by {key.judge_model or key.judge}"
    name += f" on {key.base}" if key.base else ""
    found = trust(new)
    rows, others = _table(new, key, results)
    found += _same_table(key, others, bool(rows))
    if rows and not any(one.rule == "record" and one.verdict == "refused" for one in found):
        found += against(new, rows)
    found += [*contamination(new, _has_equal_data(found)), *licence(new)]
    return Review(new.group.label, name, [run.record.seed for run in new.runs], found)


def _table(
    new: Offer, key: Comparability, results: Path
) -> tuple[list[Group], list[Comparability]]:
    """The rows of the table with this key, and the keys of the suite's other tables."""
    offered = {_identity(run) for run in new.runs}
    grouped, _ = load(results, None)
    rows = grouped.get(key, [])
    for group in rows:
        group.runs = [run for run in group.runs if _identity(run) not in offered]
    others = [other for other in grouped if other.suite == key.suite and other != key]
    return [group for group in rows if group.ok], others


def _identity(run: Run) -> tuple[str, str, str]:
    record = run.record
    return record.run_id, record.started_at, record.finished_at


def _same_table(key: Comparability, others: list[Comparability], found: bool) -> list[Finding]:
    if found:
        return [Finding("table", "ok", "suite, reference, judge and base are the table's")]
    if others:
        near = min(others, key=lambda o: sum(a != b for a, b in zip(key, o, strict=True)))
        text = f"no published row to stand beside: {key.difference(near)} (the nearest table)"
        return [Finding("table", "refused", text)]
    text = f"no row of the suite {key.suite} is published: it opens a table, equal to nothing yet"
    return [Finding("table", "differs", text)]


def _has_equal_data(found: list[Finding]) -> bool:
    """Whether the prompts of training are those of the table's rows."""
    verdicts = {one.verdict for one in found if one.rule == "data"}
    return bool(verdicts) and "refused" not in verdicts
