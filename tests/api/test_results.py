"""`bench.load`, `bench.compare`, `bench.plot` on the published records, beside the command line."""

import csv
import io
import shutil
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from typer.testing import CliRunner

import bench
from bench.cli import app
from bench.records.files import read_curves

TESTBED = bench.PUBLISHED / "testbed"


def said(*arguments: str) -> list[dict[str, str]]:
    done = CliRunner().invoke(app, [*arguments, "--format", "csv"])
    assert done.exit_code == 0, done.output
    return list(csv.DictReader(io.StringIO(done.stdout)))


def test_a_frame_has_a_row_a_run_with_its_intervals() -> None:
    runs = bench.load(TESTBED)
    frame = runs.to_pandas().set_index("run_id")
    assert len(frame) == len(runs) == 155
    record = runs[3]
    metric, row = record.metrics["win_rate"], frame.loc[record.run_id]
    assert (row["win_rate"], row["win_rate.se"]) == (metric.mean, metric.standard_error)
    assert (row["win_rate.ci_low"], row["win_rate.ci_high"]) == metric.ci95
    assert row["seconds"] == pytest.approx(sum(stage.seconds for stage in record.stages))


def test_runs_are_chosen_by_suite_method_label_and_any_field() -> None:
    assert {run.label for run in bench.load(TESTBED, method="token_ppo")} == {
        "token_ppo", "token_ppo assignment=growth", "token_ppo loss=divergence",
        "token_ppo loss=eq4", "token_ppo paid_at=end",
    }  # fmt: skip
    chosen = bench.load(TESTBED, suite="testbed", label="token_ppo")
    assert [run.seed for run in chosen] == [0, 1, 2, 3, 4]
    assert [run.run_id for run in chosen.where(seed=2)] == [chosen[2].run_id]
    assert repr(chosen[:2] + chosen[3:4]) == "<3 records: token_ppo>"
    with pytest.raises(bench.UserError, match="unknown label 'token_pp'; did you mean 'token_ppo'"):
        bench.load(TESTBED, label="token_pp")
    with pytest.raises(bench.UserError, match="unknown field 'sed'; did you mean 'seed'"):
        chosen.where(sed=1)
    with pytest.raises(bench.UserError, match="no such folder of results"):
        bench.load("/nowhere")


def test_the_table_and_the_differences_are_the_command_lines() -> None:
    board = bench.load(TESTBED).leaderboard()
    rows = said("leaderboard", "--results", str(TESTBED))
    frame = board.to_pandas()
    assert frame["label"].tolist() == [row["label"] for row in rows]
    assert frame["win_rate.ci_low"].tolist() == [float(row["win_rate.ci_low"]) for row in rows]
    found = bench.compare("token_ppo", "sft", "ppo_rlhf", results=TESTBED, difference=0.03)
    rows = said(
        "compare", "token_ppo", "sft", "ppo_rlhf", "--results", str(TESTBED), "--difference", ".03"
    )
    names = ("mean", "p_holm", "ci_low", "needed_seeds")
    for name in names:
        assert found.to_pandas()[name].tolist() == [float(row[name]) for row in rows]
    assert [c.label for c in found] == [row["label"] for row in rows]
    with pytest.raises(bench.UserError, match=r"5 points are 0\.05"):
        bench.compare("sft", results=TESTBED, difference=5)
    with pytest.raises(bench.UserError, match="name a label"):
        bench.compare(results=TESTBED)


def test_a_choice_of_runs_has_a_table_of_its_own() -> None:
    board = bench.load(TESTBED).where(method="token_ppo").leaderboard()
    assert len(board[0].rows) == 5
    assert len(board.sections()) > len(board.grids()) == 1


def test_everything_shows_itself_and_escapes_what_it_shows(tmp_path: Path) -> None:
    runs = bench.load(TESTBED, method="sft")
    for thing in (runs, runs.leaderboard(), runs[0], bench.compare("sft", results=TESTBED)):
        html = thing._repr_html_()
        assert html.count("<table>") == html.count("</table>") >= 1
        assert len(repr(thing)) < 200
    assert "| sft |" in str(runs.leaderboard())
    folder = tmp_path / "a"
    shutil.copytree(runs[0].folder, folder)
    (tmp_path / "<b>").mkdir()
    (tmp_path / "<b>" / "record.json").write_text("{")
    damaged = bench.load(tmp_path)
    assert "<b>" in damaged.problems[0]
    for thing in (damaged, damaged.leaderboard()):
        assert "&lt;b&gt;/record.json" in thing._repr_html_()


def test_curves_are_the_records(tmp_path: Path) -> None:
    runs = bench.load(TESTBED, label="token_ppo")
    figure = bench.plot.curves(runs[0], "kl")
    assert isinstance(figure, Figure)
    (line,) = (line for line in figure.axes[0].lines if len(line.get_xdata()))
    expected = [v for p in read_curves(runs[0].folder) if (v := p.values.get("kl")) is not None]
    assert line.get_ydata().tolist() == pytest.approx(expected)
    score = bench.plot.curves(runs + bench.load(TESTBED, label="ppo_rlhf"), against="kl")
    assert "gold score" in score.axes[0].get_ylabel()
    assert "KL" in score.axes[0].get_xlabel()
    assert len(score.legends[0].get_texts()) == 2


def test_a_curve_that_is_damaged_is_left_out_and_named(tmp_path: Path) -> None:
    for run in bench.load(TESTBED, label="token_ppo")[:2]:
        shutil.copytree(run.folder, tmp_path / run.run_id)
    runs = bench.load(tmp_path)
    (runs[0].folder / "metrics.jsonl").write_text("{")
    with pytest.warns(UserWarning, match=r"left out: .*metrics.jsonl, line 1: not JSON"):
        figure = bench.plot.curves(runs)
    assert "one seed" in figure.axes[0].get_title(loc="left")


def test_what_cannot_be_drawn_is_said() -> None:
    runs = bench.load(TESTBED, label="token_ppo")
    with pytest.raises(bench.UserError, match="unknown curve 'kll'; did you mean 'kl'"):
        bench.plot.curves(runs, "kll")
    with pytest.raises(bench.UserError, match=r"unknown axis 'step'; did you mean 'steps'"):
        bench.plot.curves(runs, "kl", "step")
    with pytest.raises(bench.UserError, match="none of these 5 runs ended ok and has a curve"):
        bench.plot.curves(bench.load(TESTBED, label="sft"))
    everything = bench.load(bench.PUBLISHED)
    with pytest.raises(bench.UserError, match=r"choose one of records.tables\(\)"):
        bench.plot.curves(everything)
    assert len(bench.plot.curves(runs).axes) == 1
    assert len(bench.plot.curves(everything.tables()[0]).axes) == 28  # a panel a row with a curve


def test_results_are_the_published_ones_in_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert len(bench.load("results")) == len(bench.load(bench.PUBLISHED)) > 40
