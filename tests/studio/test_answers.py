"""What is an answer: each refusal is one line, and nothing of it is kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench.errors import UserError
from bench.studio.answers import with_breaks_of
from bench.studio.tasks import TaskName
from tests.studio.studies import ORIGINAL, edited, pairs, people, rankings, study

ROWS: dict[TaskName, list[dict[str, Any]]] = {
    "edit": pairs(1),
    "prefer": pairs(1),
    "rank": rankings(1),
    "spans": pairs(1),
}
N = len(ORIGINAL)


def span(start: int, end: int, type_: str = "fact", **more: Any) -> dict[str, Any]:
    return {"start": start, "end": end, "type": type_, **more}


def marked(*spans: dict[str, Any]) -> dict[str, Any]:
    return {"kind": "spans", "spans": list(spans)}


@pytest.mark.parametrize(
    ("task", "answer", "said"),
    [
        ("edit", edited(ORIGINAL), "nothing was changed (or is there nothing to mend?)"),
        ("edit", edited(" "), "the edited response is empty"),
        (
            "edit",
            edited("Nobody can really say now, as it all differs"),
            "of the words and marks were replaced",
        ),
        ("edit", edited("\ud800"), "field text: "),
        ("edit", edited("The sky is blue today") | {"reasons": ["mood"]}, "field reasons.0: "),
        ("edit", {"kind": "prefer", "choice": "a"}, "prefer is no answer to edit: edit, nothing"),
        ("edit", {"kind": "none"}, "field kind: "),
        ("edit", {}, "field kind: "),
        ("edit", {"kind": "skip", "more": 1}, "field more: "),
        ("prefer", {"kind": "prefer", "choice": "c"}, "field choice: "),
        ("rank", {"kind": "rank", "order": [0, 1]}, "each of the 3 responses once, from 0 to 2"),
        ("rank", {"kind": "rank", "order": [0, 1, 1]}, "each of the 3 responses once"),
        ("rank", {"kind": "rank", "order": [0, 1, True]}, "field order.2: "),
        ("spans", marked(span(3, 3)), "the span 3 to 3 is not within the response"),
        ("spans", marked(span(0, N + 1)), f"which has {N} characters"),
        ("spans", marked(span(-1, 3)), "field spans.0.start: "),
        ("spans", marked(span(0, 3, "mood")), "type 'mood' is none of fact, form"),
        ("spans", marked(span(0, 3), span(0, 3)), "the span 0 to 3 (fact) is there twice"),
        ("spans", marked(span(0, 3, severity="huge")), "field spans.0.severity: "),
    ],
)
def test_refused(task: TaskName, answer: dict[str, Any], said: str, tmp_path: Path) -> None:
    made = study(tmp_path, ROWS[task], task)
    made.set(span_types=["fact", "form"])
    [ana] = people(made, "ana")
    given = made.next(ana, task)
    assert given is not None
    with pytest.raises(UserError) as caught:
        made.save(ana, given.item.id, answer, seconds=1)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert made.item(ana, given.item.id).answer is None


@pytest.mark.parametrize("seconds", [-1.0, float("nan"), float("inf"), 1e9])
def test_time_is_a_time(seconds: float, tmp_path: Path) -> None:
    made = study(tmp_path, ROWS["edit"], "edit")
    [ana] = people(made, "ana")
    given = made.next(ana, "edit")
    assert given is not None
    with pytest.raises(UserError, match="seconds="):
        made.save(ana, given.item.id, {"kind": "skip"}, seconds=seconds)


@pytest.mark.parametrize("kind", [" ", "x" * 61, "a\nb", "a\0b"])
def test_a_type_is_a_name(kind: str, tmp_path: Path) -> None:
    made = study(tmp_path, ROWS["spans"], "spans")
    [ana] = people(made, "ana")
    given = made.next(ana, "spans")
    assert given is not None
    with pytest.raises(UserError, match=r"the span's type '.*' is not one line of 1 to 60"):
        made.save(ana, given.item.id, marked(span(0, 3, kind)), seconds=1)


@pytest.mark.parametrize(
    ("original", "text", "kept"),
    [
        ("a\nb", "a\r\nc", "a\nc"),
        ("a\r\nb", "a\nc", "a\r\nc"),
        ("a\rb\r\nc\nd", "a\r\nx\r\nc\r\nd", "a\rx\r\nc\nd"),
        ("a\r\nb\r\nc\nd", "a\r\nd", "a\r\nd"),
        ("a b", "a\r\nb", "a\nb"),
        ("a\nb", "ab", "ab"),
    ],
)
def test_line_breaks_are_the_original_s(original: str, text: str, kept: str) -> None:
    assert with_breaks_of(original, text) == kept
    assert with_breaks_of(original, original) == original


def test_an_item_that_was_not_given_cannot_be_seen_or_answered(tmp_path: Path) -> None:
    made = study(tmp_path, ROWS["edit"], "edit")
    ana, ben = people(made, "ana", "ben")
    given = made.next(ana, "edit")
    assert given is not None
    with pytest.raises(UserError, match="was not given to ben"):
        made.save(ben, given.item.id, {"kind": "skip"}, seconds=1)
    with pytest.raises(UserError, match="was not given to ben"):
        made.item(ben, given.item.id)
    with pytest.raises(UserError, match="was not given to ana"):
        made.save(ana, "' OR 1 --", {"kind": "skip"}, seconds=1)


def test_a_form_line_break_is_no_change_and_margins_stay(tmp_path: Path) -> None:
    row = {"prompt": "p", "chosen": "c", "rejected": "one two\nthree four \n"}
    made = study(tmp_path, [row], "edit")
    [ana] = people(made, "ana")
    given = made.next(ana, "edit")
    assert given is not None
    made.save(ana, given.item.id, edited("one 2\r\nthree four"), seconds=1)
    saved = made.item(ana, given.item.id).answer
    assert saved is not None
    assert saved["text"] == "one 2\nthree four \n"


def test_a_draft_may_be_anything_that_is_a_text(tmp_path: Path) -> None:
    made = study(tmp_path, ROWS["edit"], "edit")
    [ana] = people(made, "ana")
    given = made.next(ana, "edit")
    assert given is not None
    for text in ("", ORIGINAL, "all is new and different here"):
        made.save(ana, given.item.id, edited(text), seconds=1, done=False)
        saved = made.item(ana, given.item.id)
        assert saved.answer is not None
        assert (saved.answer["text"], saved.done) == (text, False)
