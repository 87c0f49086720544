"""What `results` stands for in a folder that is no checkout."""

from pathlib import Path

import pytest

from bench.records.files import PUBLISHED
from bench.records.published import at_hand


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_published_records_have_their_names_in_any_folder() -> None:
    assert at_hand(Path("results")) == PUBLISHED
    assert at_hand(Path("results/smollm2")) == PUBLISHED / "smollm2"


@pytest.mark.parametrize("path", ["results/nosuch", "results/../results", "testbed", "/results"])
def test_no_other_name_does(path: str) -> None:
    assert at_hand(Path(path)) == Path(path)


def test_a_folder_of_ones_own_is_what_it_is() -> None:
    runs = Path("results/runs/testbed/mine")
    runs.mkdir(parents=True)
    (runs / "record.json").touch()
    assert at_hand(Path("results")) == PUBLISHED  # with nothing but one's own runs in it
    assert at_hand(Path("results/runs")) == Path("results/runs")
    Path("results/testbed/one").mkdir(parents=True)
    Path("results/testbed/one/record.json").touch()
    assert at_hand(Path("results")) == Path("results")
