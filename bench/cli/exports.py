"""Verbs that hand on what a run left in the store: its policy, and what it answered."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.cli.app import Results, StagesOf, app
from bench.cli.records import find_run
from bench.cli.terminal import guarded
from bench.errors import UserError


@app.command()
@guarded
def export(
    run: Annotated[str, typer.Argument(help="A run's folder, or its name below --results.")],
    out: Annotated[Path, typer.Option(help="The folder to write, new or empty.")],
    results: Results = Path("results"),
    store: StagesOf = None,
    licence: Annotated[
        str | None, typer.Option(help="For the card, as the hub spells it: apache-2.0.")
    ] = None,
    repo: Annotated[
        str | None,
        typer.Option("--push-to-hub", metavar="ID", help="Upload it, too; the base as ID-sft."),
    ] = None,
) -> None:
    """Write a run's policy as a folder that PEFT loads: adapter, base, tokenizer, card, record."""
    from bench.pipeline.store import Store
    from bench.records.files import read_record
    from bench.running import export as exporting
    from leaderboard.views.show import metric_grid

    folder = find_run(run, results)
    if repo is not None:
        exporting.check_push(repo)
    found = exporting.find(folder, Store(store))
    exporting.write(found, out, metric_grid(read_record(folder)), licence, repo)
    typer.echo(f"wrote {out}")
    if repo is not None:
        exporting.push(out, repo, say=typer.echo)


@app.command()
@guarded
def outputs(
    run: Annotated[str, typer.Argument(help="A run's folder, or its name below --results.")],
    out: Annotated[Path, typer.Option(help="The file to write: .json or .jsonl.")],
    against: Annotated[
        str | None,
        typer.Option(
            metavar="RUN", help="Another run, or `references`: write pairs, that one's first."
        ),
    ] = None,
    which: Annotated[
        str, typer.Option(help="sampled or greedy; matched (at matched KL); unseen (prompts).")
    ] = "sampled",
    results: Results = Path("results"),
    store: StagesOf = None,
) -> None:
    """Write what a run answered as AlpacaEval's rows: for `judge`, `studio prefer`, other tools."""
    from bench.pipeline.store import Store
    from bench.records.files import read_record
    from bench.running import outputs as writing

    if which not in writing.WHICH:
        *others, last = writing.WHICH
        raise UserError(f"--which {which}: choose {', '.join(others)} or {last}")
    record, stages = read_record(find_run(run, results)), Store(store)
    answers = writing.answers_of(record, stages, which)
    if against is None:
        rows = writing.output_rows(answers, record.suite)
    else:
        if against == "references":
            other = writing.references_of(record, stages, answers)
        else:
            other = writing.answers_of(read_record(find_run(against, results)), stages, which)
        rows = writing.comparison_rows(other, answers, record.suite)
    writing.write_rows(rows, out)
    typer.echo(f"wrote {len(rows)} rows to {out}")
