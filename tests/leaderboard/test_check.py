import json
import math

import pytest
from scipy import stats

from bench.errors import UserError
from bench.record import Metric, read_record
from leaderboard.check import check, make_baseline, write_baseline
from tests.leaderboard.test_render import text_of


@pytest.fixture
def baseline(results, tmp_path):
    path = tmp_path / "baseline.json"
    write_baseline([read_record(results / "testbed" / f"sft-s{s}") for s in range(3)], path)
    return path


def change(folder, name, **fields):
    body = json.loads((folder / "record.json").read_text())
    if fields:
        body["metrics"][name] |= fields
    else:
        del body["metrics"][name]
    (folder / "record.json").write_text(json.dumps(body))


def test_a_seed_of_the_baseline_passes(results, baseline):
    report = check(results / "testbed" / "sft-s1", baseline)
    assert report.ok
    assert report.exit_code == 0
    assert report.failures == []
    assert "passed" in report.markdown()


def test_eight_points_lower_fails(results, baseline):
    run = results / "testbed" / "sft-s1"
    change(run, "win_rate", mean=read_record(run).metrics["win_rate"].mean - 0.08)
    report = check(run, baseline)
    assert report.exit_code == 3
    assert [failure.split(":")[0] for failure in report.failures] == ["win_rate"]
    assert "is below" in report.failures[0]
    assert "FAILED (1)" in text_of(report.render())


def test_a_missing_metric_fails(results, baseline):
    change(results / "testbed" / "sft-s1", "win_rate")
    report = check(results / "testbed" / "sft-s1", baseline)
    assert report.exit_code == 3
    assert report.failures == ["win_rate: missing from this run"]


def test_nan_fails_and_names_the_metric(results, baseline):
    change(results / "testbed" / "sft-s1", "win_rate", mean=math.nan)
    report = check(results / "testbed" / "sft-s1", baseline)
    assert report.exit_code == 3
    assert "metrics.win_rate.mean" in report.failures[0]


def test_a_run_that_did_not_end_ok_fails(results, baseline):
    report = check(results / "testbed" / "bad-s0", baseline)
    assert "status is diverged: KL is NaN at step 12" in report.failures


def test_a_folder_of_runs_is_a_baseline(results):
    report = check(results / "testbed" / "sft-s1", results / "testbed")
    assert report.ok
    assert check(results / "testbed" / "sft-s1", results / "testbed" / "sft-s1").ok
    with pytest.raises(UserError, match="no ok run of 'bad'"):
        check(results / "testbed" / "bad-s0", results / "testbed")


def test_the_band_by_hand(make_run):
    means = [0.5, 0.6, 0.7]
    records = [
        read_record(make_run("sft", s, metrics={"kl": Metric(mean=m)})) for s, m in enumerate(means)
    ]
    band = make_baseline(records)["metrics"]["kl"]
    half = stats.t.ppf(0.975, 2) * 0.1 * math.sqrt(4 / 3)
    assert (band["mean"], band["low"], band["high"]) == pytest.approx((0.6, 0.6 - half, 0.6 + half))
    assert "3 runs" in band["why"]


def test_the_band_is_floored_by_the_errors_within(make_run):
    metric = Metric(mean=0.5, standard_error=0.02)
    records = [read_record(make_run("sft", s, metrics={"x": metric})) for s in range(3)]
    band = make_baseline(records)["metrics"]["x"]
    assert band["high"] == pytest.approx(0.5 + 1.959964 * 0.02 * math.sqrt(4 / 3))


def test_never_in_n_allows_three_in_n(make_run):
    metric = Metric(mean=0.0, standard_error=0.0, n=100)
    records = [read_record(make_run("sft", s, metrics={"rude": metric})) for s in range(2)]
    band = make_baseline(records)["metrics"]["rude"]
    assert (band["low"], band["high"]) == (0.0, 0.03)


def test_one_run_without_errors_asks_for_presence_only(make_run, tmp_path):
    run = make_run("sft", 0, metrics={"kl": Metric(mean=1.0)})
    write_baseline([read_record(run)], tmp_path / "b.json")
    other = make_run("sft", 1, metrics={"kl": Metric(mean=99.0)})
    assert check(other, tmp_path / "b.json").ok
    assert not check(make_run("sft", 2, metrics={}), tmp_path / "b.json").ok


@pytest.mark.parametrize(
    "text",
    ["{", "[]", '{"metrics": {"x": {"mean": NaN}}}', '{"metrics": {"x": {"mean": 1, "low": "a"}}}'],
)
def test_a_bad_baseline_is_named(results, tmp_path, text):
    path = tmp_path / "b.json"
    path.write_text(text)
    with pytest.raises(UserError, match=r"b\.json"):
        check(results / "testbed" / "sft-s1", path)


def test_an_empty_baseline_does_not_pass(results, tmp_path):
    (tmp_path / "b.json").write_text('{"metrics": {}}')
    assert check(results / "testbed" / "sft-s1", tmp_path / "b.json").exit_code == 3


def test_usage_errors(results, tmp_path):
    with pytest.raises(UserError, match="no such run"):
        check(tmp_path / "nowhere", results)
    with pytest.raises(UserError, match="no such baseline"):
        check(results / "testbed" / "sft-s1", tmp_path / "nowhere")
    with pytest.raises(UserError, match="runs of one label"):
        make_baseline([read_record(results / "testbed" / f"{n}-s0") for n in ("sft", "ppo_rlhf")])
    with pytest.raises(UserError, match="at least one"):
        make_baseline([])
