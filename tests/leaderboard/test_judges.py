"""A judge below the floor is marked wherever its win rates stand."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.records.files import JudgeRecord, read_record, write_record
from bench.records.judges import read_all
from leaderboard.analysis.aggregate import tables
from tests.judges.test_alpaca_eval import write
from tests.judges.test_people import bench, judged, labels, texts, wrong


def test_a_judge_below_the_floor_is_marked_where_its_win_rates_stand(
    tmp_path: Path,
    results: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In the table of `judges`, on the leaderboard, and in what `judge` says."""
    monkeypatch.setenv("COLUMNS", "300")
    path = labels(tmp_path / "labels.json")
    annotated = write(
        tmp_path / "model.json", [texts(i) | {"preference": 2, "annotator": "m"} for i in range(9)]
    )
    replay = {"judge": "replay", "model": None, "template_sha": None}
    folder = judged(tmp_path / "bad", wrong, **replay)
    before = bench("judge", annotated, "--judge", "replay", "--results", results)
    assert before.exit_code == 0, before.output
    run = results / "testbed" / "sft-s0"
    who = JudgeRecord(name="replay")
    write_record(read_record(run).model_copy(update={"judge": who}), run)
    said = bench("judges", path, folder, "--results", results)
    assert said.exit_code == 0, said.output
    assert "NOT VALID: it agrees with people in 0.0% of 40 comparisons" in said.stdout
    assert [one.judge for one in read_all(results, [])] == ["replay"]
    warned = [line for table in tables(results)[0] for line in table.warnings]
    assert any("below the floor" in line and "replay" in line for line in warned)
    after = bench("judge", annotated, "--judge", "replay", "--results", results)
    assert after.exit_code == 3
    assert "below the floor" in after.stderr
    forced = bench("judge", annotated, "--judge", "replay", "--results", results, "--allow-invalid")
    assert forced.exit_code == 0
