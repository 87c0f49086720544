import math

import numpy as np
import pytest

from bench.records.files import Code, Hardware, Metric, Run, read_items, read_record
from leaderboard.regression.baseline import make_baseline
from leaderboard.regression.verdicts import Candidate, Twin, judge


@pytest.fixture
def baseline_of(make_run):
    def make(means, **fields):
        folders = [
            make_run("sft", s, run_id=f"old-{s}", metrics={"win_rate": Metric(mean=m)}, **fields)
            for s, m in enumerate(means)
        ]
        return make_baseline([read_record(folder) for folder in folders])

    return make


@pytest.fixture
def candidate(make_run):
    def make(mean, seed=9, twin=None, **fields):
        folder = make_run("sft", seed, metrics={"win_rate": Metric(mean=mean)}, **fields)
        return Candidate(Run(read_record(folder), folder), [], twin)

    return make


def verdict(baseline, *candidates):
    return judge("win_rate", baseline.metrics["win_rate"], candidates)


def test_one_run_lies_in_the_band_or_not(baseline_of, candidate):
    baseline = baseline_of([0.40, 0.42, 0.44])
    band = baseline.metrics["win_rate"]
    row = verdict(baseline, candidate(0.43))
    assert (row.test, row.ok, row.residual) == ("band", True, None)
    assert row.distance == pytest.approx(0.01 / band.spread)
    assert row.detects == pytest.approx(band.tolerance + 0.8416212 * band.spread)
    low = verdict(baseline, candidate(0.30))
    assert low.verdict == f"0.3 is below {band.low:.4g}"
    assert verdict(baseline, candidate(0.55)).verdict.startswith("0.55 is above")


def test_a_band_of_shares_is_shown_within_what_a_share_can_be(baseline_of, candidate):
    baseline = baseline_of([0.55, 0.97, 0.99])
    assert baseline.metrics["win_rate"].high > 1
    row = verdict(baseline, candidate(0.9))
    assert (row.low >= 0, row.high, row.ok) == (True, 1.0, True)


def test_several_runs_must_be_shown_to_be_equivalent(baseline_of, candidate):
    """0.40, 0.42, 0.44 against 0.41, 0.42, 0.43: sd .02 and .01, pooled error .0129, 4 df."""
    baseline = baseline_of([0.40, 0.42, 0.44])
    row = verdict(baseline, *(candidate(m, s) for s, m in enumerate((0.41, 0.42, 0.43))))
    assert (row.test, row.ok) == ("equivalence", True)
    error = math.sqrt((0.02**2 + 0.01**2) / 2 * (2 / 3))
    tolerance = baseline.metrics["win_rate"].tolerance
    assert row.detects == pytest.approx(tolerance - (2.1318468 - 0.8416212) * error)
    lower = verdict(baseline, *(candidate(m - 0.08, s) for s, m in enumerate((0.41, 0.42, 0.43))))
    assert lower.verdict.startswith("differs by -0.08; 90 % interval [-0.1075, -0.05248] is not")
    scattered = verdict(baseline, *(candidate(m, s) for s, m in enumerate((0.22, 0.42, 0.62))))
    assert not scattered.ok  # the same mean, but nothing is shown
    assert scattered.detects == 0.0


def test_a_run_that_repeats_its_twin_to_the_bit_passes(baseline_of, candidate):
    baseline = baseline_of([0.1 + 0.2])
    twin = Twin(baseline.runs[0], 0, [])
    assert baseline.metrics["win_rate"].low is None
    assert verdict(baseline, candidate(0.1 + 0.2, twin=twin)).test == "repeats"
    row = verdict(baseline, candidate(0.3, twin=twin))
    assert (row.test, row.ok) == ("presence", True)
    assert row.residual == pytest.approx(0, abs=1e-15)
    assert row.residual != 0


CLEAN = {"code": Code(commit="c0ffee", dirty=False)}


