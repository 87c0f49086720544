"""Instructions from Markdown, which can bring no HTML and load nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.errors import UserError
from bench.studio.tasks import TASKS
from bench.studio.web.guide import guide


def test_html_stays_text_and_nothing_is_loaded(tmp_path: Path) -> None:
    file = tmp_path / "i.md"
    file.write_text(
        "# Rules\n\n<script>alert(1)</script> <b onclick=x>\n\n[bad](javascript:alert(1))\n\n"
        "![seen](http://example.org/x.png)\n\n| a | b |\n|---|---|\n| 1 | 2 |\n"
    )
    shown = guide("edit", file)
    assert shown.startswith("<h1>Rules</h1>")
    assert "<td>2</td>" in shown
    for wrong in ("<script", "<b ", 'href="javascript', "<img"):
        assert wrong not in shown


def test_a_mark_of_byte_order_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "i.md").write_text("\ufeff# Rules\n", encoding="utf-8")
    assert guide("edit", tmp_path / "i.md") == "<h1>Rules</h1>\n"


def test_each_task_has_its_own() -> None:
    assert len({guide(task) for task in TASKS}) == len(TASKS)


def test_a_file_that_says_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot read the instructions"):
        guide("edit", tmp_path / "gone.md")
    (tmp_path / "empty.md").write_text("\n")
    with pytest.raises(UserError, match="are empty"):
        guide("edit", tmp_path / "empty.md")
