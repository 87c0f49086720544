"""Verbs that read records: tables, one run, checks, reruns, comparisons, figures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.cli.app import (
    FORMATS,
    TABLE_OR_JSON,
    Baseline,
    Format,
    Metric,
    Results,
    SuiteName,
    TableOrJson,
    app,
    check_format,
)
from bench.cli.terminal import complain, exit_code, fail, guarded, show, use_threads
from bench.errors import UserError, unknown

Confidence = Annotated[
    float | None,
    typer.Option(
        min=0.5,
        max=0.99999,
        help="Of all bands; default: .95 for each headline metric, and for the others together.",
    ),
]


@app.command()
@guarded
def leaderboard(
    suite: SuiteName = None,
    results: Results = Path("results"),
    format: Annotated[
        str, typer.Option(help="table, md, csv, json (docs/json.md) or html.")
    ] = "table",
    everything: Annotated[
        bool, typer.Option("--all", help="Every section; md, csv and html always have them.")
    ] = False,
) -> None:
    """All runs side by side, with standard errors, intervals and rank groups."""
    from leaderboard.views.render import leaderboard as rendered

    check_format(format, *FORMATS, "html")
    whole = everything or format != "table"
    board, problems = rendered(results, suite, format, whole=whole)  # type: ignore[arg-type]
    show(board)
    _end(problems)


@app.command("show")
@guarded
def show_run(
    run: Annotated[str, typer.Argument(help="A run's folder, or its name below --results.")],
    results: Results = Path("results"),
    full: Annotated[bool, typer.Option("--full", help="All of the configuration.")] = False,
    format: TableOrJson = "table",
) -> None:
    """One run: configuration, stages, metrics, curves and samples with their token rewards."""
    from bench.config.loading import load_config
    from bench.config.presets import default_preset, preset_names
    from bench.records.files import read_record
    from leaderboard.views.show import show as rendered
    from leaderboard.views.show import to_json

    check_format(format, *TABLE_OR_JSON)
    folder = find_run(run, results)
    if format == "json":
        problems: list[str] = []
        show(to_json(folder, problems))
        complain(problems)
        return
    record = read_record(folder)
    # A file's values are told by what differs from the default: the file may be gone or changed.
    named = record.preset in preset_names()
    preset = record.preset if named else default_preset(record.suite)
    defaults = None if full else load_config(preset).model_dump(mode="json")
    show(rendered(folder, defaults, preset=preset))


@app.command()
@guarded
def check(
    run: Annotated[str, typer.Argument(help="A run, or a folder of runs.")],
    baseline: Baseline,
    results: Results = Path("results"),
    junit: Annotated[
        Path | None, typer.Option(help="Write JUnit XML: one test case a metric.")
    ] = None,
    markdown: Annotated[Path | None, typer.Option(help="Write a summary for a CI job.")] = None,
    confidence: Confidence = None,
    format: TableOrJson = "table",
) -> None:
    """Hold runs against a baseline, each label's together; exit code 3 where a metric fails."""
    from bench.grid import markdown_page
    from leaderboard.regression.baseline import write_text
    from leaderboard.regression.check import REGRESSION
    from leaderboard.regression.check import check as checked
    from leaderboard.regression.junit import to_junit
    from leaderboard.views.check import check_grid, to_json

    check_format(format, *TABLE_OR_JSON)
    reports = checked(find_run(run, results), baseline, confidence)
    grids = [check_grid(report) for report in reports]
    show(*([to_json(reports)] if format == "json" else grids))
    if junit is not None:
        write_text(junit, to_junit(reports))
    if markdown is not None:
        write_text(markdown, markdown_page(grids))
    if failed := [report for report in reports if not report.ok]:
        lines = [f"regression: {report.run}: {'; '.join(report.failures)}" for report in failed]
        fail("\n".join(lines), REGRESSION)


