"""The application: pages, static files, errors, and the guard around all of it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

from markupsafe import Markup
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles

from bench.errors import UserError
from bench.studio.study import Study
from bench.studio.tasks import TaskName
from bench.studio.web.decide import Decisions
from bench.studio.web.desk import Desk
from bench.studio.web.guard import Guard
from bench.studio.web.pages import Pages

_STATIC = Path(__file__).with_name("static")


def create_app(
    study: Study, guides: Mapping[TaskName, Markup], names: Collection[str] = ()
) -> Starlette:
    """The application of a study.

    Args:
        study: an open one.
        guides: instructions for each task that is served.
        names: host names that it answers to, see `Guard`.
    """
    desk = Desk(study, guides)
    static = Mount("/static", StaticFiles(directory=_STATIC))
    return Starlette(
        routes=[static, *Decisions(desk).routes(), *Pages(desk).routes()],
        middleware=[Middleware(Guard, names=names)],
        exception_handlers={HTTPException: desk.problem, UserError: desk.problem},
    )
