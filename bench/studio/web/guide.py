"""Instructions for the people, from a Markdown file of the study's owner or one a task of ours."""

from __future__ import annotations

from pathlib import Path

from markdown_it import MarkdownIt
from markupsafe import Markup

from bench.errors import UserError
from bench.studio.tasks import TaskName

_OURS = Path(__file__).with_name("instructions")


def guide(task: TaskName, file: Path | None = None) -> Markup:
    """The instructions as HTML; HTML in the file stays text, and images are left to be links.

    Raises:
        UserError: the file cannot be read, or says nothing.
    """
    path = file or _OURS / f"{task}.md"
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read the instructions {path}: {error}") from error
    if not text.strip():
        raise UserError(f"the instructions {path} are empty")
    reader = MarkdownIt("commonmark", {"html": False}).enable("table").disable("image")
    return Markup(reader.render(text))
