import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from bench.grid import to_rich
from bench.records.files import Reference, Run, read_record
from leaderboard.regression.baseline import make_baseline
from leaderboard.views.beside import beside


def run_of(folder: Path) -> Run:
    return Run(read_record(folder), folder)


def rows(own: list[Path], published: Path) -> list[dict[str, str]]:
    grid = beside([run_of(folder) for folder in own], published)
    return [dict(zip(grid.headers, row, strict=True)) for row in grid.rows]


@pytest.fixture
def published(results: Path) -> Path:
    return results / "testbed"


@pytest.fixture
def make_own(make_run, tmp_path: Path) -> Callable[..., Path]:
    """Makes a run that stands apart from the published ones."""

    def make(label: str, seed: int, win: float = 0.31, **fields: Any) -> Path:
        folder = make_run(label, seed, win, run_id="own", **fields)
        return folder.rename(tmp_path / f"own-{label}-{seed}")

    return make


@pytest.mark.parametrize(
    ("win", "verdict"), [(0.31, "as expected"), (0.05, "below the band"), (0.9, "above the band")]
)
def test_a_run_is_beside_its_row(make_own, published: Path, win: float, verdict: str) -> None:
    own = make_own("sft", 7, win)
    (row,) = rows([own], published)
    band = make_baseline([read_record(published / f"sft-s{s}") for s in range(3)])
    win_rate = band.metrics["win_rate"]
    assert row["Here"] == verdict
    assert row["Published"] == f"{100 * win_rate.mean:.1f}"
    assert row["Seeds"] == "3"
    assert row["Band"] == f"[{100 * win_rate.low:.1f}, {100 * win_rate.high:.1f}]"
    notes = " ".join(beside([run_of(own)], published).notes)
    assert "one new run" in notes
    assert ("bench check" in notes) == (verdict != "as expected")


def test_a_run_is_not_held_against_itself(published: Path) -> None:
    (row,) = rows([published / "sft-s0"], published)
    assert row["Seeds"] == "2"


def test_what_was_never_published_or_measures_something_else(make_own, published: Path) -> None:
    own = [
        make_own("sft ppo.lr=0.1", 0),
        make_own("sft", 0, reference=Reference(name="r", sha="f")),
        make_own("sft", 1, status="diverged"),
    ]
    assert [row["Here"] for row in rows(own, published)] == [
        "no published run", "no published run", "diverged",
    ]  # fmt: skip
    assert rows(own, published / "nowhere")[0]["Published"] == "–"


def test_it_fits_a_terminal(make_own, published: Path) -> None:
    grid = beside([run_of(make_own("sft", 7))], published)
    console = Console(width=80, file=io.StringIO())
    console.print(to_rich(grid))
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert all(len(line) <= 80 for line in lines)
    assert "as expected" in "".join(lines)
