"""docs/judging.md and docs/editing.md are followed command by command, against the fault server."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from bench.cli import app
from bench.judging import length_controlled
from tests.judges.test_length_controlled import make_files
from tests.llm.server import Server

DOCS = Path(__file__).parents[2] / "docs"
GUIDE, EDITING = (
    (DOCS / name).read_text(encoding="utf-8") for name in ("judging.md", "editing.md")
)
COMMANDS = re.findall(r"^    python -m bench ([^#\n]+)", GUIDE + EDITING, re.MULTILINE)
N = 24
Rows = list[dict[str, Any]]


def answer(body: dict[str, Any]) -> dict[str, Any] | str:
    """Edits a word, revises nothing, and prefers the output that is "good"."""
    prompt = body["messages"][0]["content"]
    found = dict(re.findall(r"<([a-zA-Z-]+)-[0-9a-f]{16}>\n(.*?)\n</\1-", prompt, re.DOTALL))
    if "guide" in found:
        return {"revised": found["response"] or found["guide"]}
    if "response" in found:
        return {"fault": "a word", "edited": found["response"].replace("bad", "fair")}
    first, second = (found[name].startswith("good") for name in ("output-A", "output-B"))
    verdict = "tie" if first == second else "A" if first else "B"
    if body.get("logprobs"):
        return "B" if second and not first else "A"
    return {"rationale": "so", "verdict": verdict}


def chances(body: dict[str, Any]) -> list[dict[str, float]]:
    return [{str(answer(body)): -0.1, "x": -3.0}]


def outputs(name: str, every: int) -> Rows:
    """An output for each instruction, good for one in `every`."""
    return [
        {
            "instruction": f"q {i}",
            "output": f"{'bad' if i % every else 'good'} text of {name} {'on ' * (i * every % 7)}",
            "generator": name,
        }
        for i in range(N)
    ]


def write(name: str, rows: Rows) -> None:
    text = json.dumps(rows) if name.endswith("json") else "\n".join(map(json.dumps, rows))
    Path(name).write_text(text)


@pytest.fixture
def desk(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Server:
    """The files that the guide names, in the folder where its reader is."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BENCH_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("BENCH_RESULTS", str(tmp_path / "records"))
    (tmp_path / "records").mkdir()
    reference = outputs("ref", 2)
    pairs = [
        {"instruction": r["instruction"], "output_1": r["output"], "output_2": o["output"]}
        for r, o in zip(reference, outputs("a", 3), strict=True)
    ]
    labels = [
        pair | {"preference": 1 + pair["output_2"].startswith("good"), "annotator": who}
        for pair in pairs
        for who in "abc"
    ]
    names = {"generator_1": "ref", "generator_2": "a"}
    for name, rows in {
        "OUTPUTS.json": outputs("a", 3), "A.json": outputs("a", 3), "B.json": outputs("b", 4),
        "C.json": outputs("c", 5), "REF.json": reference, "LABELS.json": labels,
        "HUMAN.json": [row | names for row in labels[::3]],
        "PREFERENCES.jsonl": [
            {"prompt": p["instruction"], "chosen": "good one", "rejected": f"one bad word {i}"}
            for i, p in enumerate(pairs)
        ],
    }.items():  # fmt: skip
        write(name, rows)
    order = {hashlib.sha256(f"q {i}".encode()).hexdigest()[:8]: i for i in range(N)}
    monkeypatch.setattr(length_controlled, "_order", lambda: order)
    make_files(tmp_path / "GAMED", N)
    server.answer, server.top_logprobs = answer, chances
    return server


def test_every_command_of_the_guide_works(desk: Server) -> None:
    assert len(COMMANDS) > 15
    for command in COMMANDS:
        done = CliRunner().invoke(app, shlex.split(command))
        assert done.exit_code == 0, f"{command}\n{done.output}"
    assert len(json.loads(Path("several/models.json").read_text())["models"]) == 3
    assert len(Path("EDITS.jsonl").read_text().splitlines()) == N


def test_its_python_works(desk: Server, capsys: pytest.CaptureFixture[str]) -> None:
    [code] = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
    desk.answer = lambda body: answer(body) if "q " in str(body) else {"verdict": "tie"}
    exec(code, {})
    assert "'ok': " in capsys.readouterr().out


def test_its_limits_and_columns_are_the_ones_in_the_code() -> None:
    """Numbers that the guide repeats."""
    from bench.editing.claude import EditorOptions
    from bench.llm.transports.calls import IN_A_ROW

    options = EditorOptions()
    for value in (options.max_changed, options.max_removed, options.max_added):
        assert f"| {100 * value:.0f} % |" in EDITING
    assert f"| {options.always_allowed} |" in EDITING
    assert f"or {IN_A_ROW} calls in a row without an" in GUIDE
