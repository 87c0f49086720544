"""The verbs of `studio`: people edit, prefer, rank and mark, and what comes of it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli.app import app
from bench.cli.terminal import guarded, show
from bench.errors import UserError

if TYPE_CHECKING:
    from bench.studio.results import Results
    from bench.studio.study import Study
    from bench.studio.tasks import TaskName

studio = typer.Typer(
    name="studio",
    help="People edit, prefer, rank and mark: docs/studio.md.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(studio)

Db = Annotated[Path, typer.Argument(metavar="STUDY.db", help="The study's file.")]
Task = Annotated[
    str | None,
    typer.Option(help="edit, prefer, rank or spans; may be left out where a study has one."),
]


FILE = "What is to be answered: .json or .jsonl, or with .gz; a run's folder: its pairs."
Store = Annotated[
    Path | None, typer.Option(help="Where a run's pairs are; default: BENCH_STORE or a cache.")
]
Overlap = Annotated[int | None, typer.Option(help="People an item of the share.")]
Share = Annotated[float | None, typer.Option(help="Of the items that --overlap people answer.")]


@studio.command()
@guarded
def add(
    db: Db,
    file: Annotated[Path | None, typer.Argument(help=FILE)] = None,
    task: Task = None,
    store: Store = None,
    gold: Annotated[
        Path | None, typer.Option(help="Items with known answers, hidden among the others.")
    ] = None,
    overlap: Overlap = None,
    share: Share = None,
    gold_rate: Annotated[float | None, typer.Option(help="Share of hidden items.")] = None,
    lease_s: Annotated[
        float | None, typer.Option(help="Seconds until an unfinished item goes to others.")
    ] = None,
    max_changed: Annotated[
        float | None, typer.Option(help="Largest share of words that an edit may replace.")
    ] = None,
    span_types: Annotated[
        str | None, typer.Option(metavar="TYPE,...", help="Of marked errors; `,`: any.")
    ] = None,
) -> None:
    """Add a file's items to a study, which is made where it is not there; change its settings."""
    from bench.studio.tasks import TASKS, check_task

    name = None if task is None else check_task(task)
    if not db.exists() and (file is None or name is None):
        what = f"a new one needs a file of items and --task ({', '.join(TASKS)})"
        raise UserError(f"there is no study {db}: {what}")
    if file is not None:
        file = items_file(file, name, store)
    with _opened(db, create=file is not None and name is not None) as study:
        chosen = _task(study, task, new=True) if file or gold else None
        study.set(
            overlap=overlap,
            share=share,
            gold_rate=gold_rate,
            lease_s=lease_s,
            max_changed=max_changed,
            span_types=None if span_types is None else _types(span_types),
        )
        if file is not None and chosen is not None:
            add_items(study, file, chosen)
        if gold is not None and chosen is not None:
            added = study.add_golds(gold, chosen)
            show(f"{gold}: {added.golds} known answers added, of {added.new + added.known}")
        values = study.settings().model_dump()
        show("settings: " + ", ".join(f"{key}={value}" for key, value in values.items()))


@studio.command()
@guarded
def people(
    db: Db,
    add: Annotated[str | None, typer.Option(metavar="NAME", help="Print a link, once.")] = None,
    revoke: Annotated[
        str | None, typer.Option(metavar="NAME", help="End a link; the answers stay.")
    ] = None,
    adjudicator: Annotated[
        bool, typer.Option("--adjudicator", help="With --add: may decide where people disagree.")
    ] = False,
    url: Annotated[str, typer.Option(help="Where the studio is served.")] = "http://127.0.0.1:8765",
) -> None:
    """Who works on a study; without people a study has one user, `you`."""
    from bench.grid import words

    if adjudicator and add is None:
        raise UserError("--adjudicator says of whom --add NAME invites: give both")
    if not re.fullmatch(r"https?://[^\s/?#]+/?", url):
        raise UserError(f"--url {url} is no address of a studio, as http://192.168.1.7:8765 is")
    with _opened(db) as study:
        if revoke is not None:
            study.revoke(revoke)
            show(f"{revoke}'s link has ended")
        if add is not None:
            show(f"{url.rstrip('/')}/?token={study.invite(add, adjudicates=adjudicator)}")
        if add is None and revoke is None:
            rows = [
                [one.name, *("yes" if yes else "no" for yes in (one.invited, one.adjudicates))]
                for one in study.people()
            ]
            show(words("People", ["Name", "Has a link", "Adjudicates"], rows))


@studio.command()
@guarded
def export(
    db: Db,
    out: Annotated[Path, typer.Option(help="JSONL file in the shape that training reads.")],
    task: Task = None,
) -> None:
    """Write what people said; hidden items are left out. People may go on working."""
    from bench.studio.export import export as write
    from bench.studio.show import exported_line

    results = _results(db, task)
    show(exported_line(write(results, out), str(out)))


@studio.command()
@guarded
def report(
    db: Db,
    task: Task = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write the numbers to this file.")
    ] = None,
) -> None:
    """Agreement, time an item, accuracy on hidden items, disagreements."""
    from bench.files import write_json_option
    from bench.studio.report import make_report
    from bench.studio.show import report_tables

    found = make_report(_results(db, task))
    if json_file is not None:
        write_json_option(json_file, json.dumps(found.as_dict(), indent=1) + "\n")
    show(*report_tables(found))


@studio.command()
@guarded
def backup(db: Db, out: Annotated[Path, typer.Option(help="A new file.")]) -> None:
    """Copy a study as it is now, while people work, into one file."""
    with _opened(db) as study:
        study.database.backup(out)
    show(f"{db} copied to {out}")


@contextmanager
def _opened(db: Path, *, create: bool = False) -> Iterator[Study]:
    from bench.studio.study import Study

    study = Study(db, create=create)
    try:
        yield study
    finally:
        study.close()


def items_file(file: Path, task: TaskName | None, store: Path | None) -> Path:
    """The file of the items: of a run's folder its pairs in the store.

    Where the task is known it is read, so that a wrong file leaves no empty study behind.
    """
    from bench.studio.tasks import read_items

    if file.is_dir():  # what it takes to know a run is slow to import
        from bench.pipeline import store as stores
        from bench.running.stored import pairs_file

        file = pairs_file(file, stores.Store(store))
    if task is not None:
        read_items(file, task)
    return file


def add_items(study: Study, file: Path, task: TaskName) -> None:
    """Add a file's items, and say how many."""
    added = study.add(file, task)
    show(f"{file}: {added.new} items added, {added.known} were there already")


def _results(db: Path, task: str | None) -> Results:
    from bench.studio.results import results_of

    with _opened(db) as study:
        name = _task(study, task)
        with study.database.read() as connection:
            return results_of(connection, name)


def _types(listed: str) -> list[str]:
    """The types of a list; none: any."""
    return list(dict.fromkeys(kind for part in listed.split(",") if (kind := part.strip())))


def _task(study: Study, given: str | None, *, new: bool = False) -> TaskName:
    """The task that was named, or the only one of the study; `new`: it may have no item yet."""
    from bench.studio.tasks import TASKS, check_task

    named, there = None if given is None else check_task(given), study.tasks()
    if named is not None and (new or named in there):
        return named
    if named is None and len(there) == 1:
        return there[0]
    what = f"has {' and '.join(there)}" if there else "has no items"
    raise UserError(f"the study {what}: name a task with --task ({', '.join(there or TASKS)})")
