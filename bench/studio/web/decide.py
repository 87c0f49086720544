"""The pages of adjudicators: what each person said, and the answer that counts in its place."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from bench.studio.adjudication import Dispute, NoDispute
from bench.studio.answers import Checker
from bench.studio.queue import Assigned
from bench.studio.results import Answered, Given
from bench.studio.settings import Settings
from bench.studio.study import Progress
from bench.studio.tasks import TaskName
from bench.studio.web.access import Visitor
from bench.studio.web.desk import Desk
from bench.studio.web.forms import Fields, answer_of
from bench.studio.web.values import item_values, page_values


class Decisions:
    """Items on which people disagree, one at a time.

    Args:
        desk: of the study.
    """

    def __init__(self, desk: Desk) -> None:
        self._desk, self._study = desk, desk.study

    def routes(self) -> list[Route]:
        """Of all these pages; they go before those of people who answer."""
        form = self._desk.form
        return [
            Route("/{task}/decide", self.work),
            Route("/{task}/decide/undo", form(self.undo), methods=["POST"]),
            Route("/{task}/decide/{item}", form(self.answer), methods=["POST"]),
            Route("/{task}/decide/{item}/draft", form(self.draft), methods=["POST"]),
        ]

    def work(self, request: Request) -> Response:
        """The next item that nobody decided."""
        task, visitor = self._desk.task(request), self._desk.access.by_cookie(request)
        values = self._values(visitor, task)
        return self._desk.page(request, visitor, "page.html", **values)

    def answer(
        self, request: Request, visitor: Visitor, task: TaskName, fields: Fields
    ) -> Response:
        """Keep a decision; the next item."""
        self._dispute(request, visitor, task)
        self._study.adjudicate(visitor.person, request.path_params["item"], answer_of(task, fields))
        return self._desk.part("Saved", **self._values(visitor, task))

    def draft(self, request: Request, visitor: Visitor, task: TaskName, fields: Fields) -> Response:
        """Show what a decision comes to so far; it is kept when it is made."""
        dispute = self._dispute(request, visitor, task)
        headers = {"Studio-Said": ""}
        if task not in ("edit", "spans"):
            return Response(status_code=204, headers=headers)
        given, settings = _assigned(dispute.answered), self._study.settings()
        checker = Checker(given.item, given.shown, settings)
        said = checker.checked(answer_of(task, fields), done=False)
        values = page_values(visitor, task, Progress(0, 0, None), f"/{task}/decide")
        values |= item_values(replace(given, answer=said.model_dump()), settings)
        return HTMLResponse(self._desk.render(f"{task}_draft.html", **values), headers=headers)

    def undo(self, request: Request, visitor: Visitor, task: TaskName, fields: Fields) -> Response:
        """Take back the last decision; its item."""
        _check(visitor)
        item = self._study.undo_adjudication(visitor.person, task)
        said = "There is nothing to undo" if item is None else "Undone"
        return self._desk.part(said, **self._values(visitor, task, item))

    def _dispute(self, request: Request, visitor: Visitor, task: TaskName) -> Dispute:
        """The item of the address."""
        _check(visitor)
        try:
            found = self._study.dispute(visitor.person, request.path_params["item"])
        except NoDispute as error:
            raise HTTPException(404, "People do not disagree on this item.") from error
        if found.answered.item.task != task:
            raise HTTPException(404, "People do not disagree on this item.")
        return found

    def _values(self, visitor: Visitor, task: TaskName, item: str | None = None) -> dict[str, Any]:
        """Of one item's page: the named one, else the first that nobody decided."""
        _check(visitor)
        found = self._study.disputes(visitor.person, task)
        left = [one.answered for one in found if one.answered.adjudicated is None]
        named = [one.answered for one in found if one.answered.item.id == item]
        progress = Progress(len(found) - len(left), len(left), None)
        values = page_values(visitor, task, progress, f"/{task}/decide")
        answered = next(iter((*named, *left)), None)
        if answered is None:
            return values
        others = [_said(one) | {"person": one.person} for one in answered.given]
        shown = item_values(_assigned(answered), self._study.settings())
        return values | shown | {"others": others}


def _check(visitor: Visitor) -> None:
    if not visitor.person.adjudicates:
        raise HTTPException(404, "There is no such page.")


def _assigned(answered: Answered) -> Assigned:
    """The item in its own order, with the first person's answer to begin with."""
    own_order = tuple(range(len(answered.item.responses)))
    return Assigned(answered.item, own_order, _begun(answered.first), done=False, seconds=0.0)


def _begun(first: Given | None) -> dict[str, Any] | None:
    value = None if first is None else first.value
    if first is None or value is None:
        return None
    if "text" in value:
        return {"kind": "edit", "text": value["text"], "reasons": []}
    if "ranks" in value:
        ranks = value["ranks"]
        return {"kind": "rank", "order": sorted(range(len(ranks)), key=ranks.__getitem__)}
    return first.answer.model_dump()


def _said(given: Given) -> dict[str, Any]:
    """What a person said, for the template: in the item's own order, or that there is no value."""
    if given.value is None:
        return {"none": given.answer.kind}
    own_order = tuple(range(len(given.item.responses)))
    begun = Assigned(given.item, own_order, _begun(given), done=True, seconds=0.0)
    if "preference" in given.value:
        return {"preference": given.value["preference"]}
    return item_values(begun, Settings())