@app.command()
@guarded
def baseline(
    runs: Annotated[list[Path], typer.Argument(help="Folders of runs of one label.")],
    out: Annotated[Path, typer.Option(help="The JSON file to write.")],
    confidence: Confidence = None,
) -> None:
    """Make the intervals that `check` uses, from one or more runs."""
    from bench.records.files import read_record
    from leaderboard.regression.baseline import write_baseline

    write_baseline([read_record(path) for path in runs], out, confidence)
    typer.echo(f"wrote {out}")


@app.command()
@guarded
def rerun(
    run: Annotated[str, typer.Argument(help="A run's folder, or its name below --results.")],
    results: Results = Path("results"),
    store: Annotated[
        Path | None, typer.Option(help="Take finished stages from here; default: run all again.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Keep the new record below this folder.")] = None,
    tolerance: Annotated[
        float, typer.Option(min=0.0, help="Of |a - b| / max(1, |a|, |b|).")
    ] = 1e-4,
) -> None:
    """Run a recorded configuration again: bitwise, within tolerance, or different (exit code 3)."""
    import tempfile

    from bench.records.files import Run, read_record
    from bench.running import launch

    folder = find_run(run, results)
    recorded = Run(read_record(folder), folder if folder.is_dir() else folder.parent)
    use_threads(recorded.record.hardware.threads)
    from bench.pipeline.progress import Progress
    from bench.pipeline.store import Store
    from bench.running.rerun import repeat
    from leaderboard.regression.rerun import compare_runs
    from leaderboard.views.rerun import rerun_grids

    progress = Progress()
    with tempfile.TemporaryDirectory(prefix="bench-rerun-") as fresh:
        stages = Store(store or Path(fresh) / "store", warn=progress.say)
        launch.check_folder(stages.root, "store")
        launch.check_folder(out or Path(fresh), "results")
        try:
            new = repeat(recorded, store=stages, results=out or Path(fresh), progress=progress)
        except KeyboardInterrupt as error:
            if store is None:
                fail("interrupted: without --store DIR nothing is kept", exit_code(error))
            raise
        report = compare_runs(recorded, new.run, tolerance, new.notes)
    show(*rerun_grids(report))
    if report.exit_code:
        fail(f"rerun of {report.run}: {report.summary}", report.exit_code)


@app.command()
@guarded
def compare(
    labels: Annotated[
        list[str],
        typer.Argument(help="As the leaderboard writes them; one: all against it; several: pairs."),
    ],
    metric: Metric = "win_rate",
    suite: SuiteName = None,
    results: Results = Path("results"),
    format: Format = "table",
    difference: Annotated[
        float | None,
        typer.Option(help="True difference to plan for, as .05; else the observed one."),
    ] = None,
    examples: Annotated[
        int | None,
        typer.Option(min=0, help="Instructions that flipped, of each pair; 3 in a table, else 0."),
    ] = None,
) -> None:
    """Methods against each other, paired by seed and instruction, Holm-corrected."""
    from leaderboard.analysis.compare import compare as comparisons
    from leaderboard.views import compared as written

    check_format(format, *FORMATS)
    if examples is None:
        examples = 3 if format == "table" else 0
    problems: list[str] = []
    found = comparisons(
        results, suite, labels, metric, problems, planned=difference, examples=examples
    )
    texts = {"md": written.render_markdown, "csv": written.to_csv, "json": written.to_json}
    show(texts.get(format, written.render)(found))
    _end(problems)


