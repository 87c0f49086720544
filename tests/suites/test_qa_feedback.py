"""qa_feedback: people's preferences, corrections and spans of one answer, joined into pairs."""

from __future__ import annotations

import copy
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from bench.data import Span
from bench.editing import text_changes
from bench.errors import UserError
from bench.plugins.capabilities import Edits, Pairs, SpanGroups
from bench.suites.qa_feedback import QAFeedback, QAFeedbackOptions
from bench.testing import check_suite
from tests.suites.rows import word, write

REAL = Path(__file__).parents[3] / "shared" / "data" / "qa_feedback" / "dev_feedback_300.json.gz"
BEATEN_BY_3 = [1, 2, 1, 2, 0, 1]  # 1v3 is lost, and 3 also beats 2
NEVER_BEATEN = [1, 0, 1, 2, 0, 1]


def row(i: int, **changes: Any) -> dict[str, Any]:
    """A row in the exact shape of the files; its first answer loses to the third, and is edited."""
    first = f"Hello there, it is {word(i)}."
    return {
        "question": f"What is {i}?",
        "passages": [["Title", f"It is {word(i)}.", "It was so before."], ["Other", "No."]],
        "gold": f"It is {word(i)}.",
        "prediction 1": first,
        **{f"prediction {k}": f"{k}: {word(i)}." for k in (2, 3, 4)},
        "feedback": {
            "errors": [{"error type": "Irrelevant", "explanation": "", "start": 0, "end": 12}],
            "missing-info": [{"error type": "Missing-Answer", "passage_id": 1, "sentence_id": [1]}],
            "corrected-prediction": f"it is {word(i)}.",
        },
        "preference": BEATEN_BY_3,
    } | changes


def write_files(folder: Path, n: int = 80) -> dict[str, Any]:
    """Options of the suite, with one file for everything."""
    return {"feedback": str(write(folder / "feedback.json.gz", (row(i) for i in range(n))))}


def suite(folder: Path, rows: list[Any] | None = None, **options: Any) -> QAFeedback:
    given = write_files(folder)
    if rows is not None:
        write(folder / "feedback.json.gz", rows)
    return QAFeedback(QAFeedbackOptions(**given, **options))


def all_pairs(found: QAFeedback) -> list[Any]:
    return [pair for split in ("preference", "held_out") for pair in found.pairs(split, 999, 0)]


def test_it_keeps_to_every_protocol(tmp_path: Path) -> None:
    found = suite(tmp_path)
    for capability in (Pairs, Edits, SpanGroups):
        assert isinstance(found, capability)
    check_suite(found, n=3)


def test_a_pair_has_the_best_winner_and_the_correction_of_the_same_answer(tmp_path: Path) -> None:
    found = suite(tmp_path, [row(0), row(1, preference=NEVER_BEATEN)])
    (pair,) = all_pairs(found)
    assert (pair.chosen, pair.rejected) == ("3: red.", "Hello there, it is red.")
    assert pair.prompt == (
        "Question: What is 0?\n\nTitle: It is red. It was so before.\n\nOther: No."
    )
    (edit,) = [edit for edit in found.edits() if edit.id == pair.id]
    assert (edit.original, edit.edited, edit.source) == (pair.rejected, "it is red.", "people")
    assert found.spans(pair.prompt, pair.rejected) == [Span(start=0, end=12, kind="Irrelevant")]
    assert found.spans(pair.prompt, pair.chosen) is None


def test_of_several_winners_the_one_that_beats_most_is_taken(tmp_path: Path) -> None:
    #                    1v2 1v3 1v4 2v3 2v4 3v4
    tied = row(0, preference=[2, 2, 2, 2, 2, 2])  # 4 beats all
    assert [pair.chosen for pair in all_pairs(suite(tmp_path, [tied]))] == ["4: red."]
    cyclic = row(0, preference=[2, 2, 2, 1, 2, 1])  # 2, 3 and 4 beat each other in a circle
    assert [pair.chosen for pair in all_pairs(suite(tmp_path, [cyclic]))] == ["2: red."]


@pytest.mark.parametrize("corrected", ["", "Hello there, it is red. "])
def test_what_nobody_corrected_is_no_pair_and_counted(corrected: str, tmp_path: Path) -> None:
    """Else the methods would learn from unequal data."""
    changed = copy.deepcopy(row(0))
    changed["feedback"]["corrected-prediction"] = corrected
    found = suite(tmp_path, [changed])
    assert all_pairs(found) == []
    assert found.edits() == []
    assert any("1 whose first answer lost and was not corrected" in x for x in found.notes())
    assert len(all_pairs(suite(tmp_path, [changed], pairs="all"))) == 5  # 2v4 is undecided


