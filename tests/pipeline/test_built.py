"""Bases that a command builds: their name in `model.path`, their place, and one that is missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.errors import UserError
from bench.pipeline import built
from bench.pipeline.built import MODEL, Built
from bench.pipeline.sources import Sources
from bench.pipeline.store import Store

FILES = {"command": "from bakery import dough\n", "dough": "FLOUR = 1\n"}


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package with a command and what the base is made of."""
    folder = tmp_path / "code" / "bakery"
    folder.mkdir(parents=True)
    (folder / "__init__.py").touch()
    for name, text in FILES.items():
        (folder / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(folder.parent)
    return folder


def test_only_names_with_the_prefix_are_built() -> None:
    assert Built.named("built:bakery.command/loaf-m") == Built("bakery.command", "loaf-m")
    assert Built.named("bakery/loaf-m") is None


@pytest.mark.parametrize("path", ["built:", "built:bakery.command", "built:/loaf", "built:bakery/"])
def test_half_a_name_is_refused(path: str) -> None:
    with pytest.raises(UserError, match=f"^{path}: expected built:MODULE/NAME$"):
        Built.named(path)


@pytest.mark.parametrize("named", [False, True])
def test_one_that_is_not_there_is_one_line_with_the_command_that_builds_it(
    named: bool, package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not named:
        monkeypatch.setenv("BENCH_STORE", str(tmp_path))
    with pytest.raises(UserError) as error:
        Built("bakery.command", "loaf-m").folder(Store(tmp_path))
    assert str(error.value) == (
        "the base loaf-m is not built here, or was by other code; this builds it: "
        "python -m bakery.command --size loaf-m" + (f" --store {tmp_path}" if named else "")
    )


def test_what_was_built_by_other_code_is_not_taken(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But for the command's own: it only says where the base goes."""
    store, loaf = Store(tmp_path), Built("bakery.command", "loaf-m")
    with loaf.building(store) as made:
        (made.path / MODEL).mkdir()
    assert loaf.folder(store).parent.name == loaf.key
    for name, still in (("command", True), ("dough", False)):
        (package / f"{name}.py").write_text(FILES[name] + "OTHER = 2\n")
        monkeypatch.setattr(built, "SOURCES", Sources())
        assert (store.find(built.NAME, loaf.key) is not None) is still
