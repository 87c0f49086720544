"""The verbs of `studio` that serve the page: one for each task, and one for a study as it is."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli.studio import FILE, Db, Overlap, Share, Store, add_items, items_file, studio
from bench.cli.terminal import guarded, show
from bench.errors import UserError

if TYPE_CHECKING:
    from bench.studio.tasks import TaskName
    from bench.studio.web.serve import Page

_VERBS: dict[TaskName, str] = {
    "edit": "Serve a page on which people edit responses as little as makes them good.",
    "prefer": "Serve a page on which people say which of two responses is better.",
    "rank": "Serve a page on which people put responses in order.",
    "spans": "Serve a page on which people mark the errors of a response.",
}

File = Annotated[Path, typer.Argument(help=FILE)]
Made = Annotated[
    Path, typer.Option("--db", metavar="STUDY.db", help="The study; made where it is not there.")
]
Port = Annotated[int, typer.Option(help="0: a free one.", min=0, max=65535)]
Host = Annotated[
    str, typer.Option(help="Another one lets others in: then each needs a link (`people --add`).")
]
Names = Annotated[
    list[str] | None,
    typer.Option("--name", help="By which others call this machine, as studio.lan; repeatable."),
]
Instructions = Annotated[
    Path | None, typer.Option(metavar="FILE.md", help="For the people, instead of the built-in.")
]


def _add_verb(task: TaskName) -> None:
    """A verb of the task's name."""

    @studio.command(task, help=f"{_VERBS[task]} Ctrl-C ends it.")
    @guarded
    def verb(
        file: File,
        db: Made,
        port: Port = 8765,
        host: Host = "127.0.0.1",
        names: Names = None,
        instructions: Instructions = None,
        overlap: Overlap = None,
        share: Share = None,
        store: Store = None,
    ) -> None:
        from bench.studio.study import Study

        page = _page(host, port, names, instructions)
        file = items_file(file, task, store)
        with closing(Study(db, create=True)) as study:
            study.set(overlap=overlap, share=share)
            add_items(study, file, task)
            page.serve(study, (task,), show)


for _task in _VERBS:
    _add_verb(_task)


@studio.command()
@guarded
def serve(
    db: Db,
    port: Port = 8765,
    host: Host = "127.0.0.1",
    names: Names = None,
    instructions: Instructions = None,
) -> None:
    """Serve the page of a study, with all its tasks. Ctrl-C ends it."""
    from bench.studio.study import Study

    page = _page(host, port, names, instructions)
    with closing(Study(db)) as study:
        tasks = study.tasks()
        if not tasks:
            raise UserError(f"the study {db} has no items: `python -m bench studio add` adds some")
        page.serve(study, tasks, show)


def _page(host: str, port: int, names: list[str] | None, instructions: Path | None) -> Page:
    """How the page is to be served, checked before anything is written."""
    try:
        from bench.studio.web.serve import Page
    except ModuleNotFoundError as error:
        how = "pip install -c constraints.txt -e '.[studio]'"
        raise UserError(f"the page needs {error.name}: {how}") from error
    return Page(host, port, tuple(names or ()), instructions)
