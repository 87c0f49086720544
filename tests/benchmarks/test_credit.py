"""`benchmarks.credit`: what is published, and that a quick run measures, writes and draws."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import typer

from bench.plugins.registry import METHODS
from benchmarks.credit.__main__ import EVERY, FIGURE, QUICK, as_markdown, main
from benchmarks.credit.__main__ import PUBLISHED as PATH
from benchmarks.credit.drawing import draw
from benchmarks.credit.measuring import every_n, measure, of_methods
from benchmarks.credit.problem import Problem
from benchmarks.report import RESULTS
from tests.methods.untrained import PAYING

PUBLISHED = json.loads((RESULTS / "credit.json").read_text())


def test_what_is_published_is_one_result(tmp_path: Path) -> None:
    assert as_markdown(PUBLISHED) + "\n" == (RESULTS / "credit.md").read_text()
    draw(PUBLISHED, tmp_path / "credit.png")
    assert (tmp_path / "credit.png").read_bytes().startswith(b"\x89PNG")


def test_a_quick_run_does_not_write_over_what_is_published() -> None:
    with pytest.raises(typer.BadParameter, match="give --out"):
        main(out=PATH, figure=FIGURE, quick=True)


def test_every_method_that_pays_is_measured_once() -> None:
    ways = of_methods(Problem(16, 1), METHODS.names())
    named = [name for way in ways for name in way.label.split(", ")]
    assert sorted(named) == PAYING
    assert len(ways) < len(named)  # those that a perfect model makes alike
    assert every_n(Problem(16, 1), EVERY[-1]).alike in {way.alike for way in ways}


def test_an_unsolved_run_counts_as_all_its_steps() -> None:
    way = every_n(Problem(4, 1), 4)
    settings = replace(QUICK, solved=1.1, seeds=(0, 1))
    row = measure(way, settings)
    assert (row["mean"], row["unsolved"]) == (settings.steps, 2)
    easy = measure(way, replace(settings, solved=0.0))
    assert (easy["mean"], easy["unsolved"]) == (settings.window, 0)
