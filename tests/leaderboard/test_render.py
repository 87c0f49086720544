import csv
import io
import json
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from rich.console import Console

from bench.grid import Grid, to_markdown
from bench.records.files import JudgeRecord, Metric, Reference
from leaderboard.analysis.reported import load_reported
from leaderboard.analysis.rows import (
    STAGES_APART,
    Row,
    interval,
    number,
    probability,
    seconds,
    timed_stages,
    together,
)
from leaderboard.views.render import MORE, leaderboard

REPORTED = Path(__file__).parents[2] / "results" / "reported" / "xu2024.json"


def text_of(renderable, width: int = 140) -> str:
    file = io.StringIO()
    Console(file=file, width=width).print(renderable)
    return file.getvalue()


def test_the_terminal_table(results):
    renderable, problems = leaderboard(results)
    text = text_of(renderable)
    assert problems == []
    for part in ("Win %", "SE", "95 % interval", "diverged", "seeds x instructions"):
        assert part in text
    lines = text.splitlines()
    order = [i for i, line in enumerate(lines) if line.strip().startswith(("ppo_rlhf", "sft"))]
    assert order == sorted(order)


def test_failed_runs_keep_a_row_and_say_why(results):
    markdown, _ = leaderboard(results, fmt="md")
    assert "| bad | – | – | – | – | – | – | diverged |" in markdown
    assert "bad, seed 0: diverged: KL is NaN at step 12." in markdown


def test_costs_devices_and_convergence(make_run, tmp_path):
    judge = JudgeRecord(name="gold", counts={"ok": 60}, cost_usd=1.25)
    make_run("sft", 0, judge=judge)
    make_run("ppo_rlhf", 0, judge=judge)
    markdown, _ = leaderboard(tmp_path / "results", fmt="md")
    assert "| Method | steps to 90 % | time to 90 % | judge USD | device |" in markdown
    assert "| sft | 40 | 80 s | 1.25 | a CPU |" in markdown
    assert "| Method | sft | ppo | all stages |" in markdown


def test_html_is_one_page_with_headers_for_rows_and_columns(results, make_run):
    make_run("x <script>alert(1)</script>", 0)
    page, _ = leaderboard(results, fmt="html")
    assert "<script" not in page
    assert "x &lt;script&gt;" in page
    root = ElementTree.fromstring(re.sub(r"<(meta[^>]*|wbr|!doctype html)>", "", page))
    titles = {title.text for title in root.findall(".//h2")}
    tables = root.findall(".//table")
    assert len(tables) > 4
    for table in tables:
        assert table.find("caption").text in titles
        widths = {len(row) for row in table.iter("tr")}
        assert len(widths) == 1
        assert {th.get("scope") for th in table.findall("./thead/tr/th")} == {"col"}
        assert all(row[0].get("scope") == "row" for row in table.findall("./tbody/tr"))
    assert not re.search(r"src=|href=\"[^#]|https?://|@import", page)


@pytest.mark.parametrize("width", [50, 80, 140])
def test_a_narrow_terminal_cuts_no_number(results, width):
    renderable, _ = leaderboard(results)
    text = text_of(renderable, width)
    assert max(map(len, text.splitlines())) <= width
    markdown, _ = leaderboard(results, fmt="md")
    rows = [r.split("|")[2:] for r in markdown.splitlines() if r[:1] == "|"]
    if width == 50:  # where the ranking's last columns are left out, and it is said
        assert "Left out at 50 columns: Instructions, Seeds, SE." in text
        rows = [row[:2] for row in rows]
    cells = [cell.strip() for row in rows for cell in row]
    for cell in cells:
        if cell[:1].isdigit():
            assert cell in text


def test_the_ranking_alone_names_what_shows_the_rest(results):
    every, _ = leaderboard(results)
    ranking, _ = leaderboard(results, whole=False)
    whole, short = text_of(every), text_of(ranking)
    assert "Convergence and cost" in whole
    assert "Reward model" not in short
    assert "Time by stage" not in short
    assert short.rstrip().splitlines()[-1] == MORE
    assert MORE not in whole
    assert "95 % interval" in short
    assert "Group: two methods" in short


def test_where_nobody_was_judged_the_reward_models_are_shown(make_run, tmp_path):
    metrics = {"rm_accuracy.edited": Metric(mean=0.8125, standard_error=0.02)}
    nobody = {"judge": JudgeRecord(name="gold"), "reference": Reference(name="", sha="")}
    make_run("sft", 0, status="partial", metrics=metrics, **nobody)
    renderable, _ = leaderboard(tmp_path / "results", whole=False)
    text = text_of(renderable)
    assert "has judged no run" in text
    assert re.search(r"Method +Status", text)  # no column of dashes
    assert "Group:" not in text
    assert "81.2 ± 2.0" in text


@pytest.mark.parametrize(
    ("width", "gone"),
    [(120, ""), (80, ""), (65, "Instructions."), (50, "Instructions, Seeds, SE.")],
)
def test_a_ranking_is_one_table_and_says_what_it_leaves_out(results, width, gone):
    renderable, _ = leaderboard(results, whole=False)
    lines = text_of(renderable, width).splitlines()
    assert sum(line.lstrip().startswith("Method") for line in lines) == 1
    said = [line for line in lines if line.startswith("Left out")]
    assert said == ([f"Left out at {width} columns: {gone}"] if gone else [])


