"""Verbs by which others' runs become a row: `submit` makes a bundle, `verify` takes one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli.app import Results, app
from bench.cli.records import find_run
from bench.cli.terminal import fail, guarded, show, use_threads
from bench.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.records.files import Run
    from leaderboard.submission.findings import Finding, Review
    from leaderboard.submission.offer import Texts


@app.command()
@guarded
def submit(
    runs: Annotated[
        list[str],
        typer.Argument(help="All runs of one row: their folders, one of them all, or their names."),
    ],
    results: Results = Path("results"),
    out: Annotated[
        Path | None, typer.Option(help="The bundle to write; default: named after the row.")
    ] = None,
    declare: Annotated[
        list[str] | None,
        typer.Option(metavar="FIELD", help="A hyperparameter of this row alone; repeatable."),
    ] = None,
) -> None:
    """Hold a new row against the published table's rules, and pack it into one file for review."""
    from bench.naming import file_name
    from bench.records.files import Run, read_record
    from leaderboard.submission.bundle import check_is_bundle, pack
    from leaderboard.submission.offer import Offer, one_row
    from leaderboard.submission.rules import review

    folders = [folder for run in runs for folder in _folders(find_run(run, results))]
    found = one_row(Run(read_record(folder, verify=False), folder) for folder in folders)
    record = found[0].record
    path = out or Path(f"{file_name(f'{record.suite}-{record.label}')}.zip")
    check_is_bundle(path)
    new = Offer(found, frozenset(declare or []), _texts(found))
    told = review(new, results)
    _end(told, "not packed")
    content = pack(new)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    except OSError as error:
        raise UserError(f"--out {path}: cannot write it: {error.strerror}") from error
    typer.echo(f"wrote {path} ({len(content) / 1e6:.1f} MB); docs/submit.md says where it goes")


@app.command()
@guarded
def verify(
    bundle: Annotated[Path, typer.Argument(help="What `submit` wrote.")],
    results: Results = Path("results"),
    into: Annotated[
        Path | None, typer.Option(help="Then put its runs here, where the page is made from.")
    ] = None,
    rerun: Annotated[
        int | None, typer.Option(metavar="SEED", help="Run this seed again, from nothing.")
    ] = None,
    markdown: Annotated[Path | None, typer.Option(help="Write a summary for a CI job.")] = None,
) -> None:
    """Check a bundle from nothing but itself and the published table; exit code 3 if refused."""
    import tempfile

    from bench.grid import markdown_page
    from leaderboard.regression.baseline import write_text
    from leaderboard.submission.bundle import place, unpack
    from leaderboard.submission.offer import Offer
    from leaderboard.submission.rules import review
    from leaderboard.views.submission import review_grid

    with tempfile.TemporaryDirectory(prefix="bench-verify-") as fresh:
        manifest, runs = unpack(bundle, Path(fresh) / "runs")
        texts, unchecked = manifest.texts, ""
        try:
            texts = _texts(runs)
        except UserError as error:
            unchecked = str(error)
        told = review(Offer(runs, frozenset(manifest.declared), texts, unchecked), results)
        if rerun is not None:
            told.findings.append(_repeated(runs, rerun, Path(fresh)))
        if markdown is not None:
            write_text(markdown, markdown_page([review_grid(told)]))
        _end(told, "not taken")
        if into is not None:
            for folder in place(runs, into):
                typer.echo(folder)


def _folders(run: Path) -> list[Path]:
    """The folder of a run, or those of all runs below a folder.

    Raises:
        UserError: there is no run.
    """
    from bench.records.files import record_files

    found = record_files(run) if run.is_dir() else [run]
    if not found:
        raise UserError(f"no run in {run}")
    return [path.parent for path in found]


def _texts(runs: Sequence[Run]) -> Texts:
    """What the suite of some runs says of its texts.

    Raises:
        UserError: it is not here.
    """
    from bench.running.drawn import drawn
    from leaderboard.submission.offer import Texts
    from leaderboard.submission.overlap import overlap

    found = drawn(run.record for run in runs)
    seen = overlap(found.training, found.evaluation)
    return Texts(overlap=seen, licence=found.licence, may_be_shown=found.may_show_texts)


def _end(told: Review, but: str) -> None:
    """Show the verdicts; end where one of them refuses the row."""
    from leaderboard.submission.findings import REFUSED
    from leaderboard.views.submission import review_grid

    show(review_grid(told))
    if refused := told.having("refused"):
        fail(f"{but}: {told.label} is refused by {', '.join(refused)}", REFUSED)


def _repeated(runs: Sequence[Run], seed: int, fresh: Path) -> Finding:
    """The verdict of running one seed again."""
    from leaderboard.submission.repeated import repetition

    chosen = next((run for run in runs if run.record.seed == seed), None)
    if chosen is None:
        known = ", ".join(str(run.record.seed) for run in runs)
        raise UserError(f"--rerun {seed}: the bundle has no such seed (seeds there: {known})")
    use_threads(chosen.record.hardware.threads)
    from bench.pipeline.progress import Progress
    from bench.pipeline.store import Store
    from bench.running.rerun import repeat

    progress = Progress()
    store = Store(fresh / "store", warn=progress.say)
    new = repeat(chosen, store=store, results=fresh / "again", progress=progress)
    return repetition(chosen, new.run, runs)
