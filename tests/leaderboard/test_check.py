import json
import math
import shutil

import pytest

from bench.errors import UserError
from bench.grid import to_markdown, to_rich
from bench.records.files import (
    Code,
    DataSplit,
    Hardware,
    JudgeRecord,
    Metric,
    Reference,
    read_record,
    write_record,
)
from leaderboard.regression.baseline import write_baseline
from leaderboard.regression.check import check
from leaderboard.views.check import check_grid
from tests.leaderboard.test_render import text_of


@pytest.fixture
def baseline(results, tmp_path):
    path = tmp_path / "baseline.json"
    write_baseline([read_record(results / "testbed" / f"sft-s{s}") for s in range(3)], path)
    return path


def edit(folder, name, **fields):
    """By hand, as an editor would: the digest stays as it was."""
    path = folder / "record.json"
    body = json.loads(path.read_text())
    if fields:
        body["metrics"][name] |= fields
    else:
        del body["metrics"][name]
    path.write_text(json.dumps(body))


def lowered(folder, by, with_items=True):
    """The record of a run that was worse, written by the harness."""
    record = read_record(folder)
    metric = record.metrics["win_rate"]
    metrics = record.metrics | {"win_rate": metric.model_copy(update={"mean": metric.mean - by})}
    if with_items:
        rows = [json.loads(line) for line in (folder / "items.jsonl").read_text().splitlines()]
        rows = [row | {"win_rate": row["win_rate"] - by} for row in rows]
        (folder / "items.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    write_record(record.model_copy(update={"metrics": metrics}), folder)


def test_an_equal_rerun_passes(results, baseline):
    run = results / "testbed" / "sft-s1"
    again = shutil.copytree(run, results.parent / "again" / "sft-s1")
    for checked, reference in ((run, baseline), (again, baseline), (again, results)):
        (report,) = check(checked, reference)
        assert (report.ok, report.exit_code, report.failures) == (True, 0, [])
        assert report.run == "sft-s1"
        assert {row.test for row in report.rows} == {"repeats"}
        assert "passed" in to_markdown(check_grid(report))
    assert check(run / "record.json", baseline)[0].ok


@pytest.mark.parametrize("with_items", [True, False])
def test_eight_points_lower_fails_and_is_named(results, baseline, with_items):
    run = results / "testbed" / "sft-s1"
    lowered(run, 0.08, with_items)
    (report,) = check(run, baseline)
    assert report.exit_code == 3
    assert {failure.split(":")[0] for failure in report.failures} == {"win_rate"}
    assert "is below" in report.failures[-1]
    assert "over its own items.jsonl" in report.failures[0] or with_items
    assert f"FAILED ({len(report.failures)})" in text_of(to_rich(check_grid(report)))
    assert "| win_rate |" in to_markdown(check_grid(report))


def test_a_record_lowered_by_hand_fails_though_it_is_within_its_band(results, baseline):
    run = results / "testbed" / "sft-s1"
    edit(run, "win_rate", mean=read_record(run).metrics["win_rate"].mean - 0.001)
    (report,) = check(run, baseline)
    assert report.exit_code == 3
    assert all(row.ok for row in report.rows)
    assert "sft-s1/record.json: metrics: edited after the run was written" in report.failures[0]
    assert report.failures[1].startswith("win_rate: 0.")


def test_without_items_the_twin_of_the_same_code_and_machine_tells(make_run, results):
    code = Code(commit="c0ffee", dirty=False)
    run = make_run("sft", 1, 0.30, code=code)
    copy = write_record(read_record(run), results / "copy")
    lowered(copy.parent, 0.001, with_items=False)
    (report,) = check(copy, run)
    (failure,) = report.failures
    assert failure.startswith("win_rate: differs by -0.001 from sft-s1, the same code and config")
    assert report.notes[0] == "sft-s1: no items.jsonl, so that its means are taken on trust"


def test_other_numbers_of_other_code_on_the_same_machine_are_noted(make_run, results, baseline):
    moved = make_run("sft", 1, 0.301, run_id="new", code=Code(commit="c0ffee"))
    (report,) = check(moved, baseline)
    assert report.ok
    assert report.notes[-1].endswith("write the baseline again.")


def test_a_missing_metric_fails(results, baseline):
    run = results / "testbed" / "sft-s1"
    record = read_record(run)
    metrics = {name: m for name, m in record.metrics.items() if name != "win_rate"}
    write_record(record.model_copy(update={"metrics": metrics}), run)
    (report,) = check(run, baseline)
    assert report.exit_code == 3
    assert report.failures == ["win_rate: missing from sft-s1"]


@pytest.mark.parametrize("value", [math.nan, math.inf, None, "0.3"])
def test_what_is_no_number_fails_and_the_metric_is_named(results, baseline, value):
    run = results / "testbed" / "sft-s1"
    edit(run, "win_rate", mean=value)
    (report,) = check(run, baseline)
    assert report.exit_code == 3
    assert "metrics" in report.failures[0]
    assert "win_rate" in " ".join(report.failures) or value == "0.3"


def test_a_run_that_did_not_end_ok_fails(results, baseline):
    (report,) = check(results / "testbed" / "bad-s0", baseline)
    assert "status is diverged: KL is NaN at step 12" in report.failures
    assert "is testbed/bad, the baseline testbed/sft" in report.failures


def test_runs_of_a_label_are_checked_together_and_labels_apart(results, tmp_path):
    (results / "testbed" / "bad-s0" / "record.json").unlink()
    again = shutil.copytree(results, tmp_path / "again")
    reports = check(again, results)
    assert [report.run for report in reports] == [
        "ppo_rlhf, 3 runs", "sft, 3 runs", "token_ppo loss=eq4, 3 runs",
    ]  # fmt: skip
    assert all(report.ok for report in reports)


def test_five_seeds_of_other_numbers_are_tested_for_equivalence(make_run, tmp_path):
    for seed in range(10):
        make_run("sft", seed, suite="old" if seed < 5 else "new")
    root = tmp_path / "results"
    records = [read_record(root / "old" / f"sft-s{s}") for s in range(5)]
    write_baseline([r.model_copy(update={"suite": "new"}) for r in records], tmp_path / "b.json")
    (report,) = check(root / "new", tmp_path / "b.json")
    rows = {row.metric: row for row in report.rows}
    assert rows["win_rate"].test == "equivalence"
    assert rows["win_rate"].ok
    for seed in range(5, 10):
        lowered(root / "new" / f"sft-s{seed}", 0.08)
    (report,) = check(root / "new", tmp_path / "b.json")
    assert [line.split(":")[0] for line in report.failures] == ["win_rate"]


def test_an_unreadable_run_does_not_hide_the_others(results, baseline):
    (results / "testbed" / "sft-s0" / "record.json").write_text("{")
    (results / "testbed" / "sft-s2" / "items.jsonl").write_text("{")
    reports = check(results / "testbed", baseline)
    assert "sft-s0/record.json, line 1: not JSON" in reports[0].failures[0]
    sft = next(report for report in reports if report.run == "sft, 2 runs")
    (failure,) = sft.failures
    items = results / "testbed" / "sft-s2" / "items.jsonl"
    assert failure.startswith(f"sft-s2: {items}, line 1: not JSON")


def test_another_reference_is_another_measurement(make_run, results, baseline):
    run = make_run("sft", 1, run_id="other", reference=Reference(name="gold-reference", sha="0"))
    (report,) = check(run, baseline)
    assert report.failures[0] == (
        "measures something else than sft-s1: reference.sha: abcdef012345 -> 0"
    )
    (report,) = check(run, results / "testbed" / "sft-s1")
    assert "the same suite, reference and judge" in report.failures[0]


def test_of_a_seed_that_the_baseline_lacks_too(make_run, baseline):
    judge = JudgeRecord(name="gold", model="another")
    data = {"test": DataSplit(n=60, sha="other")}
    (report,) = check(make_run("sft", 9, judge=judge, data=data), baseline)
    assert report.failures[:3] == [
        f"measures something else than sft-s0: {change}"
        for change in (
            "data.test.n: None -> 60", "data.test.sha: None -> other",
            "judge.model: None -> another",
        )
    ]  # fmt: skip


def test_a_run_is_not_held_against_itself(make_run, results):
    run = results / "testbed" / "sft-s1"
    assert "a run is not held against itself" in check(run, run)[0].failures[0]
    lowered(run, 0.3)
    (report,) = check(run, results)
    assert report.notes[0] == "Left out of the baseline, being checked: sft-s1."
    assert any(failure.startswith("win_rate: ") for failure in report.failures)
    every = check(results / "testbed", results)
    assert every
    assert not any(report.ok for report in every)


def test_a_field_that_the_baseline_had_not_yet_is_at_its_default(make_run, baseline):
    """Older records lack newer fields: today's default is what the code of their day did."""
    settings = {"seed": 1, "ppo": {"lr": 1e-4}, "evaluation": {"max_kl": 10.0}}
    (report,) = check(make_run("sft", 1, run_id="new", config=settings), baseline)
    assert not any("configuration" in note for note in report.notes)
    settings["evaluation"]["max_kl"] = 5.0
    (report,) = check(make_run("sft", 1, run_id="new", config=settings), baseline)
    changed = "The configuration is not the baseline's: evaluation.max_kl: 10.0 -> 5.0."
    assert changed in report.notes


def test_another_configuration_is_noted_and_the_code_not_blamed(make_run, baseline):
    settings = {"seed": 1, "ppo": {"lr": 2e-4}}
    code = Code(commit="c0ffee")
    (report,) = check(make_run("sft", 1, 0.301, run_id="new", config=settings, code=code), baseline)
    assert report.ok
    assert "The configuration is not the baseline's: ppo.lr: 0.0001 -> 0.0002." in report.notes
    assert not any("a change of the code" in note for note in report.notes)
    (same,) = check(make_run("sft", 1, 0.301, run_id="same"), baseline)
    assert not any("a change of the code" in note for note in same.notes)  # nor has it changed


def test_an_unknown_label_does_not_hide_the_others(make_run, results, tmp_path):
    new = tmp_path / "results" / "new"
    for label, win in (("sft", 0.1), ("unknown", 0.5)):
        shutil.move(make_run(label, 5, win), new / label)
    reports = {report.run: report for report in check(new, results / "testbed")}
    assert "no ok run of 'unknown'" in reports["unknown-s5"].failures[0]
    assert any(line.startswith("win_rate: ") for line in reports["sft-s5"].failures)


def test_two_runs_of_one_seed_are_refused(make_run, results, baseline):
    make_run("sft", 1, run_id="twice")
    report = next(r for r in check(results, baseline) if r.run == "sft, 4 runs")
    assert report.failures[0].startswith("2 runs of seed 1, check one of them: ")


def test_a_metric_that_the_twin_lacks_may_be_missing(make_run, tmp_path):
    def metrics(seed):
        return {"x": Metric(mean=seed)} | ({"y": Metric(mean=seed)} if seed else {})

    records = [read_record(make_run("sft", s, metrics=metrics(s))) for s in range(3)]
    write_baseline(records, tmp_path / "b.json")
    (again,) = check(make_run("sft", 0, run_id="again", metrics=metrics(0)), tmp_path / "b.json")
    assert (again.ok, [row.metric for row in again.rows]) == (True, ["x", "y"])
    (lost,) = check(make_run("sft", 1, run_id="lost", metrics=metrics(0)), tmp_path / "b.json")
    assert "y: missing from lost" in lost.failures


def test_what_was_the_same_in_every_run_must_stay(make_run, tmp_path):
    records = [read_record(make_run("sft", s, metrics={"kl": Metric(mean=0)})) for s in range(5)]
    write_baseline(records, tmp_path / "b.json")
    (report,) = check(make_run("sft", 9, metrics={"kl": Metric(mean=25)}), tmp_path / "b.json")
    assert report.failures == ["kl: 25 is above 0.0001"]


def test_what_changed_since_the_baseline_is_noted_once(make_run, results, baseline):
    for seed in range(2):
        make_run("sft", seed, packages={f"p{i}": "1" for i in range(8)})
    report = next(r for r in check(results, baseline) if r.run == "sft, 3 runs")
    changed, why = report.notes  # with other packages, the code is not blamed
    head = "Changed since the baseline, likeliest cause first: packages (packages.p0: None -> 1; "
    assert changed.startswith(head)
    assert changed.endswith("packages.p5: None -> 1 and 2 more).")
    assert "packages are of other versions" in why


MACHINE = {"cpu": "AMD EPYC", "cores": 2, "dtype": "float32", "threads": 1}
KIND = MACHINE | {"cpu_family": 25, "cpu_model": 1, "cpu_stepping": 1, "cpu_capability": "AVX2"}
BANDS = "So runs need not repeat here, and the bands decide."


@pytest.mark.parametrize(
    ("old", "new", "why", "then"),
    [
        (KIND, KIND, "the same, so a change of the code moved them", "write the baseline again."),
        (MACHINE, MACHINE, "the same, so a change of the code moved them", "baseline again."),
        (KIND, KIND | {"cpu_model": 17}, "the processor is of another kind, whose kernels", BANDS),
        (KIND, KIND | {"gpu": "a GPU"}, "the processor is of another kind, whose kernels", BANDS),
        (MACHINE, KIND, "does not say on which kind of processor it ran (cpu_capability,", BANDS),
        (KIND, KIND | {"threads": 2}, "the machine has other threads or cores", BANDS),
        (KIND, KIND | {"dtype": "bfloat16"}, "another precision (float32 -> bfloat16)", BANDS),
    ],
)
def test_the_code_is_blamed_only_where_the_machine_is_known_to_be_the_same(
    make_run, tmp_path, old, new, why, then
):
    """In each case the code has changed too; packages, and it, are less likely."""
    before = Code(commit="decade")
    folders = [make_run("sft", s, 0.30, code=before, hardware=Hardware(**old)) for s in range(3)]
    write_baseline([read_record(folder) for folder in folders], tmp_path / "b.json")
    code = Code(commit="c0ffee")
    moved = make_run("sft", 1, 0.301, run_id="new", code=code, hardware=Hardware(**new))
    (report,) = check(moved, tmp_path / "b.json")
    changed, said = report.notes
    assert why in said
    assert said.endswith(then)
    assert "code (code.commit: decade -> c0ffee" in changed
    assert ("machine (hardware." in changed) == (old != new)
    assert "a change of the code" not in said or old == new


def test_causes_stand_in_the_order_of_their_likelihood(make_run, tmp_path):
    write_baseline([read_record(make_run("sft", 1, 0.30))], tmp_path / "b.json")
    moved = make_run(
        "sft", 1, 0.301, run_id="new", code=Code(commit="c0ffee"), packages={"torch": "9"},
        hardware=Hardware(cpu="b CPU", cores=2, dtype="float32", threads=1),
    )  # fmt: skip
    (report,) = check(moved, tmp_path / "b.json")
    assert report.notes[0] == (
        "Changed since the baseline, likeliest cause first: machine (hardware.cpu: a CPU -> b CPU)"
        "; packages (packages.torch: None -> 9); code (code.commit: None -> c0ffee)."
    )


def test_an_empty_baseline_does_not_pass(results, tmp_path):
    (tmp_path / "b.json").write_text('{"metrics": {}}')
    (report,) = check(results / "testbed" / "sft-s1", tmp_path / "b.json")
    assert (report.exit_code, report.failures) == (3, ["nothing was checked"])


def test_a_metric_without_spread_must_be_there(make_run, tmp_path):
    run = make_run("sft", 0, metrics={"x": Metric(mean=1.0)})
    write_baseline([read_record(run)], tmp_path / "b.json")
    (report,) = check(make_run("sft", 1, metrics={"x": Metric(mean=99.0)}), tmp_path / "b.json")
    assert (report.ok, report.rows[0].verdict) == (True, "not tested")
    assert "passed, 1 of 1 metrics not tested: sft-s1" in to_markdown(check_grid(report))
    assert not check(make_run("sft", 2, metrics={}), tmp_path / "b.json")[0].ok


def test_usage_errors(results, tmp_path):
    with pytest.raises(UserError, match="no such run"):
        check(tmp_path / "nowhere", results)
    with pytest.raises(UserError, match="no such baseline"):
        check(results / "testbed" / "sft-s1", tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no run in") as caught:
        check(tmp_path / "empty", results)
    assert caught.value.exit_code == 3
