"""The verb `credit`: do a run's rewards follow what its tokens were worth?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.cli.app import TABLE_OR_JSON, Results, StagesOf, TableOrJson, app, check_format
from bench.cli.records import find_run
from bench.cli.terminal import guarded, show


@app.command()
@guarded
def credit(
    runs: Annotated[
        list[str], typer.Argument(help="Runs' folders, or their names below --results.")
    ],
    policy: Annotated[
        bool,
        typer.Option("--policy", help="States of each run's final policy; else of its SFT model."),
    ] = False,
    states: Annotated[
        int, typer.Option(min=2, help="Tokens to measure at, of all responses together.")
    ] = 512,
    positions: Annotated[int, typer.Option(min=1, help="Of them, in each response.")] = 8,
    continuations: Annotated[
        int, typer.Option(min=2, help="K: continuations of each state, scored by gold.")
    ] = 9,
    seed: Annotated[int, typer.Option(help="Of responses and continuations.")] = 0,
    results: Results = Path("results"),
    store: StagesOf = None,
    format: TableOrJson = "table",
) -> None:
    """Do the rewards follow what each token was worth? Needs a suite with gold scores."""
    check_format(format, *TABLE_OR_JSON)
    folders = [find_run(run, results) for run in dict.fromkeys(runs)]
    from bench.pipeline.progress import Progress
    from bench.pipeline.store import Store
    from bench.running.credit import Asked, measure
    from leaderboard.analysis.credit import Credit, credit_row
    from leaderboard.views.credit import credit_grids, to_json

    progress = Progress()
    asked = Asked(states, positions, continuations, seed, policy)
    found = measure(folders, asked, Store(store, warn=progress.say), progress)
    rows = [credit_row(one) for one in found]
    measured = Credit("policy" if policy else "sft", continuations, seed, rows)
    show(*([to_json(measured)] if format == "json" else credit_grids(measured)))