@pytest.mark.parametrize(
    ("fields", "test"),
    [
        ({}, "repeats"),
        ({"code": Code(commit="decade", dirty=False)}, "band"),
        ({"config_sha": "other"}, "band"),
        ({"packages": {"torch": "9"}}, "band"),
        ({"hardware": Hardware(cpu="another CPU", cores=2, dtype="float32", threads=1)}, "band"),
        ({"code": Code()}, "band"),
    ],
)
def test_the_same_code_on_the_same_cpu_must_repeat(baseline_of, candidate, fields, test):
    baseline = baseline_of([0.40, 0.42, 0.44], **CLEAN)
    twin = Twin(baseline.runs[1], 1, [])
    row = verdict(baseline, candidate(0.421, 1, twin, **{**CLEAN, **fields}))
    assert (row.test, row.ok) == (test, test == "band")
    assert row.residual == pytest.approx(0.001)
    if test == "repeats":
        assert row.verdict.startswith("differs by +0.001 from old-1, the same code")


def test_of_several_runs_the_one_that_moved_is_named(baseline_of, candidate):
    baseline = baseline_of([0.40, 0.42, 0.44], **CLEAN)
    runs = [
        candidate(mean, seed, Twin(baseline.runs[seed], seed, []), **CLEAN)
        for seed, mean in enumerate((0.40, 0.421, 0.44))
    ]
    assert verdict(baseline, *runs).verdict.startswith("differs by +0.001 from old-1")
    assert verdict(baseline, runs[0], runs[2]).test == "repeats"


def test_a_gpu_need_not_repeat(baseline_of, candidate):
    gpu = CLEAN | {"hardware": Hardware(cpu="a CPU", gpu="a GPU", dtype="bfloat16", threads=1)}
    baseline = baseline_of([0.40, 0.42, 0.44], **gpu)
    row = verdict(baseline, candidate(0.421, 1, Twin(baseline.runs[1], 1, []), **gpu))
    assert (row.test, row.ok) == ("band", True)


def test_the_largest_residual_is_that_of_an_instruction(make_run):
    old, new = make_run("sft", 0, 0.5), make_run("sft", 0, 0.6, run_id="new")
    baseline = make_baseline([read_record(old)])
    twin = Twin(baseline.runs[0], 0, read_items(old))
    one = Candidate(Run(read_record(new), new), read_items(new), twin)
    row = judge("win_rate", baseline.metrics["win_rate"], [one])
    a, b = ([item.values["win_rate"] for item in read_items(folder)] for folder in (old, new))
    assert row.largest == pytest.approx(np.abs(np.subtract(a, b)).max())
    assert row.residual == pytest.approx(np.mean(b) - np.mean(a))


def test_a_metric_that_one_of_them_lacks_is_missing(baseline_of, candidate, make_run):
    baseline = baseline_of([0.40, 0.42])
    folder = make_run("sft", 5, metrics={})
    without = Candidate(Run(read_record(folder), folder), [], None)
    row = verdict(baseline, candidate(0.41), without)
    assert (row.ok, row.value, row.verdict) == (False, None, "missing from sft-s5")


def test_eight_points_over_five_seeds_are_found_and_none_are_not(baseline_of, candidate):
    """As on the testbed: means of five seeds that differ by sd .0225, as those of token_ppo."""
    rng = np.random.default_rng(0)
    baseline = baseline_of([0.413, 0.383, 0.396, 0.377, 0.432])
    runs = [candidate(0.0, seed) for seed in range(5)]

    def failed(shift):
        def once():
            means = rng.normal(0.40 - shift, 0.0225, 5)
            return [
                one._replace(run=one.run._replace(record=with_mean(one.record, m)))
                for one, m in zip(runs, means, strict=True)
            ]

        return np.mean([not verdict(baseline, *once()).ok for _ in range(200)])

    assert failed(0.08) > 0.97
    assert failed(0.0) < 0.03


def with_mean(record, mean):
    return record.model_copy(update={"metrics": {"win_rate": Metric(mean=mean)}})
