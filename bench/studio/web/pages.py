"""The pages of people who answer.

A page is whole, or the part of it that a form's answer takes the place of; what was saved is on the
disk before the answer is sent.
"""

from __future__ import annotations

from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from bench.studio.queue import Assigned
from bench.studio.study import NotGiven
from bench.studio.tasks import TaskName
from bench.studio.web.access import Visitor, keep
from bench.studio.web.desk import Desk
from bench.studio.web.forms import Fields, answer_of, seconds_of
from bench.studio.web.values import item_values, page_values

_ANSWERED = "It was answered already, and stays as it was."


class Pages:
    """Entry, instructions, items.

    Args:
        desk: of the study.
    """

    def __init__(self, desk: Desk) -> None:
        self._desk, self._study = desk, desk.study

    def routes(self) -> list[Route]:
        """Of all these pages."""
        form = self._desk.form
        return [
            Route("/", self.enter),
            Route("/welcome", self.welcome),
            Route("/{task}", self.work),
            Route("/{task}/guide", self.guide),
            Route("/{task}/undo", form(self.undo), methods=["POST"]),
            Route("/{task}/{item}", form(self.answer), methods=["POST"]),
            Route("/{task}/{item}/draft", form(self.draft), methods=["POST"]),
        ]

    def enter(self, request: Request) -> Response:
        """Let somebody in by a link, or show those who are in where to go on."""
        token = request.query_params.get("token")
        if token is not None:
            visitor = self._desk.access.by_link(request, token)
            response: Response = RedirectResponse("/welcome", 303)
            keep(response, request, visitor)
            return response
        visitor = self._desk.access.by_cookie(request)
        progress = {task: self._study.progress(visitor.person, task) for task in self._desk.guides}
        if len(progress) > 1:
            return self._desk.page(request, visitor, "home.html", progress=progress)
        ((task, one),) = progress.items()
        return RedirectResponse(f"/{task}" if one.done else f"/{task}/guide", 303)

    def welcome(self, request: Request) -> Response:
        """Go on from here, by the page itself.

        A cookie that is `SameSite=Strict` is not sent along a redirect that began on another site,
        as a click on a link in a letter does.
        """
        return HTMLResponse(self._desk.render("welcome.html"))

    def work(self, request: Request) -> Response:
        """The person's next item."""
        task, visitor = self._desk.task(request), self._desk.access.by_cookie(request)
        given = self._study.next(visitor.person, task)
        return self._desk.page(request, visitor, "page.html", **self._values(visitor, task, given))

    def guide(self, request: Request) -> Response:
        """The instructions."""
        task, visitor = self._desk.task(request), self._desk.access.by_cookie(request)
        values = {"task": task, "guide": self._desk.guides[task]}
        return self._desk.page(request, visitor, "guide.html", **values)

    def answer(
        self, request: Request, visitor: Visitor, task: TaskName, fields: Fields
    ) -> Response:
        """Keep an answer; the next item."""
        given = self._given(request, visitor, task)
        if not given.done:
            self._save(visitor, given, fields, done=True)
        upcoming = self._study.next(visitor.person, task)
        said = _ANSWERED if given.done else "Saved"
        return self._desk.part(said, **self._values(visitor, task, upcoming))

    def draft(self, request: Request, visitor: Visitor, task: TaskName, fields: Fields) -> Response:
        """Keep an answer as it stands; what it comes to so far."""
        given = self._given(request, visitor, task)
        if given.done:
            raise HTTPException(409, _ANSWERED)
        self._save(visitor, given, fields, done=False)
        if task not in ("edit", "spans"):
            return Response(status_code=204)
        saved = self._study.item(visitor.person, given.item.id)
        values = self._values(visitor, task, saved)
        return HTMLResponse(self._desk.render(f"{task}_draft.html", **values))

    def undo(self, request: Request, visitor: Visitor, task: TaskName, fields: Fields) -> Response:
        """Take back the last action; its item."""
        given = self._study.undo(visitor.person, task)
        said = "There is nothing to undo" if given is None else "Undone"
        if given is None or given.done:
            given = self._study.next(visitor.person, task)
        return self._desk.part(said, **self._values(visitor, task, given))

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

    def _values(self, visitor: Visitor, task: TaskName, given: Assigned | None) -> dict[str, Any]:
        progress = self._study.progress(visitor.person, task)
        values = page_values(visitor, task, progress, f"/{task}")
        return values if given is None else values | item_values(given, self._study.settings())
