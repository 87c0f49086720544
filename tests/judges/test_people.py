"""`bench judges`: judges by the labels of several people, and where a bad one is marked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from bench.cli import app
from bench.errors import UserError
from bench.judging.labels import Labelled
from bench.judging.people import People, pairs_to_judge, quality
from tests.judges.test_alpaca_eval import write

N = 40


def texts(i: int) -> dict[str, str]:
    """The second output is the longer one of every other comparison, and the better one of i < 20.

    Sorted by text the outputs stand in either order.
    """
    first, second = f"{'ba'[i % 2]} {i}", f"{'ab'[i % 2]} {i}"
    return {
        "instruction": str(i),
        "output_1": first + " more" * (i % 2),
        "output_2": second + " more" * (1 - i % 2),
    }


def better(i: int) -> int:
    return 2 if i < N // 2 else 1


def labels(path: Path) -> Path:
    """Four people, of whom the last is wrong on every fifth comparison."""
    return write(path, [
        texts(i) | {"preference": 3 - better(i) if (who, i % 5) == ("d", 0) else better(i),
                    "annotator": who}
        for i in range(N) for who in "abcd"
    ])  # fmt: skip


def judged(folder: Path, verdict: Any, **report: Any) -> Path:
    """What `bench judge --out` leaves: annotations with both orders, and a report."""
    rows = []
    for i in range(N):
        orders = [{"preference": one, "status": "ok"} for one in verdict(i)]
        mean = sum(one["preference"] for one in orders) / 2
        rows.append(texts(i) | {"preference": mean, "status": "ok", "orders": orders})
    folder.mkdir()
    write(folder / "annotations.json", rows)
    about = {"cost_usd": 1.25, "canaries": {"empty": {"n": 8, "wins": 1, "mean": 1.1}}}
    said = {"judge": "claude", "model": "m-1", "template_sha": "t", "details": about} | report
    (folder / "report.json").write_text(json.dumps(said))
    return folder


def right(i: int) -> tuple[int, int]:
    return better(i), better(i)


def wrong(i: int) -> tuple[int, int]:
    return 3 - better(i), 3 - better(i)


def first_shown(i: int) -> tuple[int, int]:
    return 1, 2


def bench(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def test_a_judge_is_held_to_what_people_reach(tmp_path: Path) -> None:
    """Of 40 comparisons 32 are undisputed; in 8 the person left out agrees in 3 of 4."""
    path = labels(tmp_path / "labels.json")
    people = People.read(path)
    own = people.agreement()
    assert own is not None
    assert own.mean == pytest.approx((32 + 8 * 0.75) / N)
    good = quality(judged(tmp_path / "good", right), people, path)
    assert good.agreement.mean == 1.0
    assert good.floor == pytest.approx(0.5 + (own.mean - 0.5) / 2)
    assert good.marks == []
    assert good.longer is not None
    assert good.longer.mean == pytest.approx(0.5)
    assert (good.cost_usd, good.canaries["empty"]["wins"]) == (1.25, 1)
    bad = quality(judged(tmp_path / "bad", wrong), people, path)
    assert bad.agreement.mean == 0.0
    assert [mark.level for mark in bad.marks] == ["invalid", "marked"]
    assert "below the floor of 72.5% (people: 95.0%, a coin: 50 %)" in bad.marks[0].text
    assert "the longer output does in 50.0%" in bad.marks[1].text


def test_judges_of_one_model_are_told_apart_by_their_prompts(tmp_path: Path) -> None:
    path = labels(tmp_path / "labels.json")
    found = [
        quality(judged(tmp_path / name, right, details={"template": name}), People.read(path), path)
        for name in ("alpaca_eval", "reviseval")
    ]
    assert [judge.label for judge in found] == ["m-1, alpaca_eval", "m-1, reviseval"]


def test_position_is_seen_whichever_output_a_file_has_first(tmp_path: Path) -> None:
    path = labels(tmp_path / "labels.json")
    found = quality(judged(tmp_path / "first", first_shown), People.read(path), path)
    flips, first = found.diagnostics["flip_rate"], found.diagnostics["first_position_rate"]
    assert flips is not None
    assert first is not None
    assert (flips.mean, first.mean) == (1.0, 1.0)
    assert found.agreement.mean == 0.5
    assert found.marks[0].what == "agreement"


def test_exchanged_outputs_are_the_same_comparison(tmp_path: Path) -> None:
    path = labels(tmp_path / "labels.json")
    rows = [texts(i) for i in range(N)]
    turned = [
        row
        | {"output_1": row["output_2"], "output_2": row["output_1"], "preference": 3 - better(i)}
        for i, row in enumerate(rows)
    ]
    found = quality(write(tmp_path / "turned.json", turned), People.read(path), path)
    assert found.agreement.mean == 1.0
    assert found.judge is None


def test_few_comparisons_mark_nothing(tmp_path: Path) -> None:
    rows = json.loads(labels(tmp_path / "labels.json").read_text())[: 4 * 29]
    path = write(tmp_path / "few.json", rows)
    found = quality(judged(tmp_path / "bad", wrong), People.read(path), path)
    assert (found.comparisons, found.marks) == (29, [])


def test_files_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    row = texts(0) | {"preference": 1}
    with pytest.raises(UserError, match="no comparison has labels of several people"):
        People.read(write(tmp_path / "one.json", [row | {"annotator": "a"}]))
    with pytest.raises(UserError, match=r"twice\.json, row 2: a labels this comparison once more"):
        People.read(write(tmp_path / "twice.json", [row | {"annotator": "a"}] * 2))
    path = labels(tmp_path / "labels.json")
    other = write(tmp_path / "other.json", [row | {"instruction": "other"}])
    with pytest.raises(UserError, match="no verdict on a comparison that people labelled"):
        quality(other, People.read(path), path)
    bare = bench("judges", path, "--results", tmp_path)
    assert bare.exit_code == 2
    assert "name what judges said, or --pairs FILE" in bare.stderr


def test_what_is_to_be_judged_is_each_comparison_once(tmp_path: Path) -> None:
    """People of AlpacaFarm's files have numbers."""
    rows = json.loads(labels(tmp_path / "labels.json").read_text())
    for row in rows:
        row["annotator_index"] = "abcd".index(row.pop("annotator"))
    path = write(tmp_path / "farm.json", rows)
    assert People.read(path).people == 4
    pairs = tmp_path / "pairs.json"
    result = bench("judges", path, "--pairs", pairs, "--results", tmp_path)
    assert result.exit_code == 0, result.output
    once = [texts(i) for i in range(N)]
    assert json.loads(pairs.read_text()) == pairs_to_judge(Labelled.read(path)) == once
