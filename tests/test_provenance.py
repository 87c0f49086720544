"""Where numbers come from: code, packages, machine."""

import subprocess
import sys
from pathlib import Path

import pytest

from bench.provenance import _file_digest, code_state, hardware, package_versions, source_digest

CODE = '''
"""A module."""
# A comment.
def double(x):
    """Doubled."""
    return x * 2
'''


def git(repo: Path, *arguments: str) -> None:
    options = ("-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")
    subprocess.run(["git", "-C", str(repo), *options, *arguments], check=True, capture_output=True)


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    git(tmp_path, "init", "-q")
    (tmp_path / "a.py").write_text("a = 1\n")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "first")
    return tmp_path


def test_a_clean_checkout_is_its_commit(repo: Path) -> None:
    state = code_state(repo)
    assert len(state["commit"]) == 40
    assert (state["dirty"], state["diff_sha"]) == (False, None)


def test_results_do_not_make_a_checkout_dirty(repo: Path) -> None:
    (repo / "results").mkdir()
    (repo / "results" / "record.json").write_text("{}")
    assert code_state(repo)["dirty"] is False


def test_changed_and_new_sources_are_told_apart(repo: Path) -> None:
    states = []
    for name, text in [("a.py", "a = 2\n"), ("a.py", "a = 3\n"), ("b.py", "b\n"), ("b.py", "c\n")]:
        (repo / name).write_text(text)
        states.append(code_state(repo))
    assert all(state["dirty"] for state in states)
    assert len({state["diff_sha"] for state in states}) == 4
    assert len({state["commit"] for state in states}) == 1


def test_outside_a_checkout_of_its_own_there_is_no_commit(repo: Path, tmp_path_factory) -> None:
    nothing = {"commit": None, "dirty": None, "diff_sha": None}
    assert code_state(tmp_path_factory.mktemp("plain")) == nothing
    inside = repo / "site-packages"  # an installed package must not report its host's commit
    inside.mkdir()
    assert code_state(inside) == nothing


def test_versions_and_machine_are_filled_in() -> None:
    versions = package_versions()
    assert {"python", "torch", "transformers", "peft"} <= versions.keys()
    machine = hardware("float32", 2)
    assert machine["dtype"] == "float32"
    assert machine["threads"] == 2
    assert machine["cores"] >= 1
    assert machine["memory_gib"] > 0
    assert machine["cpu"]


def digest_of(folder: Path, text: str) -> str:
    package = folder / "digested" / "inner"
    package.mkdir(parents=True, exist_ok=True)
    (package / "one.py").write_text(text)
    source_digest.cache_clear()
    _file_digest.cache_clear()
    return source_digest(("digested.inner",))


def test_comments_and_docstrings_do_not_change_the_digest(tmp_path, monkeypatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    original = digest_of(tmp_path, CODE)
    bare = "def double(x):\n    return (x *\n        2)\n"
    assert digest_of(tmp_path, bare) == original
    assert digest_of(tmp_path, CODE.replace("Doubled", "Twice").replace("comment", "x")) == original
    assert digest_of(tmp_path, CODE.replace("* 2", "* 3")) != original
    (tmp_path / "digested" / "inner" / "two.py").write_text("")
    assert digest_of(tmp_path, CODE) != original  # a new module counts


def test_modules_are_digested_in_any_order_without_being_imported() -> None:
    code = (
        "import sys; from bench.provenance import source_digest as d;"
        "assert d(('bench.rl', 'bench.errors')) == d(('bench.errors', 'bench.rl'));"
        "assert d(('bench.rl',)) != d(('bench.rl.kl',));"
        "assert not {'torch', 'bench.rl'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", ["bench.nothing", "no_such_package", "no_such.module"])
def test_a_module_without_source_is_an_error(name: str) -> None:
    with pytest.raises(ModuleNotFoundError, match=name):
        source_digest((name,))
