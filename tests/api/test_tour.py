"""docs/tour.ipynb runs from top to bottom in a kernel of its own, and shows what it says."""

import time
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

REPO = Path(__file__).parents[2]
TOUR = REPO / "docs" / "tour.ipynb"
MOST_S = 180  # a minute alone on one core; here others are at work


def test_the_tour_runs_and_shows_tables_and_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(REPO))
    for name in ("BENCH_STORE", "BENCH_RESULTS"):
        monkeypatch.setenv(name, str(tmp_path / name))  # nothing of the tour goes there
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    notebook = nbformat.read(TOUR, as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells)  # of no machine
    started = time.monotonic()
    # The folder is none of the repository's: nothing of it is found by where one is.
    NotebookClient(
        notebook, timeout=MOST_S, resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    assert time.monotonic() - started < MOST_S
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    shown = [output["data"] for output in outputs if "data" in output]
    assert sum("image/png" in data for data in shown) == 2
    assert sum("<table" in data.get("text/html", "") for data in shown) >= 5
    assert not [output for output in outputs if output.get("name") == "stderr"]
    assert not list(tmp_path.glob("BENCH_*"))
