"""Steps and time to one score for all rows, and when there is none."""

import json
from pathlib import Path

import pytest

from leaderboard.analysis.aggregate import tables
from leaderboard.views.render import leaderboard

CURVES = {  # validations every 10 steps; averaged over three
    "fast": [0.0, 0.3, 0.5, 0.6, 0.6, 0.6],
    "slow": [0.0, 0.0, 0.1, 0.2, 0.4, 0.5],
    "flat": [0.0, 0.05, 0.0, 0.05, 0.0, 0.05],
}


@pytest.fixture
def results(make_run, tmp_path: Path) -> Path:
    """Three rows of two seeds; the second seed of each is .1 lower behind step 0."""
    for method, scores in CURVES.items():
        for seed in (0, 1):
            folder = make_run(method, seed)
            own = [score - 0.1 * seed * (i > 0) for i, score in enumerate(scores)]
            rows = [
                {"step": 10 * i, "seconds": 2.0 * i, "validation_gold": score}
                for i, score in enumerate(own)
            ]
            text = "".join(json.dumps(row) + "\n" for row in rows)
            (folder / "metrics.jsonl").write_text(text)
    return tmp_path / "results"


def test_the_level_is_what_every_seed_of_half_the_rows_reaches(results: Path) -> None:
    """fast ends at .5 in its lower seed, slow at .35, both averaged; two of three rows count."""
    (table,), problems = tables(results, curves=True)
    assert problems == []
    found = table.common
    assert found is not None
    assert (found.score, found.level) == ("gold score", 0.35)
    assert found.rows["flat"].arrived == 0
    assert found.rows["flat"].steps is None
    fast, slow = found.rows["fast"], found.rows["slow"]
    # Of seed 0 the mean of .3, .5 and .6 at step 20; of seed 1 that less .1, still above.
    assert (fast.steps, fast.seconds, fast.arrived) == (20, 4, 2)
    # .2, .4, .5 at step 40 of seed 0, .4 and .3 at step 50 of seed 1.
    assert (slow.steps, slow.seconds) == (45, 9)


def test_it_is_shown_where_all_sections_are(results: Path) -> None:
    page, _ = leaderboard(results, None, "md", whole=True)
    assert "To a validation gold score of 0.35" in page
    assert "| flat | \u2013 | \u2013 | 0 of 2 |" in page
    short, _ = leaderboard(results, None, "md", whole=False)
    assert "To a validation" not in short
    body, _ = leaderboard(results, None, "json", whole=True)
    assert json.loads(body)["data"]["tables"][0]["common"]["rows"]["fast"]["steps"] == 20
    csv, _ = leaderboard(results, None, "csv", whole=True)
    assert "steps_to_common" in csv


def test_without_a_rise_there_is_no_common_score(make_run, tmp_path: Path) -> None:
    folder = make_run("flat", 0)
    (folder / "metrics.jsonl").write_text(
        "".join(json.dumps({"step": s, "validation_gold": 0.0}) + "\n" for s in (0, 10))
    )
    (table,), _ = tables(tmp_path / "results", curves=True)
    assert table.common is None
