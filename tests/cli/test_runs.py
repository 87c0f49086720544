"""The command line: what it prints, where, and with which exit code."""

import inspect
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner, Result

from bench.cli import app, outcome, runs
from bench.config.loading import load_config
from bench.errors import UserError
from bench.records.files import OWN, PUBLISHED, Record, read_record, write_record
from bench.records.labels import folder_of, run_id
from bench.running import launch, runner


@pytest.fixture(autouse=True)
def a_place_of_its_own(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("BENCH_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("BENCH_RESULTS", str(tmp_path / "results"))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.delenv("FORCE_COLOR", raising=False)


def bench(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


@pytest.mark.parametrize("arguments", [["--help"], ["list"], ["run", "--help"], ["config", "ppo"]])
def test_quick_verbs_import_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import sys, atexit\n"
        "def heavy(): print('heavy:', *({'torch', 'transformers', 'pandas'} & set(sys.modules)))\n"
        "atexit.register(heavy)\n"
        f"sys.argv[1:] = {arguments!r}\n"
        "from bench.cli import main; main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1].strip() == "heavy:"


def test_a_mistyped_name_is_answered_before_anything_heavy_is_imported() -> None:
    code = (
        "import sys\n"
        "sys.argv[1:] = ['run', '--method', 'nosuch']\n"
        "from bench.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print('heavy:', *({'torch', 'transformers', 'pandas'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "unknown method 'nosuch'" in done.stderr
    assert done.stdout.strip() == "heavy:"


def test_help_reads_no_configuration() -> None:
    """Half a second went into its models before a letter was printed."""
    code = (
        "import sys\n"
        "sys.argv[1:] = ['run', '--help']\n"
        "from bench.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print('loaded:', *({'bench.config.run', 'bench.config.loading'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1].strip() == "loaded:"


def test_list_shows_every_plugin_with_its_paper() -> None:
    said = bench("list").stdout
    for name in ("sft", "ppo_rlhf", "fine_grained_ppo", "token_ppo", "gold_ppo", "gold", "testbed"):
        assert name in said
    assert "arXiv:2406.02756" in said


def test_config_shows_values_meanings_and_a_methods_own_options() -> None:
    said = bench("config", "ppo", "--set", "ppo.lr=5e-5").stdout
    assert "5e-05" in said
    assert "policy learning rate" in said
    assert "sft." not in said
    assert "reward.paid_at" in bench("config", "reward", "--method", "token_ppo").stdout


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["run", "--method", "tokn_ppo"], 2, "error: unknown method 'tokn_ppo'; did you mean"),
        (["run", "--method", "sft", "--suite", "testbet"], 2, "unknown suite 'testbet'; did you"),
        (["run", "--method", "sft", "--preset", "testbet"], 2, "unknown preset 'testbet'; did you"),
        (["run", "--method", "sft", "--set", "ppo.lrr=1"], 2, "did you mean ppo.lr?"),
        (["run", "--method", "sft", "--seeds", "0,x"], 2, "error: --seeds 0,x: expected whole"),
        (["run", "--method", "sft", "--seeds", "3-1"], 2, "error: --seeds 3-1: 3-1 is no range"),
        (["run", "--method", "sft", "--seeds", "0-9999999"], 2, "0-9999999 is no range of 1 to"),
        (["run", "--method", "sft", "--seeds", "-1"], 2, "error: --seeds -1: expected whole"),
        (["run", "--method", "sft", "--seed", "1", "--seeds", "2"], 2, "not both"),
        (["run", "--method", ","], 2, "names no method"),
        (["run"], 2, "--method"),
        (
            ["run", "--method", "token_ppo", "--dry-run", "--set", "reward.los=eq4"],
            2,
            "reward.loss",
        ),
        (["run", "--method", "sft", "--store", "/dev/null/store"], 2, "--store DIR or BENCH_STORE"),
        (["config", "pppo"], 2, "did you mean 'ppo'"),
        (["leaderboard", "--format", "xml"], 2, "choose table, md, csv, json or html"),
        (["run", "--method", "token_ppo,sft", "--set", "reward.loss=eq4"], 2, "named 'loss'"),
        (["run", "--method", "sft", "--set", "evaluation.judge=glod"], 2, "unknown judge 'glod'"),
        (["run", "--method", "sft", "--results", "/dev/null/r"], 2, "nothing was run"),
        (["compare", "sft", "--format", "html"], 2, "choose table, md, csv or json"),
        (["compare", "sft", "--difference", "0"], 2, "--difference 0: what is to be found must be"),
        (["list", "--format", "csv"], 2, "--format csv: choose table or json"),
        (["show", "RUN", "--format", "md"], 2, "--format md: choose table or json"),
        (["check", "R", "--baseline", "b", "--format", "md"], 2, "choose table or json"),
        (["run", "--method", "sft", "--format", "csv"], 2, "choose table or json"),
        (["run", "--method", "sft", "--format", "json", "--dry-run"], 2, "prints tables: leave"),
        (["run", "--method", "sft", "--set", "ppo.lr=1,1"], 2, "ppo.lr=1,1: 1 is there twice"),
        (["power"], 2, "name two labels whose runs show the spread, or give --instruction-sd"),
        (["power", "sft"], 2, "power takes two labels"),
        (["power", "--seed-sd", "-1"], 2, "--seed-sd"),
        (["show", "no_such_run"], 2, "unknown run 'no_such_run'"),
        (
            ["show", "token_ppo", "--results", str(PUBLISHED)],
            2,
            "token_ppo is the label of 5 runs, name one: token_ppo-s0-",
        ),
        (["check", "no_such_run", "--baseline", "b.json"], 2, "unknown run"),
    ],
)
def test_a_mistake_is_one_line_on_standard_error(
    arguments: list[str], code: int, said: str
) -> None:
    result = bench(*arguments)
    assert result.exit_code == code, result.output
    assert said in re.sub("\x1b\\[[0-9;]*m", "", result.stderr)
    assert "Traceback" not in result.output
    assert result.stdout == ""


def test_a_dry_run_prints_the_plan_and_writes_nothing(tmp_path: Path) -> None:
    result = bench("run", "--method", "sft,token_ppo", "--seeds", "0,1", "--dry-run")
    assert result.exit_code == 0, result.output
    assert result.stdout.count("to do") > 10
    assert "token_ppo seed 1" in result.stdout
    work = result.stdout.rpartition("Work at most")[2]
    for word in (
        "rollouts",
        "updates",
        "the policy",
        "1 CPU core",
        "A100",
        "H100",
        " min",
        "assumed",
    ):
        assert word in work
    assert not (tmp_path / "store").exists()


def test_a_dry_run_refuses_what_does_not_fit_and_says_what_helps(monkeypatch) -> None:
    """The tables come first: by part, for every stage that has a model."""
    monkeypatch.setattr("bench.doctor.budget.memory_there", lambda device: 2**28)
    result = bench("run", "--method", "token_ppo", "--dry-run", "--set", "sft.batch_size=4096")
    assert result.exit_code == 2
    for word in ("reward_model", "optimiser", "activations", "decoding", "0.25 GiB there"):
        assert word in result.stdout
    assert "sft (a step) needs about" in result.stderr
    assert "set sft.microbatch_size=" in result.stderr
    assert "Traceback" not in result.output


def test_seeds_are_numbers_and_ranges() -> None:
    made = launch.configurations(
        "sft", suite=None, preset="testbed", seed=None, seeds="7,0-2, 1", overrides=[]
    )
    assert [config.seed for config in made] == [7, 0, 1, 2]


def test_every_method_and_seed_is_run(monkeypatch, tmp_path: Path) -> None:
    ran = []

    def run(config, *, store, results, progress, until, track):
        ran.append((config.method, config.seed, config.ppo.lr, store.root, results))
        status = "diverged" if config.seed else "ok"
        stages = [
            SimpleNamespace(name="sft", cached=True),
            SimpleNamespace(name="ppo", cached=False),
        ]
        return SimpleNamespace(
            status=status, error="NaN", stages=stages, suite="testbed", run_id=f"r{config.seed}"
        )

    monkeypatch.setattr(runner, "run", run)
    result = bench("run", "--method", "sft,ppo_rlhf", "--seeds", "0,1", "--set", "ppo.lr=1e-4")
    assert [one[:3] for one in ran] == [
        ("sft", 0, 1e-4),
        ("ppo_rlhf", 0, 1e-4),
        ("sft", 1, 1e-4),
        ("ppo_rlhf", 1, 1e-4),
    ]
    assert {one[3:] for one in ran} == {(tmp_path / "store", tmp_path / "results")}
    assert result.exit_code == 1
    assert "sft seed 0: ok; 2 stages, 1 of them stored before (sft)" in result.stderr
    silent = bench("run", "--method", "sft", "--quiet", "--seeds", "1")
    assert silent.stderr == "error: sft seed 1 diverged: NaN\n"
    assert "error: sft seed 1 diverged: NaN; ppo_rlhf seed 1 diverged: NaN" in result.stderr


def test_a_run_ends_beside_the_published_row_and_leaves_it_alone(
    monkeypatch, tmp_path: Path
) -> None:
    """The first command as a newcomer sees it, with the training left out."""
    monkeypatch.setenv("BENCH_RESULTS", str(tmp_path / "own"))
    published = next((PUBLISHED / "testbed").glob("token_ppo-s3-*"))

    def run(config, *, store, results, progress, until, track):
        record = read_record(published).model_copy(update={"run_id": run_id(config), "seed": 0})
        folder = folder_of(config, results)
        folder.mkdir(parents=True)
        shutil.copy(published / "items.jsonl", folder)
        write_record(record, folder)
        return record

    monkeypatch.setattr(runner, "run", run)
    result = bench("run", "--method", "token_ppo")
    assert result.exit_code == 0, result.output
    assert "warning" not in result.output
    beside, _, table = result.stdout.partition("Published: testbed: judged by gold")
    assert re.search(r"^token_ppo +0 +[0-9.]+ .* as expected *$", beside, re.MULTILINE)
    rows = re.findall(r"^\w.* 5 +256 *$", table, re.MULTILINE)
    assert len(rows) == 31
    result = bench("run", "--method", "token_ppo,sft", "--seeds", "1,2")
    assert "Yours: testbed: judged by gold" in result.stdout
    assert result.stdout.count("as expected") == 4


def test_where_no_run_left_a_record_the_published_rows_are_shown(capsys, tmp_path: Path) -> None:
    outcome.print_tables([load_config(method="sft")], tmp_path)
    assert "Published: testbed: judged by gold" in capsys.readouterr().out


def test_own_runs_are_kept_apart_and_out_of_git() -> None:
    default = inspect.signature(runs.run).parameters["results"].default
    assert default == Path("results") / OWN
    ignored = (PUBLISHED.parent / ".gitignore").read_text().splitlines()
    assert f"/results/{OWN}/" in ignored


@pytest.mark.parametrize("option", ["--store", "--results"])
@pytest.mark.parametrize("more", [[], ["--dry-run"]])
def test_a_folder_that_is_a_file_is_refused_before_anything_is_written(
    tmp_path: Path, option: str, more: list[str]
) -> None:
    file = tmp_path / "a-typo"
    file.write_text("")
    before = sorted(tmp_path.rglob("*"))
    result = bench("run", "--method", "sft", option, str(file), *more)
    assert result.exit_code == 2
    assert f"{option} DIR or BENCH_" in result.stderr
    assert not list(tmp_path.rglob("record.json"))
    if option == "--store":
        assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.usefixtures("two_methods")
def test_a_method_without_a_run_of_the_default_preset_names_the_rows_that_it_has(
    tmp_path: Path,
) -> None:
    for path in tmp_path.glob("results/testbed/token_ppo-s0/record.json"):
        body = json.loads(path.read_text())
        path.write_text(json.dumps(body | {"label": "token_ppo ppo.lr=0.1"}))
    assert bench("compare", "sft").exit_code == 0
    result = bench("compare", "token_ppo")
    assert result.exit_code == 2
    assert (
        "no run of token_ppo with the default preset; what there is of it: 'token_ppo ppo.lr=0.1'"
        in result.stderr
    )


@pytest.mark.parametrize(
    ("raised", "code", "said"),
    [
        (UserError("out of luck", exit_code=1), 1, "error: out of luck\n"),
        (KeyboardInterrupt(), 130, "interrupted: what is finished is kept, run the same"),
        (
            RuntimeError("two\nlines"),
            1,
            "error: RuntimeError: two lines (unexpected; traceback in ",
        ),
    ],
)
def test_what_goes_wrong_in_a_run_is_one_line(
    monkeypatch, tmp_path: Path, raised: BaseException, code: int, said: str
) -> None:
    def run(*_: object, **__: object) -> None:
        raise raised

    monkeypatch.setattr(runner, "run", run)
    result = bench("run", "--method", "sft")
    assert result.exit_code == code
    assert said in result.stderr
    tracebacks = list((tmp_path / "store").glob("tracebacks/*.txt"))
    assert len(tracebacks) == (1 if isinstance(raised, RuntimeError) else 0)
    for path in tracebacks:
        assert "RuntimeError: two" in path.read_text()


def write_run(results: Path, win_rate: float) -> Path:
    folder = results / "testbed" / "sft-s0"
    folder.mkdir(parents=True)
    metric = {"mean": win_rate, "standard_error": 0.03, "ci95": [win_rate - 0.06, win_rate + 0.06]}
    now = "2026-01-01T00:00:00+00:00"
    record = {
        "run_id": "sft-s0",
        "suite": "testbed",
        "method": "sft",
        "label": "sft",
        "preset": "testbed",
        "seed": 0,
        "status": "ok",
        "config": {},
        "config_sha": "0" * 64,
        "reference": {"name": "writer", "sha": "1" * 64},
        "judge": {"name": "gold"},
        "stages": [],
        "metrics": {"win_rate": metric | {"n": 100}},
        "started_at": now,
        "finished_at": now,
    }
    Record.model_validate(record)
    (folder / "record.json").write_text(json.dumps(record))
    (folder / "items.jsonl").write_text("")
    return folder


def test_check_ends_with_3_where_a_metric_left_its_interval(tmp_path: Path) -> None:
    baseline = tmp_path / "baseline.json"
    folder = write_run(tmp_path / "old", 0.4)
    assert bench("baseline", str(folder), "--out", str(baseline)).exit_code == 0
    good = write_run(tmp_path / "good", 0.42)
    assert bench("check", str(good), "--baseline", str(baseline)).exit_code == 0
    bad = write_run(tmp_path / "results", 0.1)
    for name in (str(bad), str(bad.parent), "sft-s0"):  # a run, a suite's runs, a run's name
        result = bench("check", name, "--baseline", str(baseline))
        assert result.exit_code == 3
        assert "regression: sft-s0: win_rate" in result.stderr
    empty = tmp_path / "empty"
    empty.mkdir()
    assert bench("check", str(empty), "--baseline", str(baseline)).exit_code == 3


def test_show_finds_a_run_by_name(tmp_path: Path) -> None:
    write_run(tmp_path / "results", 0.4)
    said = bench("show", "sft-s0").stdout
    assert "win_rate" in said
    assert "differs from preset testbed" in said
    assert "differs from preset" not in bench("show", "sft-s0", "--full").stdout
    assert "did you mean 'sft-s0'" in bench("show", "sft-s1").stderr


def with_items(folder: Path, label: str, wins: list[float]) -> None:
    """Make a run of `write_run` one of `label`, with these values per instruction."""
    items = [{"index": i, "prompt_sha": str(i), "win_rate": win} for i, win in enumerate(wins)]
    (folder / "items.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items))
    body = json.loads((folder / "record.json").read_text())
    body |= {"run_id": f"{label}-s0", "method": label, "label": label}
    (folder / "record.json").write_text(json.dumps(body))
    folder.rename(folder.with_name(f"{label}-s0"))


@pytest.fixture
def two_methods(tmp_path: Path) -> None:
    """Of 40 instructions sft wins 10 and token_ppo 20, in the first half."""
    for label, wins in (("token_ppo", 20), ("sft", 10)):
        folder = write_run(tmp_path / "results", wins / 40)
        with_items(folder, label, [float(i < wins) for i in range(40)])


VERBS = [["leaderboard"], ["compare", "sft"], ["power", "sft", "token_ppo"]]
TABLES = [(verb, fmt) for verb in VERBS for fmt in ("table", "md", "csv")]


@pytest.mark.parametrize(("verb", "fmt"), [*TABLES, (["leaderboard"], "html")])
@pytest.mark.usefixtures("two_methods")
def test_tables_in_every_format(verb: list[str], fmt: str) -> None:
    result = bench(*verb, "--format", fmt)
    assert result.exit_code == 0, result.output
    start = {"md": "### ", "html": "<!doctype html>"}.get(fmt, "")
    assert result.stdout.startswith(start)
    assert "win_rate" in result.stdout or "Win %" in result.stdout
    assert result.stderr == ""


@pytest.mark.usefixtures("two_methods")
def test_compare_says_what_flipped_and_what_it_takes() -> None:
    said = bench("compare", "token_ppo", "sft", "--difference", ".1", "--examples", "1").stdout
    assert re.search(r"^token_ppo +\+25.0 \* .* 1 x 40$", said, re.MULTILINE)
    assert re.search(r"^token_ppo +[0-9.]+ +10.0 +– ", said, re.MULTILINE)
    assert "token_ppo wins where sft loses: 10 of 40 instructions; the reverse: 0" in said
    assert len(re.findall(r"instruction \d+ \[", said)) == 1
    assert "the reverse" not in bench("compare", "sft", "--examples", "0").stdout


@pytest.mark.usefixtures("two_methods")
def test_power_takes_the_size_of_the_runs_and_given_spreads() -> None:
    said = bench("power", "token_ppo", "sft", "--seed-sd", ".02").stdout
    assert "40 instructions" in said
    assert "2.0 points" in said
    given = bench("power", "--seed-sd", ".02", "--instruction-sd", ".3", "--seeds", "4").stdout
    assert "805 instructions" in given
    assert "instructions, with 4 seeds" in given
