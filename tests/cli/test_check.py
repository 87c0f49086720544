"""`check`, `baseline` and `rerun` on the command line, and what a damaged record does."""

import json
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from typer.testing import CliRunner, Result

from bench.cli import app
from bench.pipeline.progress import Progress
from bench.pipeline.store import Store
from bench.records.files import Metric, read_record, write_record
from bench.running import runner
from tests.integration.test_run import config
from tests.leaderboard.conftest import make_run, results  # noqa: F401

COMMITTED = Path(__file__).parents[2] / "results" / "testbed"


@pytest.fixture(autouse=True)
def a_place_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("BENCH_RESULTS", str(tmp_path / "results"))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # set by `rerun`: to be restored
    monkeypatch.setenv("MKL_NUM_THREADS", "1")


def bench(*arguments: object) -> Result:
    return CliRunner().invoke(app, list(map(str, arguments)))


def copy_of(run: Path, to: Path, change) -> Path:
    """A published run, its record.json edited by hand."""
    to.mkdir(parents=True)
    for file in run.iterdir():
        (to / file.name).write_bytes(file.read_bytes())
    body = json.loads((to / "record.json").read_text())
    change(body["metrics"])
    (to / "record.json").write_text(json.dumps(body))
    return to


@pytest.fixture
def published() -> Path:
    return sorted(COMMITTED.glob("token_ppo-s0-*"))[0]


def test_a_published_run_passes_and_writes_its_reports(published: Path, tmp_path: Path) -> None:
    xml, summary = tmp_path / "new" / "junit.xml", tmp_path / "summary.md"
    again = copy_of(published, tmp_path / published.name, lambda metrics: None)
    result = bench("check", again, "--baseline", COMMITTED, "--junit", xml, "--markdown", summary)
    assert result.exit_code == 0, result.stderr
    root = ET.parse(xml).getroot()
    assert root.get("failures") == "0"
    assert int(root.get("tests")) == len(read_record(published).metrics) + 1
    assert summary.read_text().startswith("### Regression check passed: token_ppo-s0")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda metrics: metrics["win_rate"].update(mean=metrics["win_rate"]["mean"] - 0.08), "wi"),
        (lambda metrics: metrics.pop("win_rate"), "win_rate: missing"),
        (lambda metrics: metrics["win_rate"].update(mean=float("nan")), "metrics.win_rate.mean"),
    ],
)
@pytest.mark.parametrize("alone", [False, True])
def test_a_worse_run_fails_and_the_metric_is_named(
    published: Path, tmp_path: Path, change, said: str, alone: bool
) -> None:
    run = copy_of(published, tmp_path / "worse", change)
    if alone:
        (run / "items.jsonl").unlink()
    xml, summary = tmp_path / "junit.xml", tmp_path / "summary.md"
    result = bench("check", run, "--baseline", COMMITTED, "--junit", xml, "--markdown", summary)
    assert result.exit_code == 3
    assert "regression: " in result.stderr
    assert said in result.stderr
    assert "win_rate" in result.stderr
    assert ET.parse(xml).getroot().get("failures") != "0"
    assert "FAILED" in summary.read_text()


def test_a_published_run_is_held_against_the_others_of_its_row(published: Path) -> None:
    result = bench("check", published, "--baseline", COMMITTED)
    assert result.exit_code == 0, result.stderr
    assert f"Left out of the baseline, being checked: {published.name}." in result.stdout


def test_a_run_is_found_by_name_at_any_depth(published: Path, tmp_path: Path) -> None:
    deep = tmp_path / "results" / "a" / "b" / "c"
    copy_of(published, deep / "named", lambda metrics: None)
    assert bench("check", "named", "--baseline", COMMITTED).exit_code == 0
    copy_of(published, tmp_path / "results" / "named", lambda metrics: None)
    result = bench("check", "named", "--baseline", COMMITTED)
    assert result.exit_code == 2
    assert "run named is there 2 times: give " in result.stderr


def test_what_cannot_be_written_is_named(published: Path) -> None:
    result = bench("check", published, "--baseline", COMMITTED, "--junit", "/dev/null/x.xml")
    assert result.exit_code == 2
    assert "error: /dev/null/x.xml: cannot be written" in result.stderr


@pytest.mark.parametrize("verb", [["leaderboard"], ["compare", "sft"]])
def test_a_damaged_record_is_skipped_visibly(results: Path, verb: list[str]) -> None:  # noqa: F811
    sound = bench(*verb, "--format", "csv")
    assert sound.exit_code == 0, sound.stderr
    path = results / "testbed" / "ppo_rlhf-s1" / "record.json"
    body = json.loads(path.read_text())
    path.write_text(json.dumps(body | {"seed": 9}))
    result = bench(*verb, "--format", "csv")
    assert result.exit_code == 1
    assert f"warning: {path}: seed: edited or removed after the run was written" in result.stderr
    assert "1 result was left out or cannot be trusted" in result.stderr
    assert "ppo_rlhf" in result.stdout  # the other seeds are still there


def test_a_mean_that_its_items_contradict_is_damage(results: Path) -> None:  # noqa: F811
    folder = results / "testbed" / "ppo_rlhf-s1"
    record = read_record(folder)
    metrics = record.metrics | {"win_rate": Metric(mean=0.9)}
    write_record(record.model_copy(update={"metrics": metrics}), folder)
    result = bench("leaderboard")
    assert result.exit_code == 1
    assert "metrics.win_rate.mean is 0.900000 in record.json" in result.stderr


def test_the_leaderboard_shows_all_where_it_is_asked_to(results: Path) -> None:  # noqa: F811
    assert "Convergence and cost" not in bench("leaderboard").stdout
    assert "Convergence and cost" in bench("leaderboard", "--all").stdout
    assert "Convergence and cost" in bench("leaderboard", "--format", "md").stdout


def test_a_note_is_no_damage(make_run, results: Path) -> None:  # noqa: F811
    make_run("sft", 0, run_id="newer", finished_at="2027-01-01T00:00:00Z")
    result = bench("leaderboard")
    assert result.exit_code == 0
    assert "is a newer run of 'sft' with seed 0" in result.stderr


def test_rerun_repeats_a_run_and_says_how_equal_it_is(tmp_path: Path) -> None:
    where = tmp_path / "results"
    store = Store(tmp_path / "store")
    record = runner.run(config("method=sft"), store=store, results=where, progress=Progress())
    result = bench("rerun", record.run_id, "--out", tmp_path / "again")
    assert result.exit_code == 0, result.stderr
    assert f"Rerun of {record.run_id}: bitwise (tolerance 0.0001)" in result.stdout
    assert read_record(tmp_path / "again" / "testbed" / record.run_id).metrics == record.metrics

    folder = where / "testbed" / record.run_id
    moved = record.metrics["win_rate"].model_copy(update={"mean": 0.9})
    metrics = record.metrics | {"win_rate": moved}
    write_record(record.model_copy(update={"metrics": metrics}), folder)
    result = bench("rerun", folder, "--store", store.root)
    assert result.exit_code == 3
    assert "stages were in the store and not run again" in result.stdout
    assert f"rerun of {record.run_id}: different: metric win_rate" in result.stderr
    assert bench("rerun", folder, "--store", store.root, "--tolerance", "1").exit_code == 0
    assert "did you mean" in bench("rerun", record.run_id[:-1]).stderr
