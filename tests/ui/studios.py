"""Studies that are served to a browser, and people in front of it."""

from __future__ import annotations

import json
import socket
import threading
from pathlib import Path
from typing import Any

from bench.studio.results import results_of
from bench.studio.study import Study
from bench.studio.web.app import create_app
from bench.studio.web.guide import guide
from bench.studio.web.serve import server

SIZES: dict[str, dict[str, Any]] = {
    "desktop": {"viewport": {"width": 1280, "height": 800}},
    "phone": {
        "viewport": {"width": 390, "height": 844},
        "is_mobile": True,
        "has_touch": True,
        "device_scale_factor": 2,
    },
}


class Served:
    """A study on a port of its own, served from a thread.

    Args:
        study: an open one.
        port: 0: a free one.
    """

    def __init__(self, study: Study, port: int = 0) -> None:
        self.study = study
        app = create_app(study, {task: guide(task) for task in study.tasks()})
        self._socket = socket.create_server(("127.0.0.1", port))
        self._server = server(app)
        self._thread = threading.Thread(target=self._server.run, args=([self._socket],))
        self._thread.start()
        self.port = self._socket.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join()
        self._socket.close()

    def values(self) -> list[dict[str, Any] | None]:
        """What people said of the items, in the order of the study."""
        (task,) = self.study.tasks()
        with self.study.database.read() as connection:
            results = results_of(connection, task)
        return [one.value for answered in results.items for one in answered.given]

    def drafts(self) -> list[dict[str, Any]]:
        """Every draft, as it was sent."""
        with self.study.database.read() as connection:
            rows = connection.execute(
                "SELECT answer FROM actions WHERE NOT done AND undoes IS NULL ORDER BY number"
            )
            return [json.loads(row["answer"]) for row in rows]


class Seat:
    """One person's browser; nothing but the studio is reached, and nothing is complained of.

    Args:
        browser: of Playwright.
        url: of the studio.
        path: that is opened first.
        options: of the browser's context.
    """

    def __init__(self, browser: Any, url: str, path: str = "/", **options: Any) -> None:
        self.context = browser.new_context(**options)
        self.context.set_default_timeout(10_000)
        self.url, self.complaints, self.elsewhere = url, [], []
        self.context.route(lambda address: not address.startswith(url), self._refuse)
        self.page = self.context.new_page()
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.goto(url + path)

    def _refuse(self, route: Any) -> None:
        self.elsewhere.append(route.request.url)
        route.abort()

    def begin(self) -> None:
        """Leave the instructions for the first item."""
        self.page.get_by_role("link", name="Begin").press("Enter")
        self.page.wait_for_url(lambda address: not address.endswith("guide"))

    def saved(self) -> None:
        """Until the page says that all is saved."""
        self.page.locator("#saved", has_text="Saved").wait_for()

    def item(self, number: int) -> None:
        """Until the person's next item is there."""
        self.page.locator("h1", has_text=f"item {number}").wait_for(state="attached")

    def end(self) -> None:
        """Nothing is left."""
        self.page.locator("h1", has_text="Nothing is left for you").wait_for()

    def close(self) -> None:
        assert self.complaints == []
        assert self.elsewhere == []
        self.context.close()


def picture(page: Any, folder: Path, name: str) -> Path:
    """A screenshot of what is to be seen."""
    path = folder / f"studio-{name}.png"
    page.screenshot(path=path)
    return path
