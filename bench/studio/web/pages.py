"""What each address answers.

A page is whole, or the part of it that a form's answer takes the place of; what was saved is on the
disk before the answer is sent.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, get_args

from markupsafe import Markup
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from bench.errors import UserError
from bench.studio.answers import Reason, Severity
from bench.studio.queue import Assigned
from bench.studio.study import NotGiven, Study
from bench.studio.tasks import TaskName, ToEdit
from bench.studio.web.access import Access, Visitor, keep
from bench.studio.web.forms import Fields, answer_of, field, read_form, seconds_of
from bench.studio.web.render import Renderer
from bench.studio.web.texts import live, stretches

_ANSWERED = "It was answered already, and stays as it was."
Action = Callable[[Request, Visitor, TaskName, Fields], Response]


class Pages:
    """The pages of a study.

    Args:
        study: whose.
        guides: instructions for each task that is served.
        render: the templates.
    """

    def __init__(
        self, study: Study, guides: Mapping[TaskName, Markup], render: Renderer | None = None
    ) -> None:
        self._study, self._guides = study, guides
        self._render = render or Renderer()
        self._access = Access(study)

    def routes(self) -> list[Route]:
        """Of all pages."""
        return [
            Route("/", self.enter),
            Route("/welcome", self.welcome),
            Route("/{task}", self.work),
            Route("/{task}/guide", self.guide),
            Route("/{task}/undo", self._form(self.undo), methods=["POST"]),
            Route("/{task}/{item}", self._form(self.answer), methods=["POST"]),
            Route("/{task}/{item}/draft", self._form(self.draft), methods=["POST"]),
        ]

    def enter(self, request: Request) -> Response:
        """Let somebody in by a link, or show those who are in where to go on."""
        token = request.query_params.get("token")
        if token is not None:
            visitor = self._access.by_link(request, token)
            response: Response = RedirectResponse("/welcome", 303)
            keep(response, request, visitor)
            return response
        visitor = self._access.by_cookie(request)
        progress = {task: self._study.progress(visitor.person, task) for task in self._guides}
        if len(progress) > 1:
            return self._page(request, visitor, "home.html", progress=progress)
        ((task, one),) = progress.items()
        return RedirectResponse(f"/{task}" if one.done else f"/{task}/guide", 303)

    def welcome(self, request: Request) -> Response:
        """Go on from here: a cookie that is `SameSite=Strict` is not sent along a redirect that
        began on another site, as a click on a link in a letter does.
        """  # noqa: D205
        return HTMLResponse(self._render("welcome.html"))

    def work(self, request: Request) -> Response:
        """The person's next item."""
        task, visitor = self._task(request), self._access.by_cookie(request)
        given = self._study.next(visitor.person, task)
        return self._page(request, visitor, "page.html", **self._values(visitor, task, given))

    def guide(self, request: Request) -> Response:
        """The instructions."""
        task, visitor = self._task(request), self._access.by_cookie(request)
        values = {"task": task, "guide": self._guides[task]}
        return self._page(request, visitor, "guide.html", **values)

    def answer(
        self, request: Request, visitor: Visitor, task: TaskName, fields: Fields
    ) -> Response:
        """Keep an answer; the next item."""
        given = self._given(request, visitor, task)
        if not given.done:
            self._save(visitor, given, fields, done=True)
        upcoming = self._study.next(visitor.person, task)
        return self._part(visitor, task, upcoming, _ANSWERED if given.done else "Saved")

    def draft(self, request: Request, visitor: Visitor, task: TaskName, fields: Fields) -> Response:
        """Keep an answer as it stands; what it comes to so far."""
        given = self._given(request, visitor, task)
        if given.done:
            raise HTTPException(409, _ANSWERED)
        self._save(visitor, given, fields, done=False)
        if task in ("edit", "spans"):
            saved = self._study.item(visitor.person, given.item.id)
            shown = self._render(f"{task}_draft.html", **self._values(visitor, task, saved))
            return HTMLResponse(shown)
        return Response(status_code=204)

    def undo(self, request: Request, visitor: Visitor, task: TaskName, fields: Fields) -> Response:
        """Take back the last action; its item."""
        given = self._study.undo(visitor.person, task)
        said = "There is nothing to undo" if given is None else "Undone"
        if given is None or given.done:
            given = self._study.next(visitor.person, task)
        return self._part(visitor, task, given, said)

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
        return HTMLResponse(self._render("problem.html", status=status, text=text), status, headers)

    def _form(self, action: Action) -> Callable[[Request], Any]:
        """An endpoint that reads a form, and lets in whoever may send it."""

        async def endpoint(request: Request) -> Response:
            fields = await read_form(request)
            return await run_in_threadpool(self._checked, action, request, fields)

        return endpoint

    def _checked(self, action: Action, request: Request, fields: Fields) -> Response:
        task, visitor = self._task(request), self._access.by_cookie(request)
        if not visitor.owns(field(fields, "csrf", "")):
            raise HTTPException(403, "This page is an old one: load it once more.")
        return action(request, visitor, task, fields)

    def _task(self, request: Request) -> TaskName:
        for task in self._guides:
            if task == request.path_params["task"]:
                return task
        raise HTTPException(404, "There is no such page.")

    def _given(self, request: Request, visitor: Visitor, task: TaskName) -> Assigned:
        """The item of the address, which has to be the person's own."""
        try:
            given = self._study.item(visitor.person, request.path_params["item"])
        except NotGiven as error:
            raise HTTPException(404, "This item is not one of yours.") from error
        if given.item.task != task:
            raise HTTPException(404, "This item is not one of yours.")
        return given

    def _save(self, visitor: Visitor, given: Assigned, fields: Fields, *, done: bool) -> None:
        answer = answer_of(given.item.task, fields)
        if not done and answer == given.answer:  # else undo would seem to do nothing
            return
        seconds = seconds_of(fields)
        self._study.save(visitor.person, given.item.id, answer, seconds=seconds, done=done)

    def _part(
        self, visitor: Visitor, task: TaskName, given: Assigned | None, said: str
    ) -> Response:
        text = self._render("work.html", **self._values(visitor, task, given))
        return HTMLResponse(text, headers={"Studio-Said": said})

    def _page(
        self, request: Request, visitor: Visitor, template: str, **values: Any
    ) -> HTMLResponse:
        shared = {"tasks": list(self._guides), "person": visitor.person}
        response = HTMLResponse(self._render(template, **shared | values))
        keep(response, request, visitor)
        return response

    def _values(self, visitor: Visitor, task: TaskName, given: Assigned | None) -> dict[str, Any]:
        """What the templates of an item need."""
        settings = self._study.settings()
        values: dict[str, Any] = {
            "task": task,
            "given": given,
            "progress": self._study.progress(visitor.person, task),
            "csrf": visitor.form_token,
        }
        if given is None:
            return values
        said = given.answer or {}
        match given.item.task:
            case "edit":
                content = given.item.content
                assert isinstance(content, ToEdit)
                text = said.get("text", content.original)
                reasons = {name: name in said.get("reasons", ()) for name in get_args(Reason)}
                shown = live(content, text, settings.max_changed)
                values |= {"text": text, "reasons": reasons, "live": shown}
            case "rank":
                values["order"] = said.get("order", list(range(len(given.texts))))
            case "spans":
                spans = said.get("spans", [])
                values |= {
                    "spans": spans,
                    "stretches": stretches(given.texts[0], spans),
                    "types": settings.span_types,
                    "severities": get_args(Severity),
                }
        return values
