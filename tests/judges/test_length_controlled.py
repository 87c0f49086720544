"""AlpacaEval's length-controlled win rate: ours is held equal to alpaca_eval's own function.

The two files that it needs are made here in their shape: the published ones cannot be had.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from alpaca_eval.metrics import glm_winrate

from bench.errors import UserError
from bench.judging import length_controlled
from bench.judging.files import judge_file
from bench.judging.length_controlled import LengthControl
from bench.judging.many import judge_models
from bench.judging.report import Report
from bench.judging.standing_show import standing_grids
from judges.replay import Replay, ReplayOptions
from tests.hub import Hub
from tests.judges.data import ANNOTATIONS, needs_shared
from tests.judges.test_alpaca_eval import write
from tests.judges.test_report import text

N = 120
WEIGHTS = Path(glm_winrate.__file__).parent / "weights"


def make_files(folder: Path, n: int) -> Path:
    """df_gamed.csv: verdicts on two gamed baselines, by instruction; and the difficulties."""
    rng = np.random.default_rng(3)
    difficulty = rng.normal(size=n)
    rows = []
    for model, longer in (("gamed_concise", 1.1), ("gamed_verbose", -1.3)):
        delta = longer + rng.normal(size=n)
        chance = 1 / (1 + np.exp(2 * np.tanh(delta) + 0.2 * difficulty))
        rows.append(
            pd.DataFrame(
                {
                    "model": model,
                    "preference": np.clip(chance + rng.normal(scale=0.1, size=n), 0, 1),
                    "index": range(n),
                    "std_delta_len": delta,
                    "instruction_difficulty": difficulty,
                    "not_gamed_baseline": False,
                }
            )
        )
    folder.mkdir(exist_ok=True)
    pd.concat(rows, ignore_index=True).to_csv(folder / "df_gamed.csv", index=False)
    pd.Series(difficulty, name="0").to_csv(folder / "instruction_difficulty.csv")
    return folder


def theirs(annotations: list[dict[str, Any]], gamed: Path) -> dict[str, float]:
    """What alpaca_eval says; it would download the file that it is handed here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(glm_winrate, "hf_hub_download", lambda **_: str(gamed / "df_gamed.csv"))
        return glm_winrate.get_length_controlled_winrate(
            pd.DataFrame(annotations), save_weights_dir=None, is_add_glm_preference_inplace=False
        )


def annotated(n: int, seed: int = 1, name: str = "m") -> list[dict[str, Any]]:
    """Verdicts that follow length, one of them missing, some ties, some between."""
    draw = random.Random(seed)
    rows = []
    for i in range(n):
        longer = draw.gauss(100, 300)
        won = draw.random() < 1 / (1 + np.exp(-longer / 300))
        rows.append(
            {
                "instruction": f"q {i}",
                "output_1": "r" * 600,
                "output_2": "m" * max(1, round(600 + longer)),
                "generator_1": "ref",
                "generator_2": name,
                "annotator": "who",
                "preference": draw.choice([1.5, 1.25, 1.0 + won, 1.0 + won, 1.0 + won]),
            }
        )
    return [*rows[:-1], rows[-1] | {"preference": None}]


@pytest.fixture
def gamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The files, for a set of N instructions in the place of AlpacaEval's."""
    order = {hashlib.sha256(f"q {i}".encode()).hexdigest()[:8]: i for i in range(N)}
    monkeypatch.setattr(length_controlled, "_order", lambda: order)
    return make_files(tmp_path / "lc", N)


def judged(path: Path, control: LengthControl | None) -> Report:
    return judge_file(path, None, Replay(None, ReplayOptions()), control=control)


def require_equal(report: Report, expected: dict[str, float]) -> None:
    found = report.length_controlled
    assert found is not None, report.length_controlled_problem
    assert 100 * found.mean == pytest.approx(expected["length_controlled_winrate"], abs=1e-9)
    assert found.standard_error is not None
    assert 100 * found.standard_error == pytest.approx(expected["lc_standard_error"], abs=1e-9)


def test_it_is_alpaca_evals(gamed: Path, tmp_path: Path) -> None:
    rows = annotated(N)
    before = {path: path.stat().st_mtime_ns for path in WEIGHTS.rglob("*")}
    report = judged(write(tmp_path / "a.json", rows), LengthControl(str(gamed)))
    require_equal(report, theirs(rows, gamed))
    found = report.length_controlled
    assert found is not None
    assert report.win_rate is not None
    assert abs(found.mean - report.win_rate.mean) > 0.02  # length is worth something here
    assert (found.n, found.missing, found.ci95) == (N, 1, None)
    assert {path: path.stat().st_mtime_ns for path in WEIGHTS.rglob("*")} == before
    kept = json.loads(json.dumps(report.as_dict()))["length_controlled"]
    assert kept["glm"] == "length_controlled_v1"
    assert kept["data_sha"] == hashlib.sha256((gamed / "df_gamed.csv").read_bytes()).hexdigest()
    assert "length-controlled win rate (AlpacaEval's)" in text(report)


