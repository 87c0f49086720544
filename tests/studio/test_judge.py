"""The judge `human`: people's preferences as any other judge's verdicts."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.plugins.registry import JUDGES
from bench.studio.judge import HumanJudge
from bench.testing import check_judge, check_ties
from tests.studio.studies import ORIGINAL, chosen, pairs, people, study
from tests.studio.test_export import BLUE, answers

PROMPTS = [row["prompt"] for row in pairs(4)]


def judge(folder: Path, lines: list[str] | None = None) -> HumanJudge:
    options = HumanJudge.Options(db=str(folder / "study.db"))
    return HumanJudge(None, options, say=(lines if lines is not None else []).append)


def test_verdicts_are_means_over_people_in_the_order_that_is_asked(tmp_path: Path) -> None:
    made = study(tmp_path, pairs(4), "prefer")
    made.set(overlap=2)
    green, blue = (lambda g: chosen(g, ORIGINAL)), (lambda g: chosen(g, BLUE))
    tie = {"kind": "prefer", "choice": "tie"}
    answers(made, "ana", "prefer", {"pair0": blue, "pair1": blue, "pair2": tie})
    answers(made, "ben", "prefer", {"pair0": blue, "pair1": green, "pair2": green})
    lines: list[str] = []
    one = judge(tmp_path, lines)
    one.ready()
    verdicts = one.compare([*PROMPTS, "new"], [BLUE] * 5, [ORIGINAL] * 5)
    assert [(v.preference, v.status) for v in verdicts] == [
        (2.0, "ok"),
        (1.5, "tie"),
        (1.25, "ok"),
        (None, "refusal"),
        (None, "api_error"),
    ]
    assert lines == [f"1 of 5 outputs have no preference in {tmp_path / 'study.db'}"]
    turned = judge(tmp_path).compare(PROMPTS[:3], [ORIGINAL] * 3, [BLUE] * 3)
    assert [v.preference for v in turned] == [1.0, 1.5, 1.75]
    about = one.about()
    assert (about["cost_usd"], about["models"]) == (0.0, {"ana": 3, "ben": 3})
    assert about["counts"] == {"api_error": 1, "ok": 2, "refusal": 1, "tie": 1}
    assert about["diagnostics"]["tie_rate"]["mean"] == pytest.approx(1 / 3)


def test_the_same_texts_in_two_rows_are_one_question(tmp_path: Path) -> None:
    twice = [row | {"id": name} for row in pairs(1) for name in ("a", "b")]
    made = study(tmp_path, twice, "prefer")
    [ana] = people(made, "ana")
    given = made.next(ana, "prefer")
    assert given is not None
    made.save(ana, given.item.id, chosen(given, BLUE), seconds=1)  # the other is not answered yet
    [verdict] = judge(tmp_path).compare(PROMPTS[:1], [ORIGINAL], [BLUE])
    assert (verdict.preference, verdict.status) == (1.0, "ok")


def test_it_conforms(tmp_path: Path) -> None:
    assert JUDGES.get("human") is HumanJudge
    made = study(tmp_path, pairs(4), "prefer")
    answers(
        made, "ana", "prefer", {f"pair{i}": {"kind": "prefer", "choice": "a"} for i in range(4)}
    )
    check_judge(judge(tmp_path), PROMPTS, [BLUE] * 4, [ORIGINAL] * 4)
    check_ties(judge(tmp_path), PROMPTS, [BLUE] * 4)


def test_a_key_follows_what_people_said(tmp_path: Path) -> None:
    made = study(tmp_path, pairs(1), "prefer")
    before = HumanJudge.Options(db=str(tmp_path / "study.db")).result_fields()
    answers(made, "ana", "prefer", {"pair0": lambda g: chosen(g, BLUE)})
    assert HumanJudge.Options(db=str(tmp_path / "study.db")).result_fields() != before