@app.command()
@guarded
def power(
    labels: Annotated[
        list[str] | None, typer.Argument(help="Two labels whose runs show the spread; or none.")
    ] = None,
    difference: Annotated[float, typer.Option(help="The true one; a rate's as .05.")] = 0.05,
    metric: Metric = "win_rate",
    seeds: Annotated[int | None, typer.Option(min=1, help="Else those of the runs, or 5.")] = None,
    instructions: Annotated[
        int | None, typer.Option(min=2, help="Else those of the runs, or 805.")
    ] = None,
    alpha: Annotated[float, typer.Option(min=1e-6, max=0.5, help="Level of the test.")] = 0.05,
    comparisons: Annotated[int, typer.Option(min=1, help="In the Holm family.")] = 1,
    seed_sd: Annotated[float | None, typer.Option(min=0, help="Between seeds.")] = None,
    instruction_sd: Annotated[
        float | None, typer.Option(min=0, help="Between instructions, the same in every seed.")
    ] = None,
    residual_sd: Annotated[
        float | None, typer.Option(min=0, help="Between instructions, new in every seed.")
    ] = None,
    suite: SuiteName = None,
    results: Results = Path("results"),
    format: Format = "table",
) -> None:
    """How often an experiment finds a difference, and how large it must be.

    Spreads are standard deviations of the difference; those not given come from the runs.
    """
    from leaderboard.analysis import power as planning
    from leaderboard.views import power as written

    check_format(format, *FORMATS)
    planning.check_difference(difference, metric)
    given = {"seed": seed_sd, "instruction": instruction_sd, "residual": residual_sd}
    problems: list[str] = []
    spread = planning.find_spread(results, suite, labels or [], metric, given, problems)
    size = seeds or spread.size[0], instructions or spread.size[1]
    plan = planning.make_plan(spread, difference, planning.Design(*size, alpha, comparisons))
    texts = {"md": written.render_markdown, "csv": written.to_csv, "json": written.to_json}
    show(texts.get(format, written.render)(plan))
    _end(problems)


@app.command()
@guarded
def figures(
    out: Annotated[Path, typer.Option(help="The folder to write to.")],
    suite: Annotated[str, typer.Option(help="Whose runs.")] = "testbed",
    results: Results = Path("results"),
) -> None:
    """Draw score against steps, time, KL and proxy, what PPO did, and RM accuracies."""
    from leaderboard.plots import write_figures

    problems: list[str] = []
    for path in write_figures(results, out, suite, problems):
        typer.echo(path)
    _end(problems)


@app.command()
@guarded
def site(
    out: Annotated[Path, typer.Option(help="The folder to write to.")] = Path("site"),
    suite: SuiteName = None,
    results: Results = Path("results"),
    judged: Annotated[
        list[Path] | None,
        typer.Option(help="A folder that `judge A.json B.json --out` wrote; repeatable."),
    ] = None,
) -> None:
    """Write the leaderboard as pages that need no server: tables, curves, samples, provenance."""
    from leaderboard.site import write_site

    problems: list[str] = []
    written = write_site(results, out, problems, suite, judged or [])
    typer.echo(f"{len(written)} files; open {out / 'index.html'}")
    _end(problems)


def _end(problems: list[str]) -> None:
    """Print what was found wrong; exit with 1 where a result could not be read or trusted."""
    from bench.records.files import Damage

    complain(problems)
    if damaged := sum(isinstance(problem, Damage) for problem in problems):
        what = "result was" if damaged == 1 else "results were"
        fail(f"{damaged} {what} left out or cannot be trusted: see the warnings", 1)


def find_run(run: str, results: Path) -> Path:
    """Return the folder `run`, or the one of this name below `results`.

    Raises:
        UserError: there is none, or several; where `run` is a label, names its runs.
    """
    from bench.records.files import PUBLISHED, RECORD, find_runs
    from bench.records.published import RESULTS

    if Path(run).exists():
        return Path(run)
    # Where the published records are elsewhere, one's own are in `results` all the same.
    roots = [results, RESULTS] if results == PUBLISHED else [results]
    paths = {path.resolve(): path.parent for root in roots for path in root.rglob(RECORD)}
    folders = sorted(paths.values())
    found = [folder for folder in folders if folder.name == run]
    if not found:
        if own := [folder.name for one, folder in find_runs(results)[0] if one.label == run]:
            runs = "1 run" if len(own) == 1 else f"{len(own)} runs"
            raise UserError(f"{run} is the label of {runs}, name one: {', '.join(own)}")
        names = [folder.name for folder in folders]
        raise UserError(unknown("run", run, names) + f", in {results}")
    if len(found) > 1:
        raise UserError(f"run {run} is there {len(found)} times: give {found[0]} or {found[1]}")
    return found[0]
