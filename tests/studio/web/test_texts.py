"""Pieces of an edit and of marked text: no character is lost, and the marks lie right."""

from __future__ import annotations

import html

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.editing.acceptance import Limits
from bench.studio.tasks import ToEdit
from bench.studio.web.texts import exact, live, stretches

TEXT = st.text("ab <&\n.é😀", max_size=20)


@given(TEXT.filter(str.strip), TEXT)
def test_the_pieces_are_both_texts(original: str, text: str) -> None:
    shown = live(ToEdit(prompt="q", original=original), text, Limits())
    after = "".join(piece.text for piece in shown.pieces if piece.kind != "out")
    assert after.strip() == text.strip()
    before = "".join(piece.text for piece in shown.pieces if piece.kind != "in")
    assert "".join(before.split()) == "".join(original.split())


def test_the_numbers_are_those_that_decide() -> None:
    shown = live(ToEdit(prompt="q", original="a b c d"), "a x c d", Limits(0.2, always_allowed=0))
    assert (shown.tokens, shown.replaced, shown.limit) == (1, 0.25, 0.2)
    assert shown.status == "rejected_changed_too_much"
    kinds = [(piece.text, piece.kind) for piece in shown.pieces]
    assert kinds == [("a ", "kept"), ("b", "out"), ("x", "in"), (" c d", "kept")]


def test_a_form_s_line_breaks_are_no_change() -> None:
    original = "a\r\nb\nc\rd"
    assert live(ToEdit(prompt="q", original=original), "a\r\nb\r\nc\r\nd", Limits()).tokens == 0


def mark(start: int, end: int, severity: str = "major", kind: str = "t") -> dict[str, object]:
    return {"start": start, "end": end, "type": kind, "severity": severity}


def test_overlapping_marks_show_the_gravest() -> None:
    spans = [mark(0, 4, "minor", "b"), mark(2, 6, "critical", "a")]
    found = [(one.text, one.severity, one.types) for one in stretches("abcdefgh", spans)]
    assert found == [
        ("ab", "minor", "b"),
        ("cd", "critical", "a, b"),
        ("ef", "critical", "a"),
        ("gh", None, ""),
    ]
    assert stretches("abc", [])[0].text == "abc"


@pytest.mark.parametrize("text", ["a\r\nb", "\r", "<b>\r&", "\n\n a"])
def test_a_carriage_return_reaches_the_browser(text: str) -> None:
    shown = str(exact(text))
    assert "\r" not in shown
    assert "<" not in shown
    assert html.unescape(shown).replace("\r", "") == text.replace("\r", "")
    assert shown.count("&#13;") == text.count("\r")