def test_questions_are_divided_once_and_held_out_pairs_are_about_the_evaluated(
    tmp_path: Path,
) -> None:
    found = suite(tmp_path)
    splits = {s: found.prompts(s, 99, 0) for s in ("ppo", "test", "validation", "unseen")}
    assert sum(map(len, splits.values())) == 80
    assert {pair.prompt for pair in found.pairs("preference", 99, 0)} == set(splits["ppo"])
    evaluated = {prompt for split in splits if split != "ppo" for prompt in splits[split]}
    assert {pair.prompt for pair in found.pairs("held_out", 99, 0)} == evaluated
    assert found.references([splits["test"][0]])[0].startswith("It is ")
    dev = write(tmp_path / "dev.json", [row(i) for i in (0, *range(100, 120))])
    apart = suite(tmp_path, dev=str(dev))
    assert len(apart.prompts("ppo", 99, 0)) == 79
    assert len(apart.pairs("held_out", 99, 0)) == 21
    assert "questions: left out are 1 that are evaluated" in " ".join(apart.notes())


def test_demonstrations_may_have_a_file_of_their_own(tmp_path: Path) -> None:
    """It has `answer` instead of `gold`, and no feedback."""
    train = [
        {"question": f"Why {i}?", "passages": [], "answer": ["So.", "Or so."]} for i in range(3)
    ]
    found = suite(tmp_path, sft=str(write(tmp_path / "train_1k.json", train)))
    assert sorted(found.demonstrations(9, 0))[0] == ("Question: Why 0?", "So.")
    assert [f.name for f in found.data_files("demonstrations") if isinstance(f, Path)] == [
        "train_1k.json",
        "feedback.json.gz",
    ]


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (0, ""),
        (3, "\n\nTitle: It is red."),
        (6, "\n\nTitle: It is red."),
        (7, "\n\nTitle: It is red. It was so before."),
        (8, "\n\nTitle: It is red. It was so before.\n\nOther: No."),
    ],
)
def test_passages_are_cut_behind_a_sentence_and_the_question_never(
    words: int, shown: str, tmp_path: Path
) -> None:
    (pair,) = all_pairs(suite(tmp_path, [row(0)], passage_words=words))
    assert pair.prompt == f"Question: What is 0?{shown}"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"preference": [1, 2]}, "row 2, field preference: a list of 6 is needed"),
        ({"preference": [3] * 6}, "row 2, field preference: a list of 6 is needed"),
        ({"passages": ["text"]}, "row 2, field passages: a list of passages is needed"),
        ({"feedback": None}, "row 2, field feedback: errors and corrected-prediction are needed"),
        ({"feedback": {"errors": []}}, "row 2, feedback, field corrected-prediction: there is no"),
        (
            {
                "feedback": {
                    "corrected-prediction": "",
                    "errors": [{"start": 0, "end": 99, "error type": "x"}],
                }
            },
            "row 2, feedback, field errors: 0 to 99 is no part of a text of 24 characters",
        ),
    ],
)
def test_a_bad_row_is_named(changes: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=said):
        all_pairs(suite(tmp_path, [row(0), row(1, **changes)]))


def test_how_much_people_changed_is_said(tmp_path: Path) -> None:
    found = suite(tmp_path)
    found.edits()
    (said,) = [line for line in found.notes() if "changed" in line]
    assert "people changed 43% of the words and marks of the longer text at the median" in said


@pytest.mark.skipif(not REAL.exists(), reason=f"{REAL} is not here")
def test_the_real_file_gives_the_pairs_that_were_counted(tmp_path: Path) -> None:
    found = QAFeedback(QAFeedbackOptions(feedback=str(REAL)))
    pairs, edits = all_pairs(found), {edit.id: edit for edit in found.edits()}
    assert len(pairs) == 156 == sum(pair.id in edits for pair in pairs)
    changed = [text_changes(edits[p.id].original, edits[p.id].edited).fraction for p in pairs]
    assert 0.4 < median(changed) < 0.7
    assert all(found.spans(pair.prompt, pair.rejected) is not None for pair in pairs)
    check_suite(found, n=8)
