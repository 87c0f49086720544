"""`--format json` and sweeps on the command line: standard output is one document."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from bench.cli import app
from bench.config.loading import load_config
from bench.errors import UserError
from bench.records.files import PUBLISHED, Record, read_record, write_record
from bench.records.labels import folder_of, label, run_id
from bench.running import launch, runner
from bench.running.jobs import Job, Local
from leaderboard.views import schemas
from leaderboard.views.shapes import DOCUMENTS
from tests.integration.test_run import SMALL
from tests.leaderboard.conftest import MakeRun, make_run, results  # noqa: F401


@pytest.fixture(autouse=True)
def a_place_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("BENCH_RESULTS", str(tmp_path / "results"))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # set by `--threads`: to be restored
    monkeypatch.setenv("MKL_NUM_THREADS", "1")


def bench(*arguments: object) -> Result:
    return CliRunner().invoke(app, list(map(str, arguments)))


def document(result: Result, name: str) -> Any:
    """What is on standard output, held to its model, and to its published schema where it can."""
    body = json.loads(result.stdout, parse_constant=lambda what: pytest.fail(f"{what} is no JSON"))
    assert body["schema"] == f"grainbench/{name}"
    DOCUMENTS[name].model_validate_json(result.stdout, strict=True)
    try:
        import jsonschema
    except ImportError:
        return body["data"]
    jsonschema.Draft202012Validator(schemas.schema(name)).validate(body)
    return body["data"]


@pytest.mark.usefixtures("results")
def test_leaderboard() -> None:
    result = bench("leaderboard", "--format", "json")
    data = document(result, "leaderboard")
    rows = {row["label"]: row for row in data["tables"][0]["rows"]}
    assert rows["sft"]["seeds"] == [0, 1, 2]
    assert rows["sft"]["seconds"] == pytest.approx(281)
    win = rows["sft"]["metrics"]["win_rate"]
    assert win["ci95"][0] < win["mean"] < win["ci95"][1] < 0.5  # a fraction
    assert rows["bad"]["failures"] == ["seed 0: diverged: KL is NaN at step 12"]
    assert data["reported"][0]["paper"] == "arXiv:2406.02756"


@pytest.mark.usefixtures("results")
def test_problems_are_on_standard_error(make_run: MakeRun) -> None:  # noqa: F811
    folder = make_run("sft", 7)
    (folder / "record.json").write_text("{")
    result = bench("leaderboard", "--format", "json")
    assert result.exit_code == 1
    assert len(document(result, "leaderboard")["tables"]) == 1
    assert "warning: " in result.stderr
    assert "1 result was left out" in result.stderr


def test_compare() -> None:
    options = ("--results", PUBLISHED, "--examples", "2", "--format", "json")
    (found,) = document(bench("compare", "token_ppo", "sft", *options), "compare")["comparisons"]
    assert found["mean"] == pytest.approx(0.275, abs=0.001)
    assert found["significant"] is True
    assert found["needed_seeds"]["possible"] is True
    assert found["flips"]["above"] > found["flips"]["below"]
    sample = found["flips"]["examples"][0]["samples"][0]
    assert len(sample["tokens"]) == len(sample["token_rewards"]) > 0


@pytest.mark.usefixtures("results")
def test_power() -> None:
    result = bench("power", "ppo_rlhf", "sft", "--difference", ".05", "--format", "json")
    plan = document(result, "power")
    assert {(one["seeds"], one["instructions"]) for one in plan["power"]} >= {(3, 60), (10, 805)}


def test_show_has_null_for_what_is_not_finite(make_run: MakeRun) -> None:  # noqa: F811
    folder = make_run("sft", judge={"name": "gold", "counts": {"ok": 3}, "details": {"x": "é"}})
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"step": 20, "kl": NaN, "validation_score": -Infinity}\n')
    (folder / "samples.jsonl").write_text("{}\n")
    result = bench("show", folder, "--format", "json")
    data = document(result, "show")
    assert data["record"]["judge"]["details"] == {"x": "é"}
    assert data["record"]["metrics"]["kl"]["mean"] == 3.5
    assert data["curve"][-1] == {"step": 20, "kl": None, "validation_score": None}
    assert data["samples"] is None
    assert result.stderr.startswith("warning: ")
    assert "samples.jsonl, line 1" in result.stderr
    (folder / "samples.jsonl").unlink()
    again = bench("show", folder, "--format", "json")
    assert document(again, "show")["samples"] is None
    assert again.stderr == ""


def test_list() -> None:
    data = document(bench("list", "--format", "json"), "list")
    names = {(one["kind"], one["name"]) for one in data["plugins"]}
    assert {("method", "sft"), ("judge", "gold"), ("suite", "testbed")} <= names
    assert "smollm2" in data["presets"]


def test_check_ends_with_3_behind_its_document(make_run: MakeRun, tmp_path: Path) -> None:  # noqa: F811
    for seed in range(3):
        make_run("sft", seed, 0.6 + 0.01 * seed)
    shutil.copytree(tmp_path / "results" / "testbed", tmp_path / "before")
    make_run("sft", 0, 0.1)
    arguments = ["check", tmp_path / "results/testbed/sft-s0", "--baseline", tmp_path / "before"]
    result = bench(*arguments, "--format", "json")
    data = document(result, "check")
    assert result.exit_code == 3
    assert data["ok"] is False
    (report,) = data["reports"]
    assert [row["metric"] for row in report["rows"] if not row["ok"]][-1] == "win_rate"
    assert "regression: " in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["leaderboard", "--results", "/no/such/folder"],
        ["compare", "nosuch"],
        ["power"],
        ["show", "nosuch"],
        ["check", "nosuch", "--baseline", "b"],
        ["run", "--method", "nosuch"],
        ["run", "--method", "sft", "--set", "ppo.lr=1,"],
    ],
)
@pytest.mark.usefixtures("results")
def test_a_mistake_prints_no_document(arguments: list[str]) -> None:
    result = bench(*arguments, "--format", "json")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1


@pytest.fixture
def published_runs(monkeypatch: pytest.MonkeyPatch) -> dict[int, BaseException]:
    """Runs take a second: each leaves a published record, but those of seeds that are to fail."""
    failing: dict[int, BaseException] = {}
    published = next((PUBLISHED / "testbed").glob("token_ppo-s3-*"))

    def run(config, *, store, results, progress, until, track) -> Record:  # noqa: F811
        if error := failing.get(config.seed):
            raise error
        own = {"run_id": run_id(config), "label": label(config), "seed": config.seed}
        if config.seed == 1:
            own |= {"status": "diverged", "error": "KL is NaN"}
        record = read_record(published).model_copy(update=own)
        folder = folder_of(config, results)
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(published / "items.jsonl", folder)
        write_record(record, folder)
        progress.say("a line of progress")
        return record

    monkeypatch.setattr(runner, "run", run)
    return failing


RUN = ("run", "--method", "token_ppo", "--format", "json")


@pytest.mark.usefixtures("published_runs")
def test_runs_are_one_document_with_those_that_failed() -> None:
    result = bench(*RUN, "--seeds", "0,1")
    assert result.exit_code == 1
    data = document(result, "run")
    good, bad = data["runs"]
    assert (good["status"], good["verdict"], good["published"]["runs"]) == ("ok", "as expected", 5)
    assert (bad["status"], bad["error"]) == ("diverged", "KL is NaN")
    assert data["failures"] == ["token_ppo seed 1 diverged: KL is NaN"]
    assert data["sweep"] == []
    assert "error: token_ppo seed 1 diverged: KL is NaN\n" in result.stderr
    assert "a line of progress" in result.stderr


@pytest.mark.parametrize(
    ("error", "code"), [(UserError("no disk", exit_code=1), 1), (OSError("x"), 1)]
)
def test_an_error_between_runs_leaves_the_document_of_those_before(
    published_runs: dict[int, BaseException], error: BaseException, code: int
) -> None:
    published_runs[2] = error
    result = bench(*RUN, "--seeds", "0,2,3")
    assert result.exit_code == code
    data = document(result, "run")
    assert [run["status"] for run in data["runs"]] == ["ok", None, None]
    assert data["failures"] == [str(error)]
    assert str(error) in result.stderr


def test_an_interrupted_command_prints_no_document(
    published_runs: dict[int, BaseException],
) -> None:
    published_runs[2] = KeyboardInterrupt()
    result = bench(*RUN, "--seeds", "0,2")
    assert (result.exit_code, result.stdout) == (130, "")


@pytest.mark.usefixtures("published_runs")
def test_a_sweep_ends_with_its_table_and_no_other() -> None:
    sweep = ("run", "--method", "token_ppo", "--set", "ppo.lr=8e-4,3e-4", "--seeds", "0,3")
    result = bench(*sweep)
    assert result.exit_code == 0, result.output
    assert "token_ppo ppo.lr=0.0003 seed 3: ok" in result.stderr
    lines = result.stdout.splitlines()
    assert lines[0] == "Sweep: means and 95 % intervals"
    assert [line.split()[:2] for line in lines[3:5]] == [["0.0008", "2"], ["0.0003", "2"]]
    assert "Published" not in result.stdout
    rows = document(bench(*sweep, "--format", "json"), "run")["sweep"]
    assert [row["values"] for row in rows] == [{"ppo.lr": 8e-4}, {"ppo.lr": 3e-4}]
    assert [row["label"] for row in rows] == ["token_ppo", "token_ppo ppo.lr=0.0003"]


def test_a_dry_run_says_how_many_runs_a_sweep_is() -> None:
    sweep = ("--set", "ppo.lr=1e-4,3e-4", "--set", "sft.steps=2,3", "--seeds", "0,1")
    result = bench("run", "--method", "sft", "--dry-run", *sweep)
    assert result.exit_code == 0, result.output
    first = "8 runs: 2 seeds x 2 values of sft.steps x 2 values of ppo.lr"
    assert result.stdout.splitlines()[0] == first
    assert "sft sft.steps=3 ppo.lr=0.0001 seed 1 (store: " in result.stdout


def test_each_job_of_a_sweep_gets_its_own_values(monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[Job] = []

    def run(local: Local, jobs: list[Job], say: object) -> list[int]:
        kept.extend(jobs)
        return [0] * len(jobs)

    monkeypatch.setattr(Local, "run", run)
    bench("run", "--method", "token_ppo", "--jobs", "2", "--set", "reward.loss=eq3,eq4",
          "--set", "ppo.steps=3")  # fmt: skip
    assert [job.name for job in kept] == [
        f"token_ppo reward.loss={x} seed 0" for x in ("eq3", "eq4")
    ]
    given = [[a for a in job.arguments if a.startswith("--set")] for job in kept]
    assert given == [["--set=ppo.steps=3", f"--set=reward.loss={loss}"] for loss in ("eq3", "eq4")]


@pytest.mark.slow
def test_a_real_sweep_side_by_side(tmp_path: Path) -> None:
    """Two values of SFT's steps, each a process; nothing but the document is on standard output."""
    small = [word for override in SMALL[1:] for word in ("--set", override)]
    result = bench("run", "--method", "sft", *small, "--set", "sft.steps=1,2", "--jobs", "2",
                   "--threads", "1", "--format", "json")  # fmt: skip
    assert result.exit_code == 0, result.stderr
    data = document(result, "run")
    assert [run["swept"] for run in data["runs"]] == [{"sft.steps": 1}, {"sft.steps": 2}]
    for run, row, steps in zip(data["runs"], data["sweep"], (1, 2), strict=True):
        record = read_record(Path(run["folder"]))
        assert record.config["sft"]["steps"] == steps
        stated = record.metrics["win_rate"].mean
        assert row["metrics"]["win_rate"]["mean"] == run["metrics"]["win_rate"]["mean"] == stated
    assert "[sft sft.steps=2 seed 0] " in result.stderr
    configs = launch.configurations("sft", suite=None, preset="testbed", seed=None, seeds=None,
                                    overrides=[*SMALL[1:], "sft.steps=1,2"])  # fmt: skip
    assert load_config(overrides=[*SMALL[1:], "sft.steps=2"], method="sft") in configs


def test_what_an_earlier_command_left_is_no_outcome_of_this_one(
    published_runs: dict[int, BaseException],
) -> None:
    """Seed 2 ended well before, and this time not at all: no record of it is this command's."""
    bench(*RUN, "--seeds", "0,2")
    published_runs[2] = UserError("the disk is full", exit_code=1)
    document = json.loads(bench(*RUN, "--seeds", "0,2").stdout)
    assert [run["status"] for run in document["data"]["runs"]] == ["ok", None]
    assert document["data"]["failures"] == ["the disk is full"]


def test_nothing_is_printed_where_no_run_began(published_runs: dict[int, BaseException]) -> None:
    published_runs[0] = UserError("no key", exit_code=2)
    result = bench(*RUN, "--seed", "0")
    assert (result.exit_code, result.stdout) == (2, "")
