import csv
import io

import pytest

from bench.errors import UserError
from bench.record import read_items
from bench.stats import holm, two_way
from leaderboard.compare import compare, render, render_markdown, to_csv
from tests.leaderboard.test_render import text_of


def _values(results, label):
    folders = [results / "testbed" / f"{label}-s{seed}" for seed in range(3)]
    return [[item.values["win_rate"] for item in read_items(folder)] for folder in folders]


def test_paired_difference_and_holm(results):
    found = {c.label: c for c in compare(results, "testbed", "sft")}
    a, b = _values(results, "ppo_rlhf"), _values(results, "sft")
    difference = [[x - y for x, y in zip(p, q, strict=True)] for p, q in zip(a, b, strict=True)]
    expected = two_way(difference)
    one = found["ppo_rlhf"]
    assert one.mean == pytest.approx(expected.mean)
    assert one.ci95 == pytest.approx(expected.ci95)
    assert one.p_value == pytest.approx(expected.p_value)
    assert (one.seeds, one.instructions) == (3, 60)
    assert one.significant
    raw = [found[label].p_value for label in ("ppo_rlhf", "token_ppo loss=eq4")]
    assert [found[label].p_holm for label in ("ppo_rlhf", "token_ppo loss=eq4")] == holm(raw)


def test_what_has_no_run_is_listed_with_a_note(results):
    last = compare(results, None, "sft")[-1]
    assert (last.label, last.mean) == ("bad", None)
    assert "no seed in common" in last.note
    markdown = render_markdown(compare(results, None, "sft"))
    assert "bad: not compared" in markdown
    assert "percentage points" in markdown
    assert "token_ppo loss=eq4" in text_of(render(compare(results, None, "sft")))


def test_another_metric(results):
    found = compare(results, "testbed", "sft", metric="gold_score")
    assert found[0].mean == pytest.approx(0.6, abs=0.05)
    assert "percentage" not in render_markdown(found)


def test_unknown_names_answer_with_the_nearest(results):
    with pytest.raises(UserError, match=r"named 'sff'; did you mean 'sft'\? \(one of: bad, "):
        compare(results, None, "sff")
    with pytest.raises(UserError, match="did you mean 'gold_score'"):
        compare(results, None, "sft", metric="gold")


def test_what_is_wrong_with_the_runs_is_passed_on(results):
    (results / "testbed" / "sft-s2" / "record.json").write_text("{")
    problems: list[str] = []
    compare(results, None, "sft", problems=problems)
    assert "sft-s2/record.json, line 1: not JSON" in problems[0]


def test_csv_is_unrounded(results):
    rows = list(csv.DictReader(io.StringIO(to_csv(compare(results, None, "sft")))))
    first = compare(results, None, "sft")[0]
    assert (rows[0]["label"], float(rows[0]["mean"])) == (first.label, first.mean)
    assert float(rows[0]["ci_low"]) == first.ci95[0]
    assert rows[-1]["mean"] == ""


def test_nothing_to_compare_with(make_run, tmp_path):
    make_run("sft")
    assert compare(tmp_path / "results", None, "sft") == []
    assert "Nothing to compare" in render_markdown([])
