"""Results as the files that training reads: rows of `bench.data`, one an item.

Of several people's answers the row holds what `Answered` makes of them; what each of them said is
in a file beside it, and why an item has no row is counted in another.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.data import Annotation, Edit, Preference, Ranking, Row, Span, row_lines
from bench.editing.files import beside, check_rows
from bench.files import write_atomically
from bench.preference import TIE
from bench.studio.results import Answered, Given, Results
from bench.studio.tasks import TaskName, ToEdit, ToMark, ToPrefer, ToRank


@dataclass(frozen=True)
class Exported:
    """What a file of results came to.

    Attributes:
        task: which.
        items: that people were asked about, hidden known answers apart.
        outcomes: items by status, "ok" first: the rows that were written; "tie" is one of two
            responses of which neither is better, for which there is no row.
        unchanged: of the edits, those that left the response as it was.
        several: items with a value of more than one person.
        adjudicated: items of which an adjudicator's word counts.
        people: answers by person.
    """

    task: TaskName
    items: int
    outcomes: dict[str, int]
    unchanged: int
    several: int
    adjudicated: int
    people: dict[str, int]


def rows_of(results: Results) -> list[Row]:
    """One row for each item that has a value."""
    found = (_ROWS[results.task](answered) for answered in results.items if answered.values)
    return [row for row in found if row is not None]


def export(results: Results, out: Path) -> Exported:
    """Write `out`, and beside it `NAME.annotators.jsonl` and `NAME.report.json`.

    Raises:
        UserError: one of them cannot be written.
    """
    check_rows(out)
    rows = rows_of(results)
    exported = _counted(results, rows)
    said = [row for answered in results.items for row in _said(answered)]
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in said)
    write_atomically(beside(out, "annotators.jsonl"), lines)
    report = json.dumps(asdict(exported), indent=2, ensure_ascii=False)
    write_atomically(beside(out, "report.json"), report + "\n")
    write_atomically(out, "".join(row_lines(rows)))  # last: who finds it finds the others
    return exported


def _counted(results: Results, rows: list[Row]) -> Exported:
    outcomes = Counter(answered.status for answered in results.items)
    ties = outcomes["ok"] - len(rows)
    named = {"ok": len(rows), **({"tie": ties} if ties else {})}
    return Exported(
        task=results.task,
        items=len(results.items),
        outcomes=named | {status: n for status, n in sorted(outcomes.items()) if status != "ok"},
        unchanged=sum(isinstance(row, Edit) and row.edited == row.original for row in rows),
        several=results.several,
        adjudicated=results.adjudicated,
        people=dict(Counter(one.person for answered in results.items for one in answered.given)),
    )


def _said(answered: Answered) -> list[dict[str, Any]]:
    """Each person's answer; the adjudicator's last."""
    ruled = answered.adjudicated
    rows = [_row(one) | {"adjudicates": False} for one in answered.given]
    return rows if ruled is None else [*rows, _row(ruled) | {"adjudicates": True}]


def _row(given: Given) -> dict[str, Any]:
    return {
        "item": given.item.id,
        "id": given.item.content.id,
        "annotator": given.person,
        "kind": given.answer.kind,
        "value": given.value,
        "answer": given.answer.model_dump(),
        "seconds": given.seconds,
        "at": datetime.fromtimestamp(given.at, UTC).isoformat(timespec="seconds"),
    }


def _edit(answered: Answered) -> Edit | None:
    content, first = answered.item.content, answered.first
    assert isinstance(content, ToEdit)
    if first is None or first.value is None:
        return None
    return Edit(
        id=content.id,
        prompt=content.prompt,
        original=content.original,
        edited=first.value["text"],
        source=f"human:{first.person}",
        original_ids=content.original_ids,
    )


def _preference(answered: Answered) -> Preference | None:
    content, preference = answered.item.content, answered.preference
    assert isinstance(content, ToPrefer)
    if preference is None or preference == TIE:
        return None
    sides = [(content.output_1, content.ids_1), (content.output_2, content.ids_2)]
    (chosen, chosen_ids), (rejected, rejected_ids) = sides if preference < TIE else sides[::-1]
    return Preference(
        id=content.id,
        prompt=content.prompt,
        chosen=chosen,
        rejected=rejected,
        chosen_ids=chosen_ids,
        rejected_ids=rejected_ids,
    )


def _ranking(answered: Answered) -> Ranking | None:
    content, ranks = answered.item.content, answered.ranks
    assert isinstance(content, ToRank)
    return None if ranks is None else Ranking(**content.model_dump(), ranks=ranks)


def _annotation(answered: Answered) -> Annotation | None:
    content, first = answered.item.content, answered.first
    assert isinstance(content, ToMark)
    if first is None or first.value is None:
        return None
    spans = [Span(**span) for span in first.value["spans"]]
    return Annotation(**content.model_dump(), spans=spans)


_ROWS: dict[TaskName, Callable[[Answered], Row | None]] = {
    "edit": _edit,
    "prefer": _preference,
    "rank": _ranking,
    "spans": _annotation,
}
