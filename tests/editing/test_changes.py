"""Changes between texts, worked out by hand, and against people's own marks."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bench.editing import Change, TextChanges, text_changes

QA_FEEDBACK = Path("../shared/data/qa_feedback/dev_feedback_300.json.gz")
WORDS = st.lists(st.sampled_from(["a", "b", "c", ".", "\n", "  ", "漢", "字"]), max_size=15)


def pieces(original: str, edited: str) -> list[tuple[str, str]]:
    changes = text_changes(original, edited).changes
    return [(original[slice(*c.original)], edited[slice(*c.edited)]) for c in changes]


def test_substitution() -> None:
    """3 tokens each; `lives` [4, 9) gives way to `lived`, 1 of 3 changed."""
    assert text_changes("Bob lives.", "Bob lived.") == TextChanges(
        (Change((4, 9), (4, 9)),), 1 / 3, tokens=1, removed=1 / 3, added=1 / 3, growth=1 / 3
    )


def test_insertion_and_deletion() -> None:
    """5 tokens become 7: `, today` goes in behind `home`, which ends at 11; 2 of 7 are new."""
    inserted = text_changes("Bob is home now.", "Bob is home, today now.")
    assert inserted == TextChanges(
        (Change((11, 11), (11, 18)),), 2 / 7, tokens=2, removed=0, added=2 / 7, growth=2 / 5
    )
    deleted = text_changes("Bob is home, today now.", "Bob is home now.")
    assert deleted == TextChanges(
        (Change((11, 18), (11, 11)),), 2 / 7, tokens=2, removed=2 / 7, added=0, growth=0
    )
    assert inserted.replaced == deleted.replaced == 0


def test_insertion_at_the_beginning() -> None:
    assert text_changes("b", "a b").changes == (Change((0, 0), (0, 1)),)


def test_several() -> None:
    """Runs of changed tokens are one change, with the spaces within.

    the old man saw | a | dog [.]  ->  the young boy saw dog | [.] | now: LCS `the saw dog .`, so
    3 of the 7 original tokens and 3 of the 7 edited ones changed.
    """
    original, edited = "The old man saw a dog.", "The young boy saw dog. Now"
    assert pieces(original, edited) == [("old man", "young boy"), ("a", ""), ("", "Now")]
    assert text_changes(original, edited).fraction == 3 / 7


@pytest.mark.parametrize(
    ("original", "edited", "fraction"),
    [
        ("", "", 0.0),
        ("", "a b", 1.0),
        ("a b", "", 1.0),
        ("a b", "c d", 1.0),
        ("a b c d", "a b", 0.5),  # 2 of the longer side's 4
        ("a b", "a b c d", 0.5),
        ("a b", "a c d e", 0.75),  # 3 of 4: b gave way to three
    ],
)
def test_fraction_is_of_the_longer_side(original: str, edited: str, fraction: float) -> None:
    assert text_changes(original, edited).fraction == fraction


def test_spaces_are_no_tokens_and_line_breaks_are() -> None:
    assert text_changes("a  b\tc", " a b c ").fraction == 0.0
    assert pieces("one, two", "one,\ntwo") == [("", "\n")]
    assert text_changes("one, two", "one,\ntwo").fraction == 1 / 4


def test_writing_without_spaces_is_compared_letter_by_letter() -> None:
    """One of seven letters, and not the one word that they make up."""
    assert pieces("私は東京に住む", "私は京都に住む") == [("東", ""), ("", "都")]
    assert text_changes("私は犬が好きだ", "私は猫が好きだ").fraction == 1 / 7
    assert text_changes("GPT漢字", "BERT漢字").fraction == 1 / 3  # other letters are a word still


@settings(max_examples=200, deadline=None)
@given(WORDS, WORDS)
@example(["a"], ["\n"])
def test_kept_text_is_the_same_on_both_sides(first: list[str], second: list[str]) -> None:
    """Without its changes, each text is the other but for spaces; no change at all means equal."""
    original, edited = " ".join(first), " ".join(second)
    changes, kept = text_changes(original, edited), [original, edited]
    for change in reversed(changes.changes):
        for i, (start, end) in enumerate((change.original, change.edited)):
            kept[i] = kept[i][:start] + kept[i][end:]
    assert kept[0].replace(" ", "") == kept[1].replace(" ", "")
    assert (changes.fraction == 0) == (original.replace(" ", "") == edited.replace(" ", ""))
    assert text_changes(edited, original).fraction == changes.fraction


@pytest.fixture(scope="module")
def corrections() -> list[dict[str, Any]]:
    if not QA_FEEDBACK.exists():
        pytest.skip(f"{QA_FEEDBACK} is not here")
    with gzip.open(QA_FEEDBACK, "rt", encoding="utf-8") as file:
        rows: list[dict[str, Any]] = json.load(file)
    return rows


def test_changes_lie_where_people_marked_errors(corrections: list[dict[str, Any]]) -> None:
    """Annotators marked 58 % of the characters as wrong and then corrected the text.

    Of the characters that our alignment says were changed, 93 % are marked ones.
    """
    changed = marked = errors = length = 0
    for row in corrections:
        original, feedback = row["prediction 1"], row["feedback"]
        wrong = {
            place for error in feedback["errors"] for place in range(error["start"], error["end"])
        }
        spans = text_changes(original, feedback["corrected-prediction"]).changes
        places = {place for change in spans for place in range(*change.original)}
        changed, marked = changed + len(places), marked + len(places & wrong)
        errors, length = errors + len(wrong), length + len(original)
    assert errors / length == pytest.approx(0.58, abs=0.01)
    assert marked / changed == pytest.approx(0.93, abs=0.01)


def test_size_of_human_corrections(corrections: list[dict[str, Any]]) -> None:
    """Quartiles 47, 62 and 74 %: whole irrelevant sentences go, so these are not minimal edits."""
    fractions = sorted(
        text_changes(row["prediction 1"], row["feedback"]["corrected-prediction"]).fraction
        for row in corrections
    )
    quartiles = [fractions[len(fractions) * k // 4] for k in (1, 2, 3)]
    assert quartiles == pytest.approx([0.47, 0.62, 0.74], abs=0.01)
    assert 0 <= fractions[0] < 0.05
    assert fractions[-1] == 1.0
