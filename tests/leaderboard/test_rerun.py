import json
import math

import pytest
from rich.console import Group

from bench.grid import to_rich
from bench.records.files import Code, Hardware, Metric, Run, read_record
from leaderboard.regression.rerun import Equality, compare_runs
from leaderboard.views.rerun import rerun_grids
from tests.leaderboard.test_render import text_of


@pytest.fixture
def pair(make_run):
    """A run and its repetition, equal to the bit."""
    folders = make_run("sft", 0), make_run("sft", 0, suite="again")
    return tuple(Run(read_record(folder), folder) for folder in folders)


def rewrite(run, file, change):
    path = run.folder / file
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps(change(i, row)) + "\n" for i, row in enumerate(rows)))


def with_metric(run, name, **fields):
    metric = Metric(**{**run.record.metrics[name].model_dump(), **fields})
    metrics = run.record.metrics | {name: metric}
    return run._replace(record=run.record.model_copy(update={"metrics": metrics}))


def found(report, what, name):
    return next(one for one in report.compared if (one.what, one.name) == (what, name))


def test_equal_runs_are_bitwise(pair):
    report = compare_runs(*pair)
    assert (report.equality, report.exit_code) == (Equality.BITWISE, 0)
    assert {one.what for one in report.compared} == {"metric", "items", "curve"}
    assert not [one for one in report.compared if one.name == "seconds"]
    assert report.summary == "bitwise"
    text = text_of(Group(*map(to_rich, rerun_grids(report))))
    assert "Rerun of sft-s0: bitwise (tolerance 0.0001)" in text
    assert "nothing changed" in text


@pytest.mark.parametrize(
    ("by", "equality"),
    [(1e-12, Equality.WITHIN), (9e-5, Equality.WITHIN), (2e-4, Equality.DIFFERENT)],
)
def test_a_metric_is_within_the_tolerance_or_different(pair, by, equality):
    old, new = pair
    mean = old.record.metrics["win_rate"].mean
    report = compare_runs(old, with_metric(new, "win_rate", mean=mean + by))
    one = found(report, "metric", "win_rate")
    assert one.equality is report.equality is equality
    assert one.mean == pytest.approx(by)
    assert report.exit_code == (3 if equality is Equality.DIFFERENT else 0)
    assert compare_runs(old, with_metric(new, "win_rate", mean=mean + by), 0.1).exit_code == 0


def test_large_numbers_are_compared_relatively(pair):
    old, new = (with_metric(run, "length", mean=1e6) for run in pair)
    assert compare_runs(old, with_metric(new, "length", mean=1e6 + 50)).exit_code == 0
    assert compare_runs(old, with_metric(new, "length", mean=1e6 + 200)).exit_code == 3


@pytest.mark.parametrize("fields", [{"n": 59}, {"standard_error": 0.5}, {"ci95": (0.0, 1.0)}])
def test_all_of_a_metric_counts(pair, fields):
    old, new = pair
    report = compare_runs(old, with_metric(new, "win_rate", **fields))
    assert report.summary == "different: metric win_rate"


def test_a_metric_of_one_alone_is_different(pair):
    old, new = pair
    metrics = {name: m for name, m in new.record.metrics.items() if name != "kl"}
    less = new._replace(record=new.record.model_copy(update={"metrics": metrics}))
    one = found(compare_runs(old, less), "metric", "kl")
    assert (one.equality, one.old, one.new) == (Equality.DIFFERENT, 3.5, None)


def test_what_only_the_rerun_has_is_a_note(pair):
    old, new = pair
    metrics = new.record.metrics | {"novel": Metric(mean=1.0)}
    new = new._replace(record=new.record.model_copy(update={"metrics": metrics}))
    old = with_metric(old, "win_rate", missing=None)
    new = with_metric(new, "win_rate", missing=0)
    rewrite(new, "items.jsonl", lambda i, row: row | {"novel_item": 1.0})
    rewrite(new, "metrics.jsonl", lambda i, row: row | {"novel_curve": 1.0})
    report = compare_runs(old, new)
    assert (report.equality, report.exit_code) == (Equality.BITWISE, 0)
    assert report.notes == [
        (
            "only in the rerun, so not compared: metric novel, metric win_rate.missing, "
            "items novel_item, curve novel_curve"
        )
    ]
    assert report.compared == compare_runs(old, old).compared
    assert compare_runs(new, old).summary == (
        "different: metric novel, metric win_rate, items novel_item, curve novel_curve"
    )


def test_items_are_paired_by_instruction(pair):
    """Two of sixty moved by .6 and -.3: mean .005, mean absolute .015, at most .6."""
    old, new = pair

    def moved(i, row):
        return row | {"gold_score": row["gold_score"] + {3: 0.6, 4: -0.3}.get(i, 0.0)}

    rewrite(new, "items.jsonl", moved)
    report = compare_runs(old, new)
    one = found(report, "items", "gold_score")
    assert one.equality is Equality.DIFFERENT
    assert (one.mean, one.mean_absolute, one.max_absolute) == pytest.approx((0.005, 0.015, 0.6))
    assert found(report, "items", "win_rate").equality is Equality.BITWISE
    assert report.summary == "different: items gold_score"


