"""People at the page of a study, without a browser: what they see, and forms as it sends them."""

from __future__ import annotations

import html
import re
from collections.abc import Collection
from typing import Any

from httpx2 import Response
from starlette.testclient import TestClient

from bench.studio.study import Study
from bench.studio.web.app import create_app
from bench.studio.web.guide import guide

URL = "http://127.0.0.1:8765"
HTMX = {"HX-Request": "true"}


class Visit:
    """One person's browser.

    Args:
        study: whose page it opens.
        token: of the person; None: of nobody.
        names: of hosts that the page goes by.
        beside: another visit, to the same server.
    """

    def __init__(
        self,
        study: Study,
        token: str | None = None,
        names: Collection[str] = (),
        beside: Visit | None = None,
    ) -> None:
        guides = {task: guide(task) for task in study.tasks()}
        self.app = beside.app if beside else create_app(study, guides, names)
        self.client = TestClient(self.app, base_url=URL, raise_server_exceptions=True)
        if token is not None:
            assert self.client.get("/", params={"token": token}).status_code == 200

    def get(self, path: str, **options: Any) -> Response:
        return self.client.get(path, **options)

    def page(self, task: str) -> str:
        """The page of the next item."""
        response = self.client.get(f"/{task}")
        assert response.status_code == 200, response.text
        return response.text

    def send(self, path: str, csrf: str, **fields: Any) -> Response:
        """A form, as htmx sends it."""
        return self.client.post(path, data={"csrf": csrf} | fields, headers=HTMX)

    def answer(self, page: str, *, draft: bool = False, **fields: Any) -> Response:
        """Fill in the form of a page and send it."""
        return self.send(address(page) + "/draft" * draft, csrf(page), **fields)

    def undo(self, page: str) -> Response:
        path = found(r'<form id="undo" hx-post="([^"]*)"', page)
        return self.send(path, csrf(page))


def csrf(page: str) -> str:
    return found('name="csrf" value="([^"]*)"', page)


def address(page: str) -> str:
    return found(r'<form id="answer"[^>]* hx-post="([^"]*)"', page)


def texts(page: str) -> list[str]:
    """What the page shows: the instruction, then the responses."""
    shown = re.findall('<div [^>]*class="text[^"]*"[^>]*>(.*?)</div>', page, re.DOTALL)
    return [html.unescape(re.sub("<strong.*?</strong>|<[^>]*>", "", one)) for one in shown]


def found(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    assert match is not None, (pattern, text)
    return html.unescape(match[1])
