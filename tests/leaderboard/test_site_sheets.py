import pytest

from bench.grid import DASH
from leaderboard.analysis.aggregate import tables
from leaderboard.analysis.rows import Cell
from leaderboard.site.sheets import (
    Column,
    Field,
    Forest,
    Sheet,
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
    assert column(sheet, "Win %")["sft"] == Field(f"{100 * cell.mean:.1f}", key=cell.mean)
    assert column(sheet, "SE")["sft"].key == cell.standard_error
    assert column(sheet, "95 % interval")["sft"].key == cell.ci95[0]
    assert column(sheet, "Seeds")["sft"] == Field("3", key=3.0)
    assert column(sheet, "Instructions")["sft"] == Field("60", key=60.0)
    assert column(sheet, "Device")["sft"].text == "a CPU"
    assert column(sheet, "Judge")["sft"].text == "gold"


def test_what_a_column_group_spans(table):
    groups = result_sheet(table, {}).groups
    assert [name for name, _ in groups] == ["Result", "Reward model", "Policy", "Cost"]
    assert sum(span for _, span in groups) == len(result_sheet(table, {}).columns) - 1
    assert Sheet("", [Column("a"), Column("b")], []).groups == []


def test_an_interval_stands_below_every_mean(table):
    field = column(result_sheet(table, {}), "KL")["sft"]
    assert field.text.startswith("3.6 ± ")
    assert field.note.startswith("[")
    assert field.key == pytest.approx(3.6)


def test_a_failed_run_has_dashes_and_its_status(table):
    row = next(row for row in result_sheet(table, {}).rows if row[0].text == "bad")
    assert "diverged" in row[0].note
    assert {field.text for field in row[1:]} == {DASH, "gold"}
    assert all(field.key is None for field in row[1:])


def test_details_leave_out_what_has_no_value(table):
    sheets = detail_sheets(table)
    headers = [[column.header for column in sheet.columns] for sheet in sheets]
    assert headers[0] == ["Method", "original pairs %", "edits %", "localisation"]
    assert all("bad" not in {row[0].text for row in sheet.rows} for sheet in sheets)
    times = sheets[-1]
    assert headers[-1] == ["Method", "sft", "ppo"]
    assert column(times, "ppo")["sft"] == Field("3.4 min", key=201.0)


def test_intervals_share_one_scale():
    cells = [Cell(0.4, 0.1, (0.2, 0.6)), Cell(0.9, 0.05, (0.8, 1.2))]
    low, high = forest_scale(cells)
    assert (low, high) == pytest.approx((0.16, 1.24))
    assert forest(cells[0], (0.0, 1.0)) == Forest(20.0, 40.0, 60.0, 50.0)
    assert forest(cells[1], (0.6, 1.6)) == Forest(20.0, 30.0, 60.0, None)
    assert forest(Cell(0.5), (0.0, 1.0)) is None
    assert forest_scale([]) == pytest.approx((-0.04, 1.04))
