import math
import shutil

import pytest
from scipy import stats

from bench.errors import UserError
from bench.records.files import JudgeRecord, Metric, Reference, Run, read_record
from leaderboard.regression.baseline import (
    NoBaselineRun,
    make_baseline,
    read_baseline,
    write_baseline,
)


def run_of(folder):
    return Run(read_record(folder), folder)


def bands(make_run, metrics, count=3):
    records = [read_record(make_run("sft", s, metrics=metrics(s))) for s in range(count)]
    return make_baseline(records).metrics


def test_the_band_by_hand(make_run):
    """0.5, 0.6, 0.7: sd 0.1; a headline metric's band is at 95 %, the two others share 5 %."""
    found = bands(
        make_run, lambda s: dict.fromkeys(("gold_score", "kl", "length"), Metric(mean=0.5 + s / 10))
    )
    for name, level in (("gold_score", 0.975), ("kl", 0.9875), ("length", 0.9875)):
        half = stats.t.ppf(level, 2) * 0.1 * math.sqrt(4 / 3)
        assert (found[name].mean, found[name].tolerance) == pytest.approx((0.6, half))
        assert (found[name].low, found[name].high) == pytest.approx((0.6 - half, 0.6 + half))
        assert found[name].spread == pytest.approx(0.1 * math.sqrt(4 / 3))
        assert found[name].values == pytest.approx([0.5, 0.6, 0.7])
    assert found["kl"].why == "97.5 % prediction interval of one new run, from 3 runs"


def test_the_band_is_floored_by_the_errors_within(make_run):
    found = bands(make_run, lambda s: {"win_rate": Metric(mean=0.5, standard_error=0.02)})
    assert found["win_rate"].high == pytest.approx(0.5 + 1.959964 * 0.02 * math.sqrt(4 / 3))
    assert found["win_rate"].spread == pytest.approx(0.02 * math.sqrt(4 / 3))


def test_never_in_n_allows_a_rate_three_in_n(make_run):
    never = Metric(mean=0.0, standard_error=0.0, n=100)
    found = bands(make_run, lambda s: {"probe.rude": never, "kl": never}, 2)
    assert (found["probe.rude"].low, found["probe.rude"].high) == (0.0, 0.03)
    assert (found["kl"].low, found["kl"].high) == pytest.approx((-1e-4, 1e-4))  # no rate
    assert found["kl"].why == "all of 2 runs gave 0"
    large = bands(make_run, lambda s: {"length": Metric(mean=5000.0)}, 2)
    assert large["length"].tolerance == pytest.approx(0.5)


def test_one_run_without_errors_says_nothing_of_the_spread(make_run):
    assert bands(make_run, lambda s: {"kl": Metric(mean=1.0)}, 1)["kl"].tolerance is None


def test_a_metric_that_one_run_lacks_is_that_of_the_others(make_run):
    """0.2 and 0.4 of the seeds 1 and 2: sd .1414, t(1) = 12.706."""
    found = bands(make_run, lambda s: {"gold_score": Metric(mean=0.2 * s)} if s else {})
    assert found["gold_score"].values == [None, 0.2, 0.4]
    assert found["gold_score"].tolerance == pytest.approx(12.706205 * math.sqrt(0.02 * 1.5))
    assert found["gold_score"].mean == pytest.approx(0.3)


def test_runs_that_measure_the_same_only(make_run):
    reference = Reference(name="gold-reference", sha="0")
    folders = make_run("sft", 0), make_run("sft", 1, reference=reference)
    with pytest.raises(UserError, match="sft-s1 measures something else than sft-s0: reference"):
        make_baseline([read_record(folder) for folder in folders])


def test_runs_of_one_label_only(results):
    with pytest.raises(UserError, match="runs of one label, not of testbed/ppo_rlhf, testbed/sft"):
        make_baseline([read_record(results / "testbed" / f"{n}-s0") for n in ("sft", "ppo_rlhf")])
    with pytest.raises(UserError, match="at least one"):
        make_baseline([])


