"""Templates: all that comes from a study is escaped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from bench.studio.web.texts import exact

_FOLDER = Path(__file__).with_name("templates")


class Renderer:
    """Renders the templates of this package."""

    def __init__(self) -> None:
        self._environment = Environment(
            loader=FileSystemLoader(_FOLDER),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.filters.update(exact=exact, about=about, duration=duration)

    def __call__(self, template: str, **values: Any) -> str:
        """The text of a page or a part of one."""
        return self._environment.get_template(template).render(**values)


def about(count: int) -> str:
    """A number of items that are left, rounded where it is large.

    An exact one would tell a hidden item, which is not counted, from the others.
    """
    return str(count) if count <= 10 else f"about {round(count, -1)}"


def duration(seconds: float) -> str:
    """A time to come or a pace, as it is said."""
    if seconds < 90:
        return f"{max(round(seconds), 1)} s"
    if seconds < 5400:
        return f"{round(seconds / 60)} min"
    return f"{seconds / 3600:.1f} h"
