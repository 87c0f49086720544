"""What counts as a minimal edit."""

import pytest

from bench.editing.acceptance import assess

ORIGINAL = "one two three four"


@pytest.mark.parametrize(
    ("proposed", "max_changed", "status"),
    [
        ("one two three 4", 0.25, "ok"),  # 1 of 4: the limit itself is accepted
        ("one two three 4", 0.2499, "rejected_changed_too_much"),
        ("one 2 3 four", 0.5, "ok"),
        ("one 2 3 4", 0.5, "rejected_changed_too_much"),
        ("1 2 3 4", 1.0, "ok"),
        (ORIGINAL, 1.0, "rejected_unchanged"),
        ("one  two three\tfour", 1.0, "rejected_unchanged"),  # nothing but spaces
        ("one two\nthree four", 0.2, "ok"),  # a line break is a token: 1 of 5
        ("", 1.0, "rejected_empty"),
        (" \n", 1.0, "rejected_empty"),
    ],
)
def test_limits(proposed: str, max_changed: float, status: str) -> None:
    result = assess("p", ORIGINAL, proposed, "note", max_changed=max_changed)
    assert result.status == status
    assert result.edited == (result.proposed if status == "ok" else None)
    assert (result.reason == "") == (status == "ok")
    assert result.rejected == status.startswith("rejected")
    assert result.note == "note"


def test_reason_has_both_numbers() -> None:
    result = assess("p", ORIGINAL, "1 2 3 four", "", max_changed=0.5)
    assert result.changed_fraction == 0.75
    assert result.reason == "75.0% of the words and marks were changed, at most 50.0% may be"


def test_sizes() -> None:
    result = assess("p", ORIGINAL, "one two, four", "", max_changed=1)
    assert (result.words_added, result.characters_added) == (-1, -5)


def test_blank_space_around_the_original_stays() -> None:
    """The model never sees it, so a response that begins with a space must not seem edited."""
    result = assess("p", "\n one two \n", "one 2", "", max_changed=1)
    assert result.edited == "\n one 2 \n"
    assert assess("p", " one two", "one two\n", "", max_changed=1).status == "rejected_unchanged"