def test_the_order_of_the_file_does_not_matter(gamed: Path, tmp_path: Path) -> None:
    """To alpaca_eval's own function it does: it takes a row's place for its index."""
    rows = annotated(N)
    mixed = random.Random(2).sample(rows, N)
    control = LengthControl(str(gamed))
    found = judged(write(tmp_path / "a.json", mixed), control).length_controlled
    expected = judged(write(tmp_path / "b.json", rows), control).length_controlled
    assert found is not None
    assert expected is not None
    assert (found.mean, found.standard_error) == (expected.mean, expected.standard_error)
    assert abs(100 * found.mean - theirs(mixed, gamed)["length_controlled_winrate"]) > 0.01


@needs_shared
@pytest.mark.parametrize("name", ANNOTATIONS)
def test_on_real_annotations(name: str, tmp_path: Path) -> None:
    """All 805 instructions are found by their texts; the gamed verdicts are not the real ones."""
    folder = make_files(tmp_path / "lc", 805)
    report = judged(ANNOTATIONS[name], LengthControl(str(folder)))
    rows = pd.read_json(ANNOTATIONS[name]).to_dict("records")
    require_equal(report, theirs(rows, folder))


def test_without_the_files_nothing_is_said_of_it(tmp_path: Path) -> None:
    report = judged(write(tmp_path / "a.json", annotated(N)), None)
    assert (report.length_controlled, report.length_controlled_problem) == (None, "")
    assert "AlpacaEval's)" not in text(report).replace("(ours, not AlpacaEval's)", "")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda rows: [*rows, rows[0] | {"instruction": "new"}], "1 of 121 instructions are not"),
        (lambda rows: [row | {"output_2": "m" * 7} for row in rows], "lengths differ by the same"),
    ],
)
def test_why_there_is_none(
    gamed: Path, tmp_path: Path, change: Callable[[Any], Any], problem: str
) -> None:
    path = write(tmp_path / "a.json", change(annotated(N)))
    report = judged(path, LengthControl(str(gamed)))
    assert report.length_controlled is None
    assert problem in report.length_controlled_problem
    assert f"none: {report.length_controlled_problem}"[:60] in text(report)


def test_files_that_are_not_there_or_not_those(gamed: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot read .*df_gamed\.csv"):
        LengthControl(str(tmp_path))
    table = pd.read_csv(gamed / "df_gamed.csv")
    difficulty = pd.read_csv(gamed / "instruction_difficulty.csv", index_col=0)
    (difficulty + 1).to_csv(gamed / "instruction_difficulty.csv")
    with pytest.raises(UserError, match=r"has other difficulties than df_gamed\.csv"):
        LengthControl(str(gamed))
    table.drop(columns="preference").to_csv(gamed / "df_gamed.csv")
    with pytest.raises(UserError, match="has no column preference: it is not the"):
        LengthControl(str(gamed))
    (gamed / "df_gamed.csv").write_text("")
    with pytest.raises(UserError, match="is no CSV file"):
        LengthControl(str(gamed))


def test_of_several_models(gamed: Path, tmp_path: Path) -> None:
    def make() -> Replay:
        return Replay(None, ReplayOptions())

    paths = [write(tmp_path / f"{m}.json", annotated(N, i, m)) for i, m in enumerate("ab")]
    control = LengthControl(str(gamed))
    standing, reports = judge_models(paths, None, make(), make, control=control)
    ranking = standing_grids(standing)[0]
    assert ranking.headers[5:7] == ["LC %", "LC SE"]
    for row in ranking.rows:
        found = reports[row[0]].length_controlled
        assert found is not None
        assert row[5] == f"{100 * found.mean:.1f}"


def test_from_the_hub(tmp_path: Path) -> None:
    """Fetched by one command, read by another that may not go to the network.

    In processes of their own, since huggingface_hub reads its variables when it is imported.
    """
    files = {path.name: path.read_bytes() for path in make_files(tmp_path / "lc", N).iterdir()}
    path = write(tmp_path / "a.json", annotated(N))
    with Hub() as hub:
        hub.add("datasets", "tatsu-lab/alpaca_eval", files)
        env = os.environ | {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home")}

        def bench(line: str, **more: str) -> str:
            command = [sys.executable, "-m", "bench", *line.split()]
            done = subprocess.run(
                command, env=env | more, capture_output=True, text=True, check=False
            )
            return done.stdout + done.stderr

        assert "dataset tatsu-lab/alpaca_eval" in bench("fetch --lc")
        offline = bench(f"judge {path} --judge replay --lc hub", HF_HUB_OFFLINE="1", COLUMNS="200")
        assert "none: 120 of 120 instructions are not AlpacaEval's" in offline
        nothing = bench(
            f"judge {path} --judge replay --lc hub", HF_HUB_OFFLINE="1", HF_HOME=str(tmp_path / "x")
        )
        assert "error: tatsu-lab/alpaca_eval is no folder here" in nothing


@pytest.mark.parametrize(("longer", "warned"), [(0.03, True), (0.2, False)])
def test_equal_length_at_the_edge_is_said(longer: float, warned: bool, tmp_path: Path) -> None:
    """As of llama-2-7b-chat, of whose outputs 2.9 % are no longer than Davinci003's."""
    rows = annotated(100)
    for i, row in enumerate(rows):
        row["output_2"] = "m" * (500 + i if i < 100 * longer else 700 + 7 * i)
    report = judged(write(tmp_path / "a.json", rows), None)
    said = "few pairs lie near equal length: 3.0% of the outputs are no longer"
    assert (said in report.length_warning) == warned == bool(report.length_warning)
    assert (said in text(report)) == warned
