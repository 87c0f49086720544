"""A method that is written in a notebook: known by name, in the keys, in the record."""

import hashlib
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import bench
from bench.cli import app
from bench.config.loading import load_config
from bench.plugins.registry import METHODS
from bench.running.plan import make_plan
from tests.api.cells import AROUND, METHOD, Notebook
from tests.api.test_runs import TINY
from tests.stages.reinforce import Learns


@pytest.fixture(autouse=True)
def nothing_registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(METHODS, "_session", {})


@pytest.fixture
def cells() -> Notebook:
    notebook = Notebook()
    notebook.run(AROUND)
    notebook.run(METHOD)
    return notebook


def keys(method: str) -> dict[str, str]:
    return {s.name: s.key for s in make_plan(load_config(method=method))[0].judgement.graph()}


def test_its_source_is_in_the_key_of_what_it_decides_and_of_nothing_else(cells: Notebook) -> None:
    bench.register_method(cells["Shifted"])
    first = keys("shifted")
    cells.run(METHOD.replace("class Shifted", "# a comment\n\nclass Shifted"))
    bench.register_method(cells["Shifted"])
    assert keys("shifted") == first
    cells.run("SCALE = 2.0")
    assert keys("shifted") == first  # what is registered has the old value, too
    bench.register_method(cells["Shifted"])
    second = keys("shifted")
    assert {name for name in first if first[name] != second[name]} == {
        "ppo", "outputs", "judgement",
    }  # fmt: skip


def test_a_package_beside_the_notebook_counts(
    cells: Notebook, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for value in (1, 2):
        folder = tmp_path / str(value)
        folder.mkdir()
        (folder / f"lab{value}.py").write_text(f"VALUE = {value}\n")
        (folder / "mylab.py").write_text(f"from lab{value} import VALUE\ndef f(x): return VALUE\n")
        monkeypatch.syspath_prepend(folder)
        sys.modules.pop("mylab", None)
        cells.run("from mylab import f as shifted")
        cells.run(METHOD)
        bench.register_method(cells["Shifted"], name=f"lab{value}", paper="arXiv:1")
        found.append(make_plan(load_config(method=f"lab{value}"))[0].policy)
    from bench.pipeline.sources import SOURCES

    assert "mylab" in SOURCES.modules(found[0].roots)
    assert "lab1" not in SOURCES.modules(found[0].roots)  # mylab itself does not name its packages
    assert METHODS.entry("lab2").paper == "arXiv:1"
    sys.modules.pop("mylab")


def test_it_is_listed_and_a_class_of_a_module_is_that_module(cells: Notebook) -> None:
    assert bench.register_method(cells["Shifted"]) is cells["Shifted"]
    assert METHODS.entry("shifted").source == "this session"
    assert METHODS.entry("shifted").summary == "Sequence rewards, shifted."
    bench.register_method(name="learner")(Learns)
    assert METHODS.get("learner") is Learns
    assert {"shifted", "learner"} <= set(METHODS.names())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"name": "token_ppo"},
            r"a method named 'token_ppo': methods.token_ppo:Tok.*replace",
        ),
        ({"name": "two words"}, "method name 'two words': give it letters, digits and _"),
    ],
)
def test_a_name_that_is_taken_or_no_name_is_refused(
    change: dict[str, Any], said: str, cells: Notebook
) -> None:
    with pytest.raises(bench.UserError, match=said):
        bench.register_method(cells["Shifted"], **change)
    assert METHODS.entry("token_ppo").source == "grainbench"


def test_another_class_of_the_name_needs_replace(cells: Notebook) -> None:
    bench.register_method(cells["Shifted"])
    cells.run(METHOD.replace("class Shifted", "class Other"))
    with pytest.raises(bench.UserError, match="there is a method named 'shifted'"):
        bench.register_method(cells["Other"])
    bench.register_method(cells["Other"], replace=True)
    assert METHODS.get("shifted").__name__ == "Other"


def test_what_is_no_method_is_refused(cells: Notebook) -> None:
    with pytest.raises(bench.UserError, match="register the class, not Shifted made of it"):
        bench.register_method(cells["Shifted"](cells["Shifted"].Options()))
    cells.run("class Bare:\n    name = 'bare'\n    def f(self): return 1")
    with pytest.raises(bench.UserError, match="the method bare has no class Options"):
        bench.register_method(cells["Bare"])

    class Local(Learns):
        name = "local"

    with pytest.raises(bench.UserError, match="the method local is defined inside a function"):
        bench.register_method(Local)
    cells.names["mine"] = object()
    cells.run(METHOD.replace("shifted(", "mine("))
    with pytest.raises(bench.UserError, match="the method shifted: Shifted uses mine, which is a"):
        bench.register_method(cells["Shifted"])


def test_processes_of_their_own_are_refused_it(cells: Notebook, tmp_path: Path) -> None:
    bench.register_method(cells["Shifted"])
    arguments = ["--method", "shifted,sft", "--jobs", "2", "--results", str(tmp_path)]
    done = CliRunner().invoke(app, ["run", *arguments, "--store", str(tmp_path / "store")])
    assert done.exit_code == 2
    assert "error: the method shifted is registered in this process alone" in done.stderr


def test_its_record_has_its_source_and_says_so(cells: Notebook, tmp_path: Path) -> None:
    bench.register_method(cells["Shifted"])
    where = {"results": tmp_path / "runs", "store": tmp_path / "store"}
    record = bench.run("shifted", overrides={**TINY, "ppo.steps": 1}, **where)
    source = (record.folder / "method.py").read_bytes()
    assert record.status == "ok"
    assert record.code.method_sha == hashlib.sha256(source).hexdigest()
    assert b"def shifted(x, by):" in source
    assert "method.py" in record._repr_html_()

    rerun = ["rerun", str(record.folder), "--store", str(tmp_path / "store")]
    refused = CliRunner().invoke(app, rerun)
    assert refused.exit_code == 2
    assert "its method was registered in a session" in refused.stderr
    (record.folder / "method.py").write_text("pass\n")
    with pytest.raises(bench.UserError, match=r"method.py: edited or removed after the run"):
        from bench.records.files import read_record

        read_record(record.folder)
