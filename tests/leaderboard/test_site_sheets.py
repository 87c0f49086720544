import pytest

from bench.grid import DASH
from bench.records.files import Metric
from leaderboard.analysis.aggregate import tables
from leaderboard.analysis.rows import Cell
from leaderboard.site.sheets import (
    Column,
    Field,
    Forest,
    Sheet,
    cost_sheets,
    detail_sheets,
    forest,
    forest_scale,
    result_sheet,
)


@pytest.fixture
def table(results):
    return tables(results, "testbed")[0][0]


def column(sheet, header):
    place = [c.header for c in sheet.columns].index(header)
    return {row[0].text: row[place] for row in sheet.rows}


def test_the_leaderboard_has_one_row_a_label_in_rank_order(table):
    sheet = result_sheet(table, {"sft": "#runs"})
    assert [row[0].text for row in sheet.rows][-2:] == ["sft", "bad"]
    assert {row[0].text: row[0].href for row in sheet.rows}["sft"] == "#runs"
    cell = next(row for row in table.rows if row.label == "sft").metrics["win_rate"]
    error = f"± {100 * cell.standard_error:.1f}"
    assert column(sheet, "Win %")["sft"] == Field(f"{100 * cell.mean:.1f}", error, key=cell.mean)
    assert column(sheet, "95 % interval")["sft"].key == cell.ci95[0]
    assert column(sheet, "Seeds")["sft"] == Field("3", "× 60", key=3.0)


def test_a_method_is_introduced_and_a_column_says_what_it_means(table):
    sheet = result_sheet(table, {})
    head = {row[0].text: row[0] for row in sheet.rows}
    meaning = "a reward at every token, learned from minimal edits"
    assert head["token_ppo loss=eq4"].meaning == meaning
    assert head["token_ppo loss=eq4"].paper == "arXiv:2406.02756"
    assert head["bad"].meaning == ""  # a third party's that is not installed here
    assert all(column.meaning for column in sheet.columns[1:])
    assert {c.header for c in sheet.columns if not c.is_minor} >= {"Win %", "Edits %", "KL"}


def test_what_a_column_group_spans(table):
    sheet = result_sheet(table, {})
    assert [name for name, _ in sheet.groups] == ["Result", "Reward model", "Policy", "Cost"]
    assert [column for _, own in sheet.groups for column in own] == sheet.columns[1:]
    assert Sheet("", [Column("a"), Column("b")], []).groups == []


def test_an_interval_stands_below_every_mean(table):
    field = column(result_sheet(table, {}), "KL")["sft"]
    assert field.text.startswith("3.6 ± ")
    assert field.note.startswith("[")
    assert field.key == pytest.approx(3.6)


def test_a_failed_run_has_dashes_and_its_status(table):
    row = next(row for row in result_sheet(table, {}).rows if row[0].text == "bad")
    assert "diverged" in row[0].note
    assert {field.text for field in row[1:-1]} == {DASH}
    assert all(field.key is None for field in row[1:-1])
    assert row[-1].text == DASH


def test_details_leave_out_what_has_no_value(table):
    sheets = detail_sheets(table)
    headers = [[column.header for column in sheet.columns] for sheet in sheets]
    assert headers[0] == ["Method", "original pairs %", "edits %", "localisation"]
    assert all("bad" not in {row[0].text for row in sheet.rows} for sheet in sheets)


def test_the_lowest_of_the_planted_errors_is_marked(make_run, tmp_path):
    metrics = {f"probe.{name}": Metric(mean=mean) for name, mean in (("rude", 0.9), ("hype", 0.4))}
    make_run("token_ppo", metrics=metrics | {"win_rate": Metric(mean=0.5)})
    (table,) = tables(tmp_path / "results", "testbed")[0]
    sheet = next(sheet for sheet in detail_sheets(table) if "planted" in sheet.title)
    assert {h: column(sheet, h)["token_ppo"].is_lowest for h in ("rude %", "hype %")} == {
        "rude %": False, "hype %": True,
    }  # fmt: skip


def test_what_it_cost(table):
    times, cost = cost_sheets(table)
    assert [c.header for c in times.columns] == ["Method", "sft", "ppo", "All stages"]
    assert column(times, "ppo")["sft"] == Field("3.4 min", key=201.0)
    assert column(times, "All stages")["sft"] == Field("4.7 min", key=281.0)
    assert column(cost, "90 % steps")["sft"] == Field("41", key=41.0)
    assert column(cost, "Device")["sft"].text == "a CPU"
    assert column(cost, "Judge")["sft"].text == "gold"


def test_intervals_share_one_scale():
    cells = [Cell(0.4, 0.1, (0.2, 0.6)), Cell(0.9, 0.05, (0.8, 1.2))]
    low, high = forest_scale(cells)
    assert (low, high) == pytest.approx((0.16, 1.24))
    assert forest(cells[0], (0.0, 1.0)) == Forest(20.0, 40.0, 60.0, 50.0)
    assert forest(cells[1], (0.6, 1.6)) == Forest(20.0, 30.0, 60.0, None)
    assert forest(Cell(0.5), (0.0, 1.0)) is None
    assert forest_scale([]) == pytest.approx((-0.04, 1.04))
