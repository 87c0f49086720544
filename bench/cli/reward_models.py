"""The verb `rm`: a reward model measured by itself, and the table of all."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.cli import completion
from bench.cli.app import (
    TABLE_OR_JSON,
    Overrides,
    Results,
    RunSuite,
    TableOrJson,
    app,
    check_format,
)
from bench.cli.records import find_run
from bench.cli.terminal import complain, guarded, show, use_threads
from bench.errors import UserError


@app.command("rm")
@guarded
def reward_model(
    model: Annotated[
        str | None,
        typer.Argument(
            metavar="[MODEL_OR_RUN]",
            help="A sequence classifier's folder or ID@REVISION of the hub, a reward_model folder "
            "of a store, or a run; none: the table of all.",
        ),
    ] = None,
    suite: RunSuite = None,
    preset: Annotated[
        str | None,
        typer.Option(
            "--preset",
            "--config",
            help="Sizes and SFT model; default: the suite's own.",
            autocompletion=completion.presets,
        ),
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Of pairs and draws.")] = None,
    overrides: Overrides = None,
    responses: Annotated[
        int, typer.Option(min=1, help="Whose prefixes are scored, a forward pass a token.")
    ] = 64,
    best_of: Annotated[
        int, typer.Option(min=1, help="Draws a prompt, of which the best are chosen; 1: none.")
    ] = 16,
    results: Results = Path("results/runs"),
    store: Annotated[
        Path | None, typer.Option(help="Finished stages; default: BENCH_STORE or a user cache.")
    ] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads of torch.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
    format: TableOrJson = "table",
) -> None:
    """How fine is what a reward model knows? Accuracy, prefixes, places of errors, best of n."""
    check_format(format, *TABLE_OR_JSON)
    use_threads(threads)
    measured = None
    if model is not None:
        from bench.pipeline.progress import Progress
        from bench.pipeline.store import Store
        from bench.records.reward_models import write
        from bench.running.launch import check_folder
        from bench.running.reward_models import Asked, World, bench_model

        check_folder(results, "results", make=True)
        progress = Progress(quiet=quiet)
        world = World(suite, preset, seed, tuple(overrides or ()))
        kept = Store(store, warn=progress.say)
        folder = _run_named(model, results)
        measured = bench_model(model, folder, world, Asked(responses, best_of), kept, progress)
        path = write(measured, results)
        progress.say(f"record: {path}")
    elif (preset, seed, overrides, store) != (None, None, None, None):
        raise UserError("name a model or a run; without one there is nothing to measure")
    from leaderboard.analysis.reward_models import tables
    from leaderboard.views.reward_models import grids, to_json

    problems: list[str] = []
    found = tables(results, problems, suite=suite if measured is None else measured.suite)
    if not found and not problems:
        of = f" of {suite}" if suite else ""
        raise UserError(
            f"{results}: no reward model{of} was measured yet; `python -m bench rm MODEL` does"
        )
    show(*([to_json(found)] if format == "json" else grids(found)))
    complain(problems)


def _run_named(model: str, results: Path) -> Path | None:
    """The folder of the run of this name; None: it names a model."""
    from bench.running.reward_models import is_run

    if Path(model).exists():
        return Path(model) if is_run(Path(model)) else None
    return None if "/" in model or "@" in model else find_run(model, results)
