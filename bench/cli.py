"""The verbs of `python -m bench`: arguments in, calls out, results printed.

Heavy libraries are imported inside the verbs that need them, so that help and `list` are quick.
"""

from __future__ import annotations

import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from bench.errors import UserError
from bench.terminal import complain, fail, guarded, quiet_libraries, show, table, use_threads

if TYPE_CHECKING:
    from rich.console import RenderableType

    from bench.config import RunConfig

app = typer.Typer(
    name="bench",
    help="GrainBench: what does finer-grained supervision buy in RLHF?",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Preset = Annotated[str, typer.Option(help="A name from bench/presets, or a YAML file.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="PATH=VALUE", help="As ppo.lr=1e-4; repeatable."),
]
Results = Annotated[Path, typer.Option(envvar="BENCH_RESULTS", help="Where records are.")]
SuiteName = Annotated[str | None, typer.Option("--suite", help="Only this suite.")]
Format = Annotated[str, typer.Option("--format", help="table, md or csv.")]


def main() -> None:
    """Run the command line."""
    quiet_libraries()
    app()


@app.command()
@guarded
def run(
    method: Annotated[str, typer.Option(help="A name from `list`; several as a,b,c.")],
    suite: Annotated[str | None, typer.Option(help="Instead of the preset's.")] = None,
    preset: Preset = "testbed",
    seed: Annotated[int | None, typer.Option(min=0, help="Of every random choice.")] = None,
    seeds: Annotated[str | None, typer.Option(help="Several runs, as 0,1,2.")] = None,
    overrides: Overrides = None,
    store: Annotated[
        Path | None, typer.Option(help="Finished stages; default: BENCH_STORE or a user cache.")
    ] = None,
    results: Results = Path("results"),
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the stages, run none.")] = False,
    jobs: Annotated[int, typer.Option(min=1, help="Runs at a time, each a process.")] = 1,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads of torch.")] = None,
    rows: Annotated[bool, typer.Option(hidden=True)] = True,
) -> None:
    """Train and judge methods; stages that are in the store already are not computed again."""
    from bench import launch
    from bench.progress import Progress
    from bench.store import Store

    signal.signal(signal.SIGTERM, _interrupt)
    use_threads(threads)
    configs = launch.configurations(
        method, suite=suite, preset=preset, seed=seed, seeds=seeds, overrides=overrides or []
    )
    progress = Progress()
    stages = Store(store, warn=progress.say)
    if dry_run:
        for one in configs:
            show(launch.plan_table(one, stages))
        return
    launch.check_results(results)
    if jobs > 1 and len(configs) > 1:
        jobs = min(jobs, len(configs))
        failures = launch.run_parallel(
            configs, overrides or [], stages.root, results, jobs, threads, progress.say
        )
    else:
        failures = launch.run_here(configs, stages, results, progress)
    if rows:
        _print_rows(configs, results)
    if failures:
        raise UserError("; ".join(failures), exit_code=1)


@app.command("list")
@guarded
def list_plugins() -> None:
    """Methods, judges, suites and presets by name."""
    from bench.presets import preset_names
    from bench.registry import REGISTRIES

    for registry in REGISTRIES:
        rows = [
            (entry.name, entry.summary, entry.paper, entry.source) for entry in registry.entries()
        ]
        if rows:
            show(table(f"{registry.kind}s", ["name", "", "paper", "from"], rows))
    show(table("presets", ["name"], [(name,) for name in preset_names()]))


@app.command()
@guarded
def config(
    section: Annotated[str | None, typer.Argument(help="As ppo; all if left out.")] = None,
    preset: Preset = "testbed",
    method: Annotated[str | None, typer.Option(help="Show its own options (reward.*) too.")] = None,
    overrides: Overrides = None,
) -> None:
    """Every field with its value, what it may be, and what it means."""
    from bench.loading import PLUGINS, describe, describe_options, load_config

    loaded = load_config(preset, overrides, method=method)
    docs = [doc for doc in describe(loaded, section) if doc.path not in PLUGINS]
    for name in PLUGINS:
        if section in (None, name) and (method or name != "reward"):
            docs += describe_options(loaded, name)
    rows = [(doc.path, str(doc.value), doc.expected, doc.description) for doc in docs]
    hint = "" if method else "; a method's own options, reward.*, with --method NAME"
    show(table(f"preset {preset}{hint}", ["field", "value", "may be", "meaning"], rows))


@app.command()
@guarded
def doctor(
    preset: Preset = "testbed",
    suite: Annotated[str | None, typer.Option(help="Instead of the preset's.")] = None,
    overrides: Overrides = None,
    store: Annotated[
        Path | None, typer.Option(help="Where stages would go; default: BENCH_STORE or a cache.")
    ] = None,
    json: Annotated[Path | None, typer.Option(help="Write the findings to this file.")] = None,
) -> None:
    """Check model, trainer and machine before a long run; exit code 1 where a check fails."""
    from bench import launch

    findings = launch.examine(preset, suite, overrides or [], store, json, say=typer.echo)
    failed = [finding.name for finding in findings if finding.status == "FAIL"]
    if failed:
        fail(f"doctor: {len(failed)} of {len(findings)} checks failed: {', '.join(failed)}", 1)


@app.command()
@guarded
def leaderboard(
    suite: SuiteName = None, results: Results = Path("results"), format: Format = "table"
) -> None:
    """All runs side by side, with standard errors, intervals and rank groups."""
    from leaderboard.render import leaderboard as rendered

    _check_format(format)
    board, problems = rendered(results, suite, format)  # type: ignore[arg-type]
    _print(board)
    complain(problems)


@app.command("show")
@guarded
def show_run(
    run: Annotated[str, typer.Argument(help="A run's folder, or its name below --results.")],
    results: Results = Path("results"),
    full: Annotated[bool, typer.Option("--full", help="All of the configuration.")] = False,
) -> None:
    """One run: configuration, stages, metrics, curves and samples with their token rewards."""
    from bench.record import read_record
    from leaderboard.show import show as rendered

    folder = _find_run(run, results)
    show(rendered(folder, None if full else _preset_values(read_record(folder).preset)))


@app.command()
@guarded
def check(
    run: Annotated[str, typer.Argument(help="A run, or a folder of runs.")],
    baseline: Annotated[Path, typer.Option(help="What `baseline` wrote, or a folder of runs.")],
    results: Results = Path("results"),
) -> None:
    """Hold runs against a baseline's intervals; exit code 3 where a metric left them."""
    from leaderboard.check import check as checked

    folder = _find_run(run, results)
    found = [folder] if _is_run(folder) else sorted(p for p in folder.iterdir() if _is_run(p))
    if not found:
        raise UserError(f"no run in {folder}", exit_code=3)
    reports = [checked(path, baseline) for path in found]
    for report in reports:
        show(report.render())
    failures = [f"{report.run}: {line}" for report in reports for line in report.failures]
    if failures or not all(report.ok for report in reports):
        fail("regression: " + ("; ".join(failures) or "nothing was checked"), 3)


@app.command()
@guarded
def baseline(
    runs: Annotated[list[Path], typer.Argument(help="Folders of runs of one label.")],
    out: Annotated[Path, typer.Option(help="The JSON file to write.")],
) -> None:
    """Make the intervals that `check` uses, from one or more runs."""
    from bench.record import read_record
    from leaderboard.check import write_baseline

    write_baseline([read_record(path) for path in runs], out)
    typer.echo(f"wrote {out}")


@app.command()
@guarded
def compare(
    base: Annotated[str, typer.Argument(help="A label of the leaderboard, as sft.")],
    metric: Annotated[str, typer.Option(help="As win_rate or gold_score.")] = "win_rate",
    suite: SuiteName = None,
    results: Results = Path("results"),
    format: Format = "table",
) -> None:
    """All methods against one, paired by seed and instruction, Holm-corrected."""
    from leaderboard import compare as comparing

    _check_format(format)
    problems: list[str] = []
    found = comparing.compare(results, suite, base, metric, problems)
    texts = {"md": comparing.render_markdown, "csv": comparing.to_csv}
    _print(texts.get(format, comparing.render)(found))
    complain(problems)


@app.command()
@guarded
def figures(
    out: Annotated[Path, typer.Option(help="The folder to write to.")],
    suite: Annotated[str, typer.Option(help="Whose runs.")] = "testbed",
    results: Results = Path("results"),
) -> None:
    """Draw score against KL and against steps, and the reward models' accuracies."""
    from leaderboard.figures import write_figures

    problems: list[str] = []
    for path in write_figures(results, out, suite, problems):
        typer.echo(path)
    complain(problems)


def _print_rows(configs: list[RunConfig], results: Path) -> None:
    """Print the leaderboard's rows of the methods that ran."""
    from dataclasses import replace

    from leaderboard.aggregate import tables
    from leaderboard.render import result_grid
    from leaderboard.rows import to_rich

    ran = {one.method for one in configs}
    found, problems = tables(results, configs[0].suite)
    for board in found:
        rows = [row for row in board.rows if row.method in ran]
        if rows:
            show(to_rich(result_grid(replace(board, rows=rows))))
    complain(problems)


def _print(board: RenderableType | str) -> None:
    """Print text as it is, and everything else as rich lays it out."""
    if isinstance(board, str):
        typer.echo(board.rstrip("\n"))
    else:
        show(board)


def _check_format(format: str) -> None:
    if format not in ("table", "md", "csv"):
        raise UserError(f"--format {format}: choose table, md or csv")


def _preset_values(preset: str) -> dict[str, Any] | None:
    """What the preset holds today; None where it is gone."""
    from bench.loading import load_config

    try:
        return load_config(preset).model_dump(mode="json")
    except UserError:
        return None


def _is_run(folder: Path) -> bool:
    return (folder / "record.json").is_file()


def _find_run(run: str, results: Path) -> Path:
    """Return the folder `run`, or the one of this name below `results`."""
    from bench.registry import unknown

    if Path(run).exists():
        return Path(run)
    known = {path.parent.name: path.parent for path in results.glob("*/*/record.json")}
    if run not in known:
        raise UserError(unknown("run", run, known) + f", in {results}")
    return known[run]


def _interrupt(_signal: int, _frame: Any) -> NoReturn:
    """Treat a scheduler's SIGTERM as Ctrl-C: the stage that runs is put away."""
    raise KeyboardInterrupt
