"""What counts as a minimal edit."""

import gzip
import itertools
import json
import re
from pathlib import Path

import pytest

from bench.editing.acceptance import EditResult, Limits, assess
from bench.editing.claude import EditorOptions

REAL = Path(__file__).parents[3] / "shared" / "data" / "qa_feedback" / "dev_feedback_300.json.gz"
ORIGINAL = "one two three four"


def changed(original: str, proposed: str, max_changed: float = 1, **limits: float) -> EditResult:
    """An edit of which at most `max_changed` may be replaced, and whatever be cut or added."""
    wide = {"max_removed": 1.0, "max_added": 99.0, "always_allowed": 0, **limits}
    return assess("p", original, proposed, "note", Limits(max_changed, **wide))


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
    result = changed(ORIGINAL, proposed, max_changed)
    assert result.status == status
    assert result.edited == (result.proposed if status == "ok" else None)
    assert (result.reason == "") == (status == "ok")
    assert result.rejected == status.startswith("rejected")
    assert result.note == "note"


def test_reason_has_both_numbers() -> None:
    result = changed(ORIGINAL, "1 2 3 four", 0.5)
    assert result.changed_fraction == 0.75
    assert result.reason == "75.0% of the words and marks were replaced, at most 50.0% may be"


@pytest.mark.parametrize(
    ("proposed", "limits", "reason"),
    [
        ("four", {}, ""),  # nothing is replaced by what is only cut
        ("four", {"max_removed": 0.75}, ""),
        ("four", {"max_removed": 0.74}, "75.0% of the words and marks were taken out, at most"),
        (f"{ORIGINAL} 5 6 7 8", {}, ""),  # nor by what is only added
        (f"{ORIGINAL} 5 6 7 8", {"max_added": 1.0}, ""),
        (f"{ORIGINAL} 5 6 7 8", {"max_added": 0.9}, "100.0% of the words and marks were added"),
        ("1 2 3 4 5 6", {"max_removed": 0.5}, "100.0% .* replaced, .*; 100.0% .* taken out"),
    ],
)
def test_what_is_cut_or_added_is_counted_apart(
    proposed: str, limits: dict[str, float], reason: str
) -> None:
    result = changed(ORIGINAL, proposed, 0.1, **limits)
    assert result.status == ("rejected_changed_too_much" if reason else "ok")
    assert re.match(reason, result.reason)


def test_a_short_text_may_be_changed_whole() -> None:
    strict = {"max_changed": 0.1, "max_removed": 0.1, "max_added": 0.1}
    assert changed("Yes.", "No, not so", always_allowed=4, **strict).status == "ok"
    assert changed("Yes.", "No, not so", always_allowed=3, **strict).rejected
    assert changed("Yes.", "No, that is not so.", always_allowed=4, **strict).rejected


@pytest.mark.skipif(not REAL.exists(), reason="shared/data is not here")
def test_what_people_correct_is_accepted_and_another_text_is_not() -> None:
    """As docs/editing.md says of all 500 rows; these are the first 300 of them."""
    rows = json.loads(gzip.decompress(REAL.read_bytes()))
    limits = EditorOptions().limits

    def rejected(pairs: list[tuple[str, str]]) -> float:
        results = [assess("p", *pair, "", limits) for pair in pairs]
        return sum(r.status == "rejected_changed_too_much" for r in results) / len(results)

    texts = [row["prediction 1"] for row in rows]
    corrected = [row["feedback"].get("corrected-prediction") for row in rows]
    assert rejected([(a, b) for a, b in zip(texts, corrected, strict=True) if b]) < 0.1
    assert rejected(list(itertools.pairwise(texts))) > 0.98


def test_sizes() -> None:
    result = changed(ORIGINAL, "one two, four")
    assert (result.words_added, result.characters_added) == (-1, -5)


def test_blank_space_around_the_original_stays() -> None:
    """The model never sees it, so a response that begins with a space must not seem edited."""
    result = changed("\n one two \n", "one 2")
    assert result.edited == "\n one 2 \n"
    assert changed(" one two", "one two\n").status == "rejected_unchanged"
