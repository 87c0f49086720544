"""`benchmarks.studio` at its smallest: what is measured is there, and nothing was lost."""

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from benchmarks import studio

pytest.importorskip("uvicorn")


def test_two_people_for_a_second_by_the_study_and_by_the_page(tmp_path: Path) -> None:
    app = typer.Typer()
    app.command()(studio.main)
    out = tmp_path / "studio.json"
    done = CliRunner().invoke(app, ["--people", "2", "--seconds", "1", "--out", str(out)])
    assert done.exit_code == 0, done.output
    found = json.loads(out.read_text())
    assert (found["lost"], found["page_lost"], found["actions"]) == (0, 0, 2)
    assert found["kills"] >= 1
    for name in ("save_ms", "next_ms", "page_ms"):
        assert 0 < found[name]["p50"] <= found[name]["max"]
    assert "a save through the page" in out.with_suffix(".md").read_text()
