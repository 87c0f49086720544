"""The tables in README.md and docs/ are those of the published records."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.errors import UserError
from leaderboard.views import published

ROOT = Path(__file__).parents[2]


def test_the_documents_have_the_tables_of_the_records() -> None:
    for page, text in published.pages(ROOT).items():
        assert page.read_text() == text, "write it: python -m leaderboard.views.published ."


def test_a_page_without_a_place_for_the_ranking_is_named(tmp_path: Path) -> None:
    (tmp_path / "results").symlink_to(ROOT / "results")
    (tmp_path / "README.md").write_text("# No place\n")
    with pytest.raises(UserError, match=r"README\.md: the lines"):
        published.pages(tmp_path)
