import csv
import io

import pytest

from leaderboard.analysis.compare import Comparison, compare
from leaderboard.views.compared import render, render_markdown, to_csv
from tests.leaderboard.test_render import text_of


def test_against_one_label(results):
    markdown = render_markdown(compare(results, None, ["sft"]))
    assert "### win_rate minus that of sft (percentage points)" in markdown
    assert "bad: not compared: bad has no win_rate in its items." in markdown
    assert "over 2 comparisons" in markdown
    assert "at .05 / 2, Holm's first step" in markdown
    assert "| 3 x 60 |" in markdown


def test_pairs_name_both(results):
    found = compare(results, None, ["ppo_rlhf", "sft", "token_ppo loss=eq4"])
    assert "ppo_rlhf minus token_ppo loss=eq4" in render_markdown(found)


def test_another_metric_has_no_percentage(results):
    found = compare(results, None, ["sft"], metric="gold_score")
    assert "percentage" not in render_markdown(found)


@pytest.mark.parametrize("width", [50, 80, 160])
def test_nothing_is_cut_in_the_terminal(results, width):
    found = compare(results, None, ["ppo_rlhf", "sft"], examples=2)
    text = text_of(render(found), width)
    assert max(map(len, text.splitlines())) <= width
    cells = [line.split("|")[2:-1] for line in render_markdown(found).splitlines() if "|" in line]
    assert len(cells) > 4
    for cell in (cell.strip() for row in cells for cell in row):
        if cell.strip("-:") and cell[0] in "+-0123456789<":
            assert cell in text


def test_none_and_unknown_are_told_apart():
    common = {"metric": "win_rate", "mean": 0.1, "p_value": 0.5, "p_holm": 0.5, "planned": 0.1}
    none = Comparison("a", "b", needed_seeds=float("inf"), needed_instructions=1234, **common)
    unknown = Comparison("c", "b", needed_seeds=None, needed_instructions=20, **common)
    markdown = render_markdown([none, unknown])
    assert "| a | – | 10.0 | none | 1,234 |" in markdown
    assert "| c | – | 10.0 | – | 20 |" in markdown


def test_csv_is_unrounded(results):
    found = compare(results, None, ["sft"])
    rows = list(csv.DictReader(io.StringIO(to_csv(found))))
    assert (rows[0]["label"], float(rows[0]["mean"])) == (found[0].label, found[0].mean)
    assert float(rows[0]["ci_low"]) == found[0].ci95[0]
    assert float(rows[0]["needed_seeds"]) == found[0].needed_seeds
    assert rows[-1]["mean"] == ""
    assert "flips" not in rows[0]


def test_nothing_to_compare():
    assert "Nothing to compare" in render_markdown([])


def test_examples_are_blocks_in_markdown(results):
    markdown = render_markdown(compare(results, None, ["ppo_rlhf", "sft"], examples=1))
    head, block = markdown.split("\n#### ")[-1].split("\n\n", 1)
    assert head.startswith("ppo_rlhf wins where sft loses: ")
    assert all(line.startswith("    ") for line in block.strip("\n").splitlines())