@pytest.mark.parametrize(
    "change",
    [
        lambda i, row: row | ({"win_rate": None} if i == 5 else {}),
        lambda i, row: row | ({"prompt_sha": "another"} if i == 5 else {}),
    ],
)
def test_an_item_of_one_alone_is_different(pair, change):
    old, new = pair
    rewrite(new, "items.jsonl", change)
    assert compare_runs(old, new).exit_code == 3
    assert compare_runs(new, old).exit_code == 3


def test_curves_part_at_a_step(pair):
    old, new = pair
    rewrite(new, "metrics.jsonl", lambda i, row: row | {"kl": row["kl"] + (0.5 if i > 7 else 0)})
    report = compare_runs(old, new)
    one = found(report, "curve", "kl")
    assert (one.equality, one.first) == (Equality.DIFFERENT, 8)
    assert one.max_absolute == pytest.approx(0.5)
    assert "From step" in text_of(Group(*map(to_rich, rerun_grids(report))))


def test_times_do_not_count_and_nan_equals_nan(pair):
    old, new = pair
    rewrite(new, "metrics.jsonl", lambda i, row: row | {"seconds": 99.0})
    for run in (old, new):
        rewrite(run, "metrics.jsonl", lambda i, row: row | {"kl": math.nan})
    report = compare_runs(old, new)
    assert report.equality is Equality.BITWISE
    assert found(report, "curve", "kl").mean is None
    rewrite(new, "metrics.jsonl", lambda i, row: row | {"kl": 1.0})
    assert compare_runs(old, new).exit_code == 3


def test_another_end_is_different(pair):
    old, new = pair
    update = {"status": "diverged", "error": "KL is NaN"}
    report = compare_runs(old, new._replace(record=new.record.model_copy(update=update)))
    assert report.summary == "different: status: ok -> diverged (KL is NaN)"


def test_a_missing_file_is_said(pair):
    old, new = pair
    (old.folder / "items.jsonl").unlink()
    report = compare_runs(old, new, notes=["a note"])
    assert report.exit_code == 0
    assert report.notes == ["a note", "items.jsonl: not beside the record, so not compared"]
    (new.folder / "metrics.jsonl").unlink()
    assert compare_runs(old, new).summary == "different: metrics.jsonl: the rerun has none"


def test_nothing_to_compare_is_not_equal(make_run):
    runs = []
    for suite in ("testbed", "again"):
        folder = make_run("sft", 0, suite=suite, metrics={})
        for name in ("items.jsonl", "metrics.jsonl"):
            (folder / name).unlink()
        runs.append(Run(read_record(folder), folder))
    assert compare_runs(*runs).summary == "different: nothing to compare"


def test_what_changed_in_the_environment_is_listed(make_run):
    cpu = Hardware(cpu="b CPU", cores=2, dtype="float32", threads=4)
    folders = (
        make_run("sft", 0),
        make_run("sft", 0, suite="again", hardware=cpu, config={"ppo": {"lr": 1e-4, "new": 1}}),
    )
    report = compare_runs(*(Run(read_record(folder), folder) for folder in folders))
    assert [str(change) for change in report.changed] == [
        "hardware.cpu: a CPU -> b CPU",
        "hardware.threads: 1 -> 4",
        "config.ppo.new: None -> 1",
        "config.seed: 0 -> None",
    ]
    assert "hardware.threads" in text_of(Group(*map(to_rich, rerun_grids(report))))
    assert report.exit_code == 0
    assert report.why is None


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"code": Code(commit="c0ffee")}, "the same, so a change of the code moved them"),
        ({"packages": {"torch": "9"}, "code": Code(commit="c0ffee")}, "of other versions"),
        ({"hardware": Hardware(cpu="b CPU"), "packages": {"torch": "9"}}, "of another kind"),
        ({}, None),
    ],
)
def test_what_differs_is_explained_by_what_changed_the_machine_first(pair, fields, why):
    """The code is blamed where machine and packages are the same, and nothing where all is."""
    hardware = {"hardware": Hardware(cpu="a CPU")}
    old, new = (
        run._replace(record=run.record.model_copy(update=own))
        for run, own in zip(pair, (hardware, hardware | fields), strict=True)
    )
    assert compare_runs(old, new).why is None  # it repeats to the bit
    report = compare_runs(old, with_metric(new, "win_rate", mean=0.9))
    if why is None:
        assert report.why is None
        return
    assert report.why is not None
    assert report.why.startswith("It does not repeat to the bit; likeliest cause: ")
    assert why in report.why
    assert "likeliest cause: " in text_of(Group(*map(to_rich, rerun_grids(report))))
    names = [change.name.partition(".")[0] for change in report.changed]
    assert names == sorted(names, key=["hardware", "packages", "code"].index)


def test_another_configuration_is_not_blamed_on_the_machine(pair):
    old, new = pair
    update = {"config": {"ppo": {"lr": 9.0}}, "hardware": Hardware(cpu="b CPU")}
    new = new._replace(record=new.record.model_copy(update=update))
    assert compare_runs(old, with_metric(new, "win_rate", mean=0.9)).why is None