def test_no_run_yet_says_what_makes_one(tmp_path):
    _, problems = leaderboard(tmp_path)
    assert "no run yet; `python -m bench run" in problems[0]


def test_reported_rows_stand_apart_with_their_own_meaning(results):
    markdown, _ = leaderboard(results, fmt="md")
    measured, *reported = markdown.split("### Reported: arXiv:2406.02756, ")
    assert "51.6" not in measured
    assert "| fine-grained token-level PPO | 51.6 | 1.8 |" in reported[0]
    assert "one standard error over instructions" in reported[0]
    assert len(reported) == 4


def test_the_paper_is_copied_right():
    tables = json.loads(REPORTED.read_text(encoding="utf-8"))["tables"]
    values = [[(row["mean"], row["plus_minus"]) for row in table["rows"]] for table in tables]
    assert values == [
        [(51.6, 1.8), (51.2, 1.8), (50.0, None), (46.5, 1.8)],
        [(85.2, 1.8), (58.2, 1.8)],
        [(0.2, None), (0.3, None)],
        [(4.0, None), (2.0, None)],
    ]


def test_a_bad_reported_file_is_named(tmp_path):
    (tmp_path / "reported").mkdir()
    (tmp_path / "reported" / "x.json").write_text('{"paper": 1}')
    problems: list[str] = []
    assert load_reported(tmp_path, problems) == []
    assert "x.json: paper" in problems[0]


def test_every_form_says_what_was_not_compared(make_run, tmp_path):
    make_run("sft", 0)
    make_run("token_ppo", 1)
    for fmt in ("md", "html", "csv"):
        text, _ = leaderboard(tmp_path / "results", fmt=fmt)
        assert "Not compared: sft and token_ppo have no seed in common." in text
        if fmt != "csv":
            assert "Group –: not ranked, or not compared with some other method." in text


def test_csv_holds_every_metric_unrounded(results):
    text, _ = leaderboard(results, fmt="csv")
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [row["label"] for row in rows][-1] == "bad"
    sft = next(row for row in rows if row["label"] == "sft")
    assert float(sft["win_rate.ci_low"]) < float(sft["win_rate"]) < float(sft["win_rate.ci_high"])
    assert float(sft["win_rate"]) < 1
    assert (sft["seeds"], sft["group"], sft["seconds.ppo"]) == ("3", "2", "201.0")
    assert rows[-1]["win_rate"] == ""
    assert (sft["devices"], sft["judge_cost_usd"]) == ("a CPU", "")


def test_markdown_says_why_tables_are_split(make_run, tmp_path):
    make_run("sft", 0)
    make_run("sft", 0, judge={"name": "claude"}, run_id="other")
    markdown, _ = leaderboard(tmp_path / "results", fmt="md")
    first, second = markdown.split("\n### testbed: ")[-2:]
    assert "Warning" not in first
    assert "**Warning:** Not ranked with the first table: judge: " in second
    assert "given this training run" in markdown


def test_numbers():
    assert number("win_rate", 0.5164) == "51.6"
    assert number("gold_score", -0.01234) == "-0.012"
    assert number("kl", None) == "–"
    assert number("win_rate", 0.05, signed=True) == "+5.0"
    assert number("kl", -0.01) == "0.0"
    assert interval("win_rate", (0.1, 0.25)) == "[10.0, 25.0]"
    assert probability(0.0002) == "<0.001"
    assert [seconds(s) for s in (None, 59, 300, 7200)] == ["–", "59 s", "5.0 min", "2.0 h"]


def test_markdown_escapes_bars():
    grid = Grid("t", ["a", "b"], [["x|y", "1"]], level=2)
    assert to_markdown(grid) == "## t\n\n| a | b |\n| --- | ---: |\n| x\\|y | 1 |"


@pytest.mark.parametrize(
    "module",
    ["views.render", "views.show", "views.compared", "views.power", "regression.check", "plots"],
)
def test_importing_is_light(module):
    code = (
        f"import sys, leaderboard.{module};"
        "print([m for m in ('torch', 'seaborn', 'scipy', 'matplotlib', 'pandas') "
        "if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def timed(label: str, **took: float) -> Row:
    return Row(label, label, "", "testbed", "ok", stage_seconds=took)


def test_of_many_stages_those_of_one_row_or_of_a_moment_share_a_column():
    shared = {f"stage{i}": 10.0 for i in range(STAGES_APART - 1)}
    rows = [timed("a", **shared, brief=1.0), timed("b", **shared, brief=2.9, own=50.0)]
    stages, others = timed_stages(rows)
    assert stages == list(shared)
    assert others == ["brief", "own"]
    assert [together(row, others) for row in rows] == [1.0, 52.9]
    assert together(timed("c"), others) is None
    few, none = timed_stages(rows[:1])  # twelve have room
    assert (few, none) == ([*shared, "brief"], [])
