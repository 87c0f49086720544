"""Stages: what is stored under a key is what the hashed code made."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bench.config.run import RunConfig
from bench.errors import UserError
from bench.pipeline import stage as pipeline
from bench.pipeline.sources import Sources
from bench.pipeline.stage import Context, Stage, execute
from bench.pipeline.store import Store

CONTEXT: Any = SimpleNamespace(config=RunConfig())
LATE = "def answer():\n    return {}\n"


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package whose stage imports what it needs when it runs; its sources are read anew."""
    folder = tmp_path / f"lab_{tmp_path.name}"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "late.py").write_text(LATE.format(1))
    (folder / "stage.py").write_text(
        f"def build():\n    from {folder.name}.late import answer\n    return answer()\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(pipeline, "SOURCES", Sources())
    return folder


def chain(lab: Path, *, meanwhile: dict[str, str], again: dict[str, str] | None = None) -> Stage:
    """A first stage, and one of the lab's code; files are written while each is built."""

    def write(files: dict[str, str]) -> None:
        for name, text in files.items():
            (lab / name).write_text(text)

    def first(context: Context, out: Path, inputs: list[Path]) -> dict[str, Any]:
        write(meanwhile)
        return {}

    def second(context: Context, out: Path, inputs: list[Path]) -> dict[str, Any]:
        found = importlib.import_module(f"{lab.name}.stage").build()
        (out / "answer").write_text(str(found))
        write(again or {})
        return {}

    before = Stage("first", {}, (), ("bench.errors",), first)
    return Stage("second", {}, (before,), (f"{lab.name}.stage",), second)


def test_a_stage_whose_code_changed_before_it_began_is_not_built(lab: Path, tmp_path: Path) -> None:
    store, stage = Store(tmp_path / "store"), chain(lab, meanwhile={"late.py": LATE.format(2)})
    with pytest.raises(UserError, match=r"late.py changed since the run began: second, .* is not"):
        list(execute(stage, CONTEXT, store))
    assert store.find("first", stage.inputs[0].key) is not None
    assert store.find("second", stage.key) is None
    assert not list((store.root / "partial").iterdir())


def test_a_stage_whose_code_changed_while_it_ran_is_not_stored(lab: Path, tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    stage = chain(lab, meanwhile={}, again={"late.py": LATE.format(2)})
    with pytest.raises(UserError, match=r"late\.py changed") as error:
        list(execute(stage, CONTEXT, store))
    assert error.value.exit_code == 1
    assert store.find("second", stage.key) is None
    (lab / "late.py").unlink()
    with pytest.raises(UserError, match=r"late\.py changed"):
        list(execute(stage, CONTEXT, store))


def test_a_comment_may_change_meanwhile(lab: Path, tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    stage = chain(lab, meanwhile={"late.py": LATE.format(1) + "# Why.\n"})
    assert [done.stage.name for done in execute(stage, CONTEXT, store)] == ["first", "second"]


def test_what_is_edited_and_put_back_while_a_run_goes_on_never_runs(
    lab: Path, tmp_path: Path
) -> None:
    """Where nothing was loaded at the start, 2 was stored under the key of the code that says 1."""
    store = Store(tmp_path / "store")
    stage = chain(lab, meanwhile={"late.py": LATE.format(2)}, again={"late.py": LATE.format(1)})
    pipeline.SOURCES.load(stage.roots)
    first, second = stage.inputs[0], stage
    first.build(CONTEXT, tmp_path, [])
    second.build(CONTEXT, tmp_path, [])
    assert (tmp_path / "answer").read_text() == "1"
    assert pipeline.SOURCES.changed(stage.roots) == []
    assert store.find("second", stage.key) is None
