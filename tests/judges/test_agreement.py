"""Agreement of two annotation files, by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from rich.console import Console

from bench.errors import UserError
from bench.grid import to_rich
from bench.judging.agreement import agree
from bench.judging.show import agreement_tables
from tests.judges.data import ANNOTATIONS, needs_shared
from tests.judges.test_alpaca_eval import write


def annotations(path: Path, preferences: dict[str, float | None], **other: str) -> Path:
    rows = [
        {"instruction": i, "output_1": "r", "output_2": "m", "preference": p, **other}
        for i, p in preferences.items()
    ]
    return write(path, rows)


def test_by_hand(tmp_path: Path) -> None:
    """Of 10: 4 both model, 2 both reference, 1 both tie; 3 apart.

    p_o = .7; shares a (.5 model, .3 reference, .2 tie), b (.6, .3, .1);
    p_e = .30 + .09 + .02 = .41; kappa = .29 / .59.
    """
    a = [2, 2, 2, 2, 2, 1, 1, 1, 1.5, 0]
    b = [2, 1.75, 2, 2, 1, 1, 1, 2, 0, 2]
    first = annotations(
        tmp_path / "a.json",
        {**{str(i): p for i, p in enumerate(a)}, "x": 1, "y": None},
        annotator="claude",
    )
    second = annotations(
        tmp_path / "b.json", {**{str(i): p for i, p in enumerate(b)}, "y": 2, "z": 1, "w": 1}
    )
    made = agree(first, second)
    assert (made.first, made.second) == ("claude", "b.json")
    assert (made.both, made.only_first, made.only_second) == (11, 1, 2)
    assert (made.agreement.mean, made.agreement.n) == (pytest.approx(0.7), 10)
    assert made.agreement.missing == 1
    assert made.kappa.mean == pytest.approx(0.29 / 0.59)
    assert made.confusion == {
        "model": {"model": 4, "tie": 0, "reference": 1},
        "tie": {"model": 1, "tie": 1, "reference": 0},
        "reference": {"model": 1, "tie": 0, "reference": 2},
    }
    assert json.loads(json.dumps(made.as_dict()))["confusion"] == made.confusion
    console = Console(width=160)
    with console.capture() as capture:
        console.print(*map(to_rich, agreement_tables(made)))
    for line in ("10 (1 without a verdict in one)", "1 in the first, 2 in the second", "70.0%"):
        assert line in capture.get()


def test_kappa_that_is_undefined_says_so(tmp_path: Path) -> None:
    path = annotations(tmp_path / "a.json", {"1": 2, "2": 2})
    made = agree(path, path)
    assert made.agreement.mean == 1.0
    assert made.kappa is None
    assert "undefined" in made.kappa_problem


def test_other_references_are_refused(tmp_path: Path) -> None:
    first = annotations(tmp_path / "a.json", {"1": 2})
    second = annotations(tmp_path / "b.json", {"1": 2}, output_1="other")
    with pytest.raises(UserError, match="two sets of references are mixed"):
        agree(first, second)


def test_other_outputs_are_refused(tmp_path: Path) -> None:
    first = annotations(tmp_path / "a.json", {"1": 2})
    second = annotations(tmp_path / "b.json", {"1": 2}, output_2="other")
    with pytest.raises(UserError, match=r"judge different outputs: those to 1 of 1 .*first '1'"):
        agree(first, second)


def test_nothing_in_common_is_refused(tmp_path: Path) -> None:
    first = annotations(tmp_path / "a.json", {"1": 2, "2": None})
    second = annotations(tmp_path / "b.json", {"2": 2, "3": 1})
    with pytest.raises(UserError, match="no instruction has a verdict in both"):
        agree(first, second)


@needs_shared
def test_two_models_are_not_two_judges() -> None:
    with pytest.raises(UserError, match=r"judge different outputs: those to \d+ of 805"):
        agree(*ANNOTATIONS.values())
