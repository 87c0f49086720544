import math

import pytest

from bench.errors import UserError
from bench.records.files import JudgeRecord, read_items
from bench.stats import (
    holm,
    minimum_detectable_effect,
    needed_instructions,
    needed_seeds,
    two_way,
    variance_components,
)
from leaderboard.analysis.compare import compare


def _values(results, label):
    folders = [results / "testbed" / f"{label}-s{seed}" for seed in range(3)]
    return [[item.values["win_rate"] for item in read_items(folder)] for folder in folders]


def _difference(results, a, b):
    pairs = zip(_values(results, a), _values(results, b), strict=True)
    return [[x - y for x, y in zip(p, q, strict=True)] for p, q in pairs]


def test_paired_difference_and_holm(results):
    found = {c.label: c for c in compare(results, "testbed", ["sft"])}
    expected = two_way(_difference(results, "ppo_rlhf", "sft"))
    one = found["ppo_rlhf"]
    assert one.mean == pytest.approx(expected.mean)
    assert one.ci95 == pytest.approx(expected.ci95)
    assert one.p_value == pytest.approx(expected.p_value)
    assert (one.seeds, one.instructions) == (3, 60)
    assert one.significant
    raw = [found[label].p_value for label in ("ppo_rlhf", "token_ppo loss=eq4")]
    assert [found[label].p_holm for label in ("ppo_rlhf", "token_ppo loss=eq4")] == holm(raw)


def test_what_a_real_difference_would_need(results):
    (one,) = compare(results, None, ["ppo_rlhf", "sft"], planned=0.02)
    table = _difference(results, "ppo_rlhf", "sft")
    components = variance_components(table)
    assert one.planned == 0.02
    assert one.needed_seeds == needed_seeds(0.02, components, instructions=60)
    assert one.needed_instructions == (needed_instructions(0.02, components, seeds=3) or math.inf)
    expected = two_way(table)
    assert one.detectable == pytest.approx(
        minimum_detectable_effect(expected.standard_error, df=expected.df)
    )


def test_the_plan_is_at_the_level_of_the_family(results):
    alone = compare(results, None, ["ppo_rlhf", "sft"], planned=0.02)[0]
    family = compare(results, None, ["sft"], planned=0.02)
    among = next(c for c in family if c.label == "ppo_rlhf")
    assert among.detectable > alone.detectable
    assert among.needed_seeds > alone.needed_seeds


def test_without_a_plan_the_observed_difference_is_it(results):
    (one,) = compare(results, None, ["sft", "ppo_rlhf"])
    assert one.mean < 0
    assert one.planned == -one.mean


def test_several_labels_are_all_pairs_in_the_order_named(results):
    labels = ["token_ppo loss=eq4", "sft", "ppo_rlhf"]
    found = compare(results, None, labels)
    assert [(c.label, c.base) for c in found] == [
        (labels[0], labels[1]),
        (labels[0], labels[2]),
        (labels[1], labels[2]),
    ]
    p_values = [c.p_value for c in found]
    assert [c.p_holm for c in found] == holm(p_values)


def test_one_seed_tells_nothing_of_seeds(make_run, tmp_path):
    make_run("sft", 0, 0.3)
    make_run("ppo_rlhf", 0, 0.4)
    (one,) = compare(tmp_path / "results", None, ["ppo_rlhf", "sft"])
    assert one.needed_seeds is None
    assert 2 <= one.needed_instructions < 60


def test_what_has_no_run_is_listed_with_a_note(results):
    last = compare(results, None, ["sft"])[-1]
    assert (last.label, last.mean, last.planned) == ("bad", None, None)
    assert last.note == "bad has no win_rate in its items"


def test_another_metric(results):
    found = compare(results, "testbed", ["sft"], metric="gold_score")
    assert found[0].mean == pytest.approx(0.6, abs=0.05)


@pytest.mark.parametrize(
    ("labels", "metric", "said"),
    [
        (["sff"], "win_rate", r"unknown label 'sff'; did you mean 'sft'\? \(one of: bad, "),
        (["sft", "sff"], "win_rate", "unknown label 'sff'"),
        (["sft"], "gold", "unknown metric of sft: 'gold'; did you mean 'gold_score'"),
        (["sft", "ppo_rlhf", "sft"], "win_rate", "'sft' is named twice"),
    ],
)
def test_unknown_names_answer_with_the_nearest(results, labels, metric, said):
    with pytest.raises(UserError, match=said):
        compare(results, None, labels, metric)


def test_what_stands_in_different_tables_is_refused(make_run, tmp_path):
    make_run("sft", 0)
    make_run("ppo_rlhf", 0)
    make_run("token_ppo", 0, judge=JudgeRecord(name="claude"))
    said = r"token_ppo is never compared with sft: judge: claude here, gold there \(here: of tok"
    with pytest.raises(UserError, match=said):
        compare(tmp_path / "results", None, ["sft", "token_ppo"])


def test_what_is_wrong_with_the_runs_is_passed_on(results):
    (results / "testbed" / "sft-s2" / "record.json").write_text("{")
    problems: list[str] = []
    compare(results, None, ["sft"], problems=problems)
    assert "sft-s2/record.json, line 1: not JSON" in problems[0]


def test_nothing_to_compare_with(make_run, tmp_path):
    make_run("sft")
    assert compare(tmp_path / "results", None, ["sft"]) == []
