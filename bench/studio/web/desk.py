"""What all pages share: who asks, for which task, forms that are checked, errors that are shown."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from markupsafe import Markup
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from bench.errors import UserError
from bench.studio.study import Study
from bench.studio.tasks import TaskName
from bench.studio.web.access import Access, Visitor, keep
from bench.studio.web.forms import Fields, field, read_form
from bench.studio.web.render import Renderer

Action = Callable[[Request, Visitor, TaskName, Fields], Response]


class Desk:
    """Serves a study's visitors.

    Args:
        study: whose.
        guides: instructions for each task that is served.

    Attributes:
        study: as given.
        guides: as given.
        access: who is let in.
        render: the templates.
    """

    def __init__(self, study: Study, guides: Mapping[TaskName, Markup]) -> None:
        self.study, self.guides = study, guides
        self.access, self.render = Access(study), Renderer()

    def form(self, action: Action) -> Callable[[Request], Any]:
        """An endpoint that reads a form, and lets in whoever may send it."""

        async def endpoint(request: Request) -> Response:
            fields = await read_form(request)
            return await run_in_threadpool(self._checked, action, request, fields)

        return endpoint

    def task(self, request: Request) -> TaskName:
        """Of a page's address.

        Raises:
            HTTPException: it is not served (404).
        """
        for task in self.guides:
            if task == request.path_params["task"]:
                return task
        raise HTTPException(404, "There is no such page.")

    def page(
        self, request: Request, visitor: Visitor, template: str, **values: Any
    ) -> HTMLResponse:
        """A whole page."""
        shared = {"tasks": list(self.guides), "person": visitor.person}
        response = HTMLResponse(self.render(template, **shared | values))
        keep(response, request, visitor)
        return response

    def part(self, said: str, **values: Any) -> HTMLResponse:
        """What takes the place of an item that was answered."""
        return HTMLResponse(self.render("work.html", **values), headers={"Studio-Said": said})

    def problem(self, request: Request, error: Exception) -> Response:
        """An error as a page, or as the line that a page shows."""
        status, headers = 503, None
        if isinstance(error, HTTPException):
            status, text, headers = error.status_code, error.detail, error.headers
        else:
            text = str(error)
            if isinstance(error, UserError) and error.exit_code == 2:
                status = 422
        if "hx-request" in request.headers:
            return Response(text, status, headers, "text/plain")
        return HTMLResponse(self.render("problem.html", status=status, text=text), status, headers)

    def _checked(self, action: Action, request: Request, fields: Fields) -> Response:
        task, visitor = self.task(request), self.access.by_cookie(request)
        if not visitor.owns(field(fields, "csrf", "")):
            raise HTTPException(403, "This page is an old one: load it once more.")
        return action(request, visitor, task, fields)
