import pytest
from markupsafe import Markup

from bench.records.files import Metric, Reference
from leaderboard.analysis.aggregate import make_tables
from leaderboard.analysis.compare import Comparison, all_pairs
from leaderboard.analysis.rows import Cell, Row, Table
from leaderboard.analysis.runs import load
from leaderboard.site.finding import find
from leaderboard.site.intervals import intervals

ROW = {"paper": "", "preset": "testbed", "status": "ok"}
HOSTILE = "<img src=x onerror=alert(1)>"


def plain(markup):
    return Markup(markup).striptags()


def found_in(results):
    grouped, problems = load(results, None)
    (table,) = make_tables(grouped, problems)
    (groups,) = grouped.values()
    by_label = {group.label: group for group in groups}
    return find(table, all_pairs([by_label[row.label] for row in table.rows], table.metric)), table


def table_of(**groups):
    """One row a name: (rank group, mean, low, high)."""
    rows = [
        Row(name, name, **ROW, group=group, metrics={"win_rate": Cell(mean, 0.01, (low, high))})
        for name, (group, mean, low, high) in groups.items()
    ]
    return Table("s", "r", "5ha", "gold", None, None, None, "win_rate", rows)


def pair(a, b, mean, p_holm):
    ends = (mean - 0.02, mean + 0.02)
    return Comparison(a, b, "win_rate", mean, 0.01, 4.0, ends, p_holm, p_holm, 5, 256)


def test_a_tie_on_top_is_called_none_shown(results):
    found, _ = found_in(results)
    assert plain(found.headline) == (
        "No difference is shown between token_ppo loss=eq4 and ppo_rlhf, the best; behind come sft."
    )
    assert [plain(line) for line in found.more] == [
        "Against the reference's 50 %: token_ppo loss=eq4 and ppo_rlhf above; sft below."
    ]


def test_the_best_is_named_with_what_it_is_and_by_how_much():
    table = table_of(gold_ppo=(1, 0.6, 0.55, 0.65), x=(2, 0.5, 0.4, 0.6), y=(2, 0.49, 0.4, 0.6))
    # As it is stored the difference may be that of the other side.
    pairs = [pair("x", "gold_ppo", -0.1, 0.01), pair("gold_ppo", "y", 0.11, 0.01),
             pair("x", "y", 0.01, 0.9)]  # fmt: skip
    found = find(table, pairs)
    assert plain(found.headline) == (
        "gold_ppo (the suite's gold score as reward: the ceiling) is best, preferred to the "
        "reference on 60.0 %, 10.0 points above the next (95 % interval 8.0 to 12.0); behind come "
        "x and y; within a group no difference is shown."
    )
    assert plain(found.more[0]) == (
        "Against the reference's 50 %: gold_ppo above; x and y not told from it."
    )


def test_groups_are_no_proof_of_a_difference():
    table = table_of(a=(1, 0.6, 0.5, 0.7), b=(2, 0.5, 0.4, 0.6), c=(2, 0.4, 0.3, 0.5))
    pairs = [pair("a", "b", 0.1, 0.01), pair("a", "c", 0.2, 0.06), pair("b", "c", 0.1, 0.3)]
    assert plain(find(table, pairs).more[0]) == (
        "Not shown either, though they stand in different groups: a and c."
    )


def test_all_in_one_group_says_only_that():
    table = table_of(a=(1, 0.3, 0.2, 0.4), b=(1, 0.31, 0.2, 0.4))
    found = find(table, [pair("a", "b", -0.01, 0.9)])
    assert plain(found.headline) == "No difference is shown between any two of a and b."
    assert plain(found.more[0]) == "Against the reference's 50 %: each is below."


