"""What a page sends: a form, its size and kind checked, and the answer that it holds.

A form is read as `application/x-www-form-urlencoded` alone: files cannot be sent.
"""

from __future__ import annotations

import json
import math
from typing import Any
from urllib.parse import parse_qs

from starlette.exceptions import HTTPException
from starlette.requests import Request

from bench.errors import UserError
from bench.studio.answers import KINDS
from bench.studio.study import LONGEST_S
from bench.studio.tasks import LONGEST, TaskName

LARGEST = 4 * LONGEST  # bytes of a form
_FIELDS = 100
_KIND = "application/x-www-form-urlencoded"
Fields = dict[str, list[str]]


async def read_form(request: Request) -> Fields:
    """The fields of a form.

    Raises:
        HTTPException: it is another kind of content (415), too large (413) or garbled (400).
    """
    if request.headers.get("content-type", "").partition(";")[0].strip() != _KIND:
        raise HTTPException(415, "The studio takes forms, and no files.")
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > LARGEST:
            raise HTTPException(413, f"This is longer than {LARGEST >> 10} KiB.")
    try:
        return parse_qs(
            body.decode(), keep_blank_values=True, max_num_fields=_FIELDS, errors="strict"
        )
    except ValueError as error:
        raise HTTPException(400, "This is no form that the studio sent.") from error


def answer_of(task: TaskName, fields: Fields) -> dict[str, Any]:
    """The answer in a form, as `Study.save` takes it; without a kind it is the task's first.

    Raises:
        UserError: a field is missing or garbled.
    """
    kind = field(fields, "kind", KINDS[task][0])
    try:
        match kind:
            case "edit":
                reasons = fields.get("reason", [])
                return {"kind": kind, "text": field(fields, "text"), "reasons": reasons}
            case "prefer":
                return {"kind": kind, "choice": field(fields, "choice")}
            case "rank":
                order = [int(place) for place in field(fields, "order").split(",")]
                return {"kind": kind, "order": order}
            case "spans":
                return {"kind": kind, "spans": json.loads(field(fields, "spans"))}
    except (ValueError, RecursionError) as error:  # lists in lists in lists
        raise UserError(f"the form's answer to {task} is garbled: {error}") from error
    return {"kind": kind}


def seconds_of(fields: Fields) -> float:
    """The time that the page says it took, within what a study takes."""
    try:
        seconds = float(field(fields, "seconds", "0"))
    except ValueError:
        return 0.0
    return min(max(seconds, 0.0), LONGEST_S) if math.isfinite(seconds) else 0.0


def field(fields: Fields, name: str, default: str | None = None) -> str:
    """The first value of a field.

    Raises:
        UserError: it is missing, and there is no default.
    """
    if name in fields:
        return fields[name][0]
    if default is None:
        raise UserError(f"the form has no field {name}")
    return default
