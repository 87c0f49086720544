"""Tables of `bench rm`: what may be compared, and how it is shown."""

from __future__ import annotations

from pathlib import Path

from bench.grid import DASH
from bench.records.files import Damage
from bench.records.reward_models import write
from bench.records.schema import DataSplit
from leaderboard.analysis.reward_models import peak, tables
from leaderboard.site import write_site
from leaderboard.views.reward_models import grids
from tests.leaderboard.conftest import MakeRun
from tests.records.test_reward_models import measured

OTHER_PAIRS = {"held_out": DataSplit(n=9, sha="cafe")}


def test_models_on_the_same_data_stand_together_the_most_accurate_first(tmp_path: Path) -> None:
    for record in (
        measured("low", 0.6),
        measured("high", 0.8),
        measured("elsewhere", data=OTHER_PAIRS, best_of_n=[]),
        measured("third", suite="qa_feedback"),
    ):
        write(record, tmp_path)
    found = tables(tmp_path, [])
    assert [[row.label for row in table.rows] for table in found] == [
        ["third"],
        ["elsewhere"],
        ["high", "low"],
    ]
    assert found[2].labels == "original_clean"
    (only,) = tables(tmp_path, [], suite="qa_feedback")
    assert only.suite == "qa_feedback"


def test_the_tables_of_one_suite(tmp_path: Path) -> None:
    write(measured("high", 0.8), tmp_path)
    bare = {"rm_accuracy.original": measured().metrics["rm_accuracy.original"]}
    write(measured("bare", metrics=bare), tmp_path)
    main, fine, planted, gold, proxy = grids(tables(tmp_path, []))
    assert main.title == "Reward models on testbed: 50 held-out pairs [feed]"
    assert main.headers[2:4] == ["original pairs %", "clean labels %"]
    assert main.rows[0][:4] == ["high", "sequence", "60.0 [50.0, 70.0]", "80.0 [70.0, 90.0]"]
    assert main.rows[1][3] == DASH
    assert main.notes[0] == "Preferring the longer response is right on: clean labels 55.0 %."
    assert fine.headers[2:] == ["first 25 %", "falls AUROC"]  # the others nobody has
    assert fine.rows[0][3] == "0.52 [0.42, 0.62]"
    assert planted.rows[0][2] == "75.0 [65.0, 85.0]"
    assert [row[0] for row in gold.rows] == ["high", "bare", "ceiling", "KL at most, nats"]
    assert gold.rows[0][-1] == "2"
    assert gold.rows[-1][1:] == ["0.00", "0.20", "0.60", DASH]
    assert len(proxy.rows) == 2


def test_beyond_the_peak_more_choice_is_worse() -> None:
    assert peak(measured()) == 2
    assert peak(measured(best_of_n=[])) is None


def test_a_suite_without_gold_has_no_best_of_n(tmp_path: Path) -> None:
    write(measured(data=OTHER_PAIRS, best_of_n=[], draws=0), tmp_path)
    assert [grid.title for grid in grids(tables(tmp_path, []))][1:] == [
        "How fine is what they know",
        "Planted errors",
    ]


def test_the_site_has_a_page_of_them_while_there_are_any(
    make_run: MakeRun, results: Path, tmp_path: Path
) -> None:
    out = tmp_path / "site"
    write_site(results, out, [])
    assert "reward-models.html" not in (out / "index.html").read_text()
    path = write(measured("mine", label="<b>mine</b>"), results)
    assert out / "reward-models.html" in write_site(results, out, [])
    assert 'href="reward-models.html"' in (out / "index.html").read_text()
    page = (out / "reward-models.html").read_text()
    assert "&lt;b&gt;mine" in page
    assert "Gold of the best of n" in page
    path.write_text("{")
    problems: list[str] = []
    write_site(results, out, problems)
    assert any(isinstance(line, Damage) and path.name in line for line in problems)
    assert not (out / "reward-models.html").exists()
