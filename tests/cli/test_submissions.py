"""`submit` and `verify`: a method of another package on its way to the leaderboard, and back."""

import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from bench.cli import app
from bench.files import file_sha256
from bench.pipeline.progress import Progress
from bench.pipeline.store import Store
from bench.records.files import Record, find_runs
from bench.running import recording, runner
from tests.integration.test_run import config
from tests.leaderboard.offers import segment_ppo, table
from tests.test_contributing import install_the_example

__all__ = ["table"]


@pytest.fixture(autouse=True)
def a_place_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BENCH_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # set by `--rerun`: to be restored
    monkeypatch.setenv("MKL_NUM_THREADS", "1")
    monkeypatch.delenv("BENCH_RESULTS", raising=False)


def bench(*arguments: object) -> Result:
    return CliRunner().invoke(app, list(map(str, arguments)))


def rows_of(result: Result) -> dict[str, str]:
    """The verdict of each rule, the worst where it has several."""
    order = ("ok", "differs", "refused")
    found: dict[str, str] = {}
    for line in result.stdout.splitlines():
        for verdict in order:
            rule, is_there, _ = line.partition(f"  {verdict} ")
            if is_there and rule.strip():
                known = found.get(rule.strip(), "ok")
                found[rule.strip()] = max(known, verdict, key=order.index)
    return found


def test_a_row_goes_into_one_file_and_from_there_onto_the_page(table: Path, tmp_path: Path) -> None:
    shutil.copytree(table, tmp_path / "page")
    runs = [run.folder for run in segment_ppo(tmp_path)]
    submitted = bench("submit", *runs, "--results", table)
    assert submitted.exit_code == 0, submitted.output
    assert "segment_ppo (5 runs) for testbed, judged by gold: may be a row" in submitted.stdout
    assert "wrote testbed-segment_ppo.zip (0.2 MB)" in submitted.stdout
    summary = tmp_path / "summary.md"
    verified = bench(
        *("verify", "testbed-segment_ppo.zip", "--results", "page"),
        *("--into", "page", "--markdown", summary),
    )
    assert verified.exit_code == 0, verified.output
    assert rows_of(verified) == rows_of(submitted)
    assert set(rows_of(verified).values()) == {"ok"}
    assert "| seeds | ok | the rows' 5 |" in summary.read_text()
    assert "segment_ppo" in bench("leaderboard", "--results", "page", "--format", "csv").stdout
    # Once more, on the page that has it: nothing is refused, nothing is copied over.
    assert (
        bench("verify", "testbed-segment_ppo.zip", "--results", "page", "--into", "page").exit_code
        == 0
    )


def test_what_a_rule_refuses_is_not_packed(table: Path, tmp_path: Path) -> None:
    runs = [run.folder for run in segment_ppo(tmp_path)]
    shutil.rmtree(runs[2])
    refused = bench("submit", tmp_path / "testbed", "--results", table, "--out", "row.zip")
    assert refused.exit_code == 3
    assert rows_of(refused)["seeds"] == "refused"
    assert refused.stderr == "not packed: segment_ppo is refused by seeds\n"
    assert not Path("row.zip").exists()


def test_a_bundle_that_breaks_a_rule_is_not_taken(table: Path, tmp_path: Path) -> None:
    runs = [run.folder for run in segment_ppo(tmp_path)]
    assert bench("submit", *runs, "--results", table, "--out", "row.zip").exit_code == 0
    published = tmp_path / "published"  # meanwhile somebody else's row has this name
    segment_ppo(published, lambda record: {"finished_at": "2026-01-01T00:00:00+00:00"})
    refused = bench("verify", "row.zip", "--results", published, "--into", "page")
    assert refused.exit_code == 3, refused.output
    assert refused.stderr == "not taken: segment_ppo is refused by new row\n"
    assert not Path("page").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["submit", "nosuch"], "error: unknown run 'nosuch'"),
        (["submit", "empty"], "error: no run in empty"),
        (["verify", "nosuch.zip"], "error: cannot read nosuch.zip: No such file"),
        (["verify", "notes.txt"], "error: notes.txt: no bundle that `submit` wrote: File is not a"),
        (["submit", "RUNS", "--out", "notes.txt"], "error: --out notes.txt: that is no bundle"),
        (
            ["submit", "RUNS", "--out", "/dev/null/x.zip"],
            "error: --out /dev/null/x.zip: cannot wri",
        ),
        (["submit", "RUNS", "--results", "nosuch"], "error: nosuch: no such folder of results"),
    ],
)
def test_mistakes_are_one_line(
    arguments: list[str], said: str, table: Path, tmp_path: Path
) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "empty").mkdir()
    runs = [str(run.folder) for run in segment_ppo(tmp_path)]
    given = [part for a in arguments for part in (runs if a == "RUNS" else [a])]
    where = [] if "--results" in given or given[0] == "verify" else ["--results", str(table)]
    result = bench(*given, *where)
    assert result.exit_code == 2
    assert said in result.stderr
    assert (tmp_path / "notes.txt").read_text() == "mine"


@pytest.fixture
def published_and_mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Record:
    """Tiny runs of `sft` and `ppo_rlhf` in `page`, and one of the guide's own method in `mine`."""
    install_the_example(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    clean = {"commit": "c" * 40, "dirty": False, "diff_sha": None}
    monkeypatch.setattr(recording, "code_state", lambda: clean)
    store = Store(tmp_path / "store")

    def run(method: str, results: str) -> Record:
        settings = config(f"method={method}")
        return runner.run(settings, store=store, results=Path(results), progress=Progress())

    run("sft", "page")
    run("ppo_rlhf", "page")
    return run("optimistic_ppo", "mine")


@pytest.mark.slow
def test_another_packages_method_is_taken_and_runs_again(
    published_and_mine: Record, tmp_path: Path
) -> None:
    assert published_and_mine.packages["my-package"] == "0.3"
    made = {s.name: s.data_sha for s in published_and_mine.stages if s.data_sha}
    key = next(s.key for s in published_and_mine.stages if s.name == "preferences")
    pairs = tmp_path / "store" / "preferences" / key / "preferences.jsonl"
    assert made["preferences"] == file_sha256(pairs)[:16]
    assert made.keys() == {"preferences", "edits"}  # the latter to measure the reward model with
    submitted = bench(
        "submit", *Path("mine/testbed").iterdir(), "--results", "page", "--out", "row.zip"
    )
    assert submitted.exit_code == 0, submitted.output
    verdicts = rows_of(submitted)
    assert verdicts.pop("code") == "differs"
    assert verdicts.pop("budget") in ("ok", "differs")  # its responses may be a little longer
    assert set(verdicts.values()) == {"ok"}, submitted.stdout
    assert "the method is of my-package 0.3: say in the pull request" in submitted.stdout
    assert "equal by hash: seed 0" in submitted.stdout  # the pairs of ppo_rlhf, and no others

    unknown = bench("verify", "row.zip", "--results", "page", "--rerun", "7")
    assert (unknown.exit_code, "(seeds there: 0)" in unknown.stderr) == (2, True)
    taken = bench("verify", "row.zip", "--results", "page", "--rerun", "0", "--into", "page")
    assert taken.exit_code == 0, taken.output
    assert "seed 0 again: bitwise" in taken.stdout
    runs, problems = find_runs(Path("page"))
    assert {run.record.method for run in runs} == {"sft", "ppo_rlhf", "optimistic_ppo"}
    assert not problems
