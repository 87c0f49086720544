"""`bench agree` with several people, judges, a study and the truth, by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from bench.cli import app
from bench.studio.study import Study
from bench.suites.testbed.suite import Testbed
from tests.judges.test_alpaca_eval import write as write_table
from tests.studio.studies import chosen, people, study

N = 8


def bench(*words: object) -> Result:
    return CliRunner().invoke(app, ["agree", *(str(word) for word in words)])


def numbers(folder: Path, *words: object) -> dict[str, Any]:
    result = bench(*words, "--json", folder / "numbers.json")
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads((folder / "numbers.json").read_text())
    return found


def means(found: dict[str, Any]) -> dict[tuple[str, str], float]:
    return {(one["first"], one["second"]): one["mean"] for one in found["agreement"]}


def rows(who: str | None, says: dict[int, float | None], swapped: bool = False) -> list[Any]:
    """One row a comparison; a file may have the two outputs in either order."""
    a, b = ("output_2", "output_1") if swapped else ("output_1", "output_2")
    return [
        {"instruction": str(i), a: f"x {i}", b: f"y {i}", "annotator": who}
        | {"preference": 3 - said if swapped and said is not None else said}
        for i, said in says.items()
    ]


def first(i: int) -> float:
    return 1.0


def test_people_and_a_judge_by_hand(tmp_path: Path) -> None:
    """Of 8 comparisons a and b say the first of all, c the second of two.

    People: of the two, a and b meet a tie of the others (1/2), and c is wrong: 1/3; else 1. The
    judge says the first of 7 of them, and where c dissents that it agrees is (1/2 + 1/2 + 1) / 3;
    the last one, which nobody disputes, is a tie: 1/2.
    """
    said = {who: {i: 2.0 if who == "c" and i < 2 else first(i) for i in range(N)} for who in "abc"}
    path = tmp_path / "people.json"
    write_table(path, [row for who, own in said.items() for row in rows(who, own)])
    judge = write_table(
        tmp_path / "judge.json",
        rows("claude", {i: 1.5 if i == N - 1 else 1.0 for i in range(N)}, swapped=True),
    )
    found = numbers(tmp_path, path, judge)
    who = "people.json, 3 people"
    assert found["names"] == [who, "claude"]
    assert found["comparisons"] == N
    assert means(found) == pytest.approx(
        {(who, who): (6 + 2 / 3) / N, (who, "claude"): (5 + 2 * 2 / 3 + 0.5) / N}
    )
    assert found["agreement"][0]["n"] == N
    low, high = found["agreement"][0]["ci95"]
    assert low < means(found)[who, who] < high
    shown = bench(path, judge).stdout
    assert f"Agreement in % on the same {N} comparisons" in shown
    assert "Krippendorff's alpha of people.json, 3 people:" in shown


def test_all_numbers_are_of_the_same_comparisons(tmp_path: Path) -> None:
    a, b, c = ({i: first(i) for i in some} for some in (range(8), range(2, 8), range(6)))
    files = [
        write_table(tmp_path / f"{who}.json", rows(who, own))
        for who, own in (("a", a | {4: None}), ("b", b), ("c", c))
    ]
    found = numbers(tmp_path, *files)
    assert (found["comparisons"], found["others"]) == (3, [4, 3, 3])  # 2, 3 and 5
    assert means(found) == {("a", "b"): 1, ("a", "c"): 1, ("b", "c"): 1}


def test_a_study_beside_a_judge_beside_the_truth(tmp_path: Path) -> None:
    suite = Testbed()
    pairs = []
    for i, prompt in enumerate(suite.prompts("test", 6, 0)):
        both = [f"no answer {i}", *suite.references([prompt])]
        worse, better = sorted(both, key=lambda text: suite.score(prompt, text))
        pairs.append({"id": str(i), "prompt": prompt, "chosen": better, "rejected": worse})
    made = study(tmp_path, pairs, "prefer")
    made.set(overlap=2)
    for person in people(made, "ana", "ben"):
        while given := made.next(person, "prefer"):
            pair = pairs[int(given.item.content.id or 0)]
            wrong = (person.name, given.item.content.id) == ("ben", "3")
            text = pair["rejected" if wrong else "chosen"]
            made.save(person, given.item.id, chosen(given, text), seconds=1)
    made.close()
    judge = write_table(tmp_path / "judge.json", [
        {"instruction": pair["prompt"], "output_1": pair["rejected"], "output_2": pair["chosen"],
         "annotator": "claude", "preference": 2} for pair in pairs
    ])  # fmt: skip
    found = numbers(tmp_path, tmp_path / "study.db", judge, "--gold", "testbed")
    who = "study.db, 2 people"
    assert found["names"] == [who, "claude", "gold"]
    assert means(found) == pytest.approx({
        (who, who): 5 / 6, (who, "claude"): 5.5 / 6, (who, "gold"): 5.5 / 6, ("claude", "gold"): 1
    })  # fmt: skip
    alone = numbers(tmp_path, tmp_path / "study.db")
    assert means(alone) == pytest.approx({(who, who): 5 / 6})


def test_what_cannot_be_compared_is_one_line(tmp_path: Path) -> None:
    a = write_table(tmp_path / "a.json", rows("a", {0: 1.0}))
    b = write_table(tmp_path / "b.json", rows("b", {1: 1.0}))
    c = write_table(tmp_path / "c.json", rows("c", {0: None}))
    d = write_table(tmp_path / "d.json", rows("d", {0: 1.0}))
    empty = tmp_path / "study.db"
    Study(empty, create=True).close()
    for words, said in (
        ((a,), f"{a} is by one alone: name another file, or --gold SUITE"),
        ((a, b, d), "no comparison (instruction and both outputs) has a verdict of a and b and d"),
        ((a, b, c), f"{c} has no verdict"),
        ((a, d, "--gold", "testbed"), "gold cannot judge these comparisons: not a testbed prompt"),
        ((a, b, a), "two of the files are by a"),
        ((a, empty), f"nobody has said in the study {empty}"),
        ((a, tmp_path / "none.json"), "cannot read"),
        ((a, b, "--gold", "hh_rlhf"), "hh_rlhf"),
    ):
        result = bench(*words)
        assert result.exit_code == 2, result.output
        assert result.stderr.count("\n") == 1
        assert said in result.stderr