def test_it_comes_back_from_its_file(results, tmp_path):
    records = [read_record(results / "testbed" / f"sft-s{s}") for s in (2, 0, 1)]
    path = tmp_path / "new" / "baseline.json"
    write_baseline(records, path)
    new = [run_of(results / "testbed" / "sft-s1")]
    assert read_baseline(path, new) == (make_baseline(records), [], [])
    assert read_baseline(path.parent, new) == (make_baseline(records), [], [])
    assert [run.seed for run in make_baseline(records).runs] == [0, 1, 2]


def test_a_folder_gives_the_runs_that_measure_the_same(make_run, results):
    make_run("sft", 7, judge=JudgeRecord(name="gold", model="another"))
    make_run("sft", 8, status="diverged")
    new = run_of(make_run("sft", 1, run_id="new", suite="testbed"))
    baseline, runs, left_out = read_baseline(results, [new])
    assert [run.seed for run in baseline.runs] == [0, 1, 2]
    assert [run.record.seed for run in runs] == [0, 1, 2]
    assert left_out == ["new"]
    one = read_baseline(results / "testbed" / "sft-s2", [new])
    assert ([run.seed for run in one.baseline.runs], one.left_out) == ([2], [])
    with pytest.raises(NoBaselineRun, match="not held against itself"):
        read_baseline(results / "testbed" / "sft-s1", [run_of(results / "testbed" / "sft-s1")])


def test_a_copy_does_not_count_twice(make_run, results):
    new = run_of(make_run("sft", 1, run_id="new"))
    found = read_baseline(results, [new]).baseline
    shutil.copytree(results / "testbed" / "sft-s0", results / "testbed" / "sft-s0.bak")
    assert read_baseline(results, [new]).baseline == found


def test_what_cannot_be_a_baseline_is_named(make_run, results, tmp_path):
    new = run_of(results / "testbed" / "sft-s1")
    with pytest.raises(UserError, match="no such baseline"):
        read_baseline(tmp_path / "nowhere", [new])
    with pytest.raises(NoBaselineRun, match="no ok run of 'other' in it that has the same suite"):
        read_baseline(results, [run_of(make_run("other", 0, status="diverged"))])
    (results / "testbed" / "sft-s0" / "record.json").write_text("{")
    with pytest.raises(UserError, match=r"baseline: .*sft-s0/record\.json, line 1: not JSON"):
        read_baseline(results, [new])
    with pytest.raises(UserError, match="cannot be written"):
        write_baseline([new.record], results / "testbed" / "sft-s1" / "record.json" / "b.json")


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("{", "line 1"),
        ("[]", "Baseline"),
        ('{"metrics": {"x": {"mean": NaN}}}', r"metrics\.x\.mean: .*finite"),
        ('{"metrics": {"x": {"mean": 1, "low": "a"}}}', r"metrics\.x\.low"),
        ('{"metrics": {}, "runs": ["sft-s0"]}', r"runs\.0"),
        ('{"metrics": {"x": {"mean": 1, "values": [1]}}}', "x has 1 values, of 0 runs"),
    ],
)
def test_a_bad_file_is_named_with_its_field(results, tmp_path, text, named):
    (tmp_path / "b.json").write_text(text)
    with pytest.raises(UserError, match=rf"b\.json: no baseline, .*bench baseline.*{named}"):
        read_baseline(tmp_path / "b.json", [run_of(results / "testbed" / "sft-s1")])


def test_a_confidence_is_that_of_all_bands(results, tmp_path):
    new = run_of(results / "testbed" / "sft-s1")
    usual, wide = (read_baseline(results, [new], level).baseline.metrics for level in (None, 0.999))
    made = {name: band for name, band in usual.items() if "prediction interval" in band.why}
    assert "win_rate" in made
    assert all(wide[name].tolerance > band.tolerance for name, band in made.items())
    assert {wide[name].why.split()[0] for name in made} == {"99.9"}
    write_baseline([new.record], tmp_path / "b.json", 0.999)
    with pytest.raises(UserError, match="bands of its own"):
        read_baseline(tmp_path / "b.json", [new], 0.999)
