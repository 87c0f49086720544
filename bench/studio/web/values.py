"""What the templates of an item need to know."""

from __future__ import annotations

from typing import Any, get_args

from bench.studio.answers import Reason, Severity
from bench.studio.queue import Assigned
from bench.studio.settings import Settings
from bench.studio.study import Progress
from bench.studio.tasks import TaskName, ToEdit
from bench.studio.web.access import Visitor
from bench.studio.web.texts import live, stretches


def page_values(visitor: Visitor, task: TaskName, progress: Progress, base: str) -> dict[str, Any]:
    """Of the page around the item; `base` begins the addresses of its forms."""
    token = visitor.form_token
    return {"task": task, "given": None, "progress": progress, "csrf": token, "base": base}


def item_values(given: Assigned, settings: Settings) -> dict[str, Any]:
    """Of an item, with the answer that it has so far."""
    said, content = given.answer or {}, given.item.content
    values: dict[str, Any] = {"given": given}
    if isinstance(content, ToEdit):
        text = said.get("text", content.original)
        reasons = {name: name in said.get("reasons", ()) for name in get_args(Reason)}
        shown = live(content, text, settings.limits)
        return values | {"text": text, "reasons": reasons, "live": shown}
    if given.item.task == "rank":
        return values | {"order": said.get("order", list(range(len(given.texts))))}
    if given.item.task == "spans":
        spans = said.get("spans", [])
        values |= {"spans": spans, "stretches": stretches(given.texts[0], spans)}
        return values | {"types": settings.span_types, "severities": get_args(Severity)}
    return values