def test_many_are_counted_not_listed():
    groups = {f"m{i}": (1 + i // 4, 0.9 - 0.03 * i, 0.1, 0.95) for i in range(15)}
    text = plain(find(table_of(**groups), []).headline)
    assert text.startswith("No difference is shown between m0, m1, m2 and m3, the best; ")
    assert "behind come m4, m5, m6 and m7, then m8, m9, m10 and m11, then 3 more; " in text


def test_one_seed_is_said(make_run, tmp_path):
    for label, win in (("a", 0.3), ("b", 0.6)):
        make_run(label, 0, win)
    found, _ = found_in(tmp_path / "results")
    assert plain(found.headline).startswith("b is best, preferred to the reference on ")
    assert "One training run a method" in found.more[-1]


def test_one_method_has_nothing_to_be_compared_with(make_run, tmp_path):
    make_run("a", 0, 0.3)
    found, table = found_in(tmp_path / "results")
    cell = table.rows[0].metrics["win_rate"]
    assert plain(found.headline).startswith(f"a is preferred on {100 * cell.mean:.1f} %, 95 % in")
    assert plain(found.headline).endswith("; no other method was judged here.")


def test_what_was_not_compared_is_not_ranked(make_run, tmp_path):
    make_run("a", 0)
    make_run("b", 1)
    found, _ = found_in(tmp_path / "results")
    assert plain(found.headline) == (
        "a and b were judged, but not on the same seeds and instructions: none is ranked."
    )


def partial(make_run, label, mean):
    accuracy = {"rm_accuracy.edited": Metric(mean=mean, ci95=(mean - 0.1, mean + 0.1))}
    make_run(label, metrics=accuracy, status="partial", reference=Reference(name="", sha=""))


def test_without_a_verdict_the_reward_models_are_named_and_not_ranked(make_run, tmp_path):
    partial(make_run, "a", 0.6)
    partial(make_run, "b", 0.7)
    found, table = found_in(tmp_path / "results")
    assert plain(found.headline) == (
        "No policy was judged here, only reward models. "
        "Accuracy on edits: b 70.0 % [60.0, 80.0] and a 60.0 % [50.0, 70.0]."
    )
    assert found.more == ["No test compares them: see their intervals."]
    chart = intervals(table)
    assert (chart.title, chart.is_ranked) == ("Accuracy on edits, %, with 95 % intervals", False)
    assert {bar.look for tier in chart.tiers for bar in tier.bars} == {0}


def test_only_failures_are_no_result(make_run, tmp_path):
    make_run("a", status="diverged")
    found, table = found_in(tmp_path / "results")
    assert (found.headline, found.more) == ("No run here has a result yet.", [])
    assert intervals(table) is None


def test_labels_are_escaped():
    table = table_of(**{HOSTILE: (1, 0.6, 0.5, 0.7), "b": (2, 0.4, 0.3, 0.5)})
    found = find(table, [pair(HOSTILE, "b", 0.2, 0.01), pair("b", HOSTILE, 0.2, 0.9)])
    for text in (found.headline, *found.more):
        assert "<img" not in text
    assert "&lt;img" in found.headline


def test_the_chart_shows_the_groups_from_the_best_on(results):
    _, table = found_in(results)
    chart = intervals(table)
    assert [(t.name, [b.term.name for b in t.bars]) for t in chart.tiers] == [
        ("Group 1", ["token_ppo loss=eq4", "ppo_rlhf"]), ("Group 2", ["sft"]),
    ]  # fmt: skip
    assert [bar.look for tier in chart.tiers for bar in tier.bars] == [1, 1, 2]
    cell = table.rows[0].metrics["win_rate"]
    assert chart.tiers[0].bars[0].text == f"{100 * cell.mean:.1f}"
    places, texts = zip(*chart.ticks, strict=True)
    assert "50" in texts
    assert places[texts.index("50")] == pytest.approx(chart.parity)
    assert all(0 <= place <= 100 for place in places)


def test_a_long_label_is_told_whole():
    label = "token_ppo " + "option=value " * 5
    (tier,) = intervals(table_of(**{label: (1, 0.6, 0.5, 0.7)})).tiers
    assert tier.bars[0].term.meaning == f"{label}: "
