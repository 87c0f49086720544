"""The code that decides a stage's result: found from its imports, all of it and nothing else."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from bench.config.loading import load_config
from bench.errors import UserError
from bench.pipeline.sources import PROJECT, SOURCES, Sources
from bench.pipeline.stage import Stage
from bench.running.plan import make_plan

REPO = Path(__file__).parents[2]
ASKED = ("evaluation.judge=claude", "edits.source=claude")
# What shows, stores, plans or runs decides no result.
APART = (
    "bench.cli", "bench.api", "bench.running", "bench.pipeline", "bench.records.provenance",
    "bench.records.files", "bench.config.run", "bench.config.loading", "bench.config.presets",
    "bench.plugins.registry", "bench.stages.chosen", "bench.stages.planning", "bench.stages.base",
    "bench.doctor",
    "bench.suites.testbed.base", "bench.suites.testbed.pretraining",
    "bench.editing.show", "bench.grid", "bench.llm.money.estimate", "bench.llm.money.show",
    "bench.judging.show", "bench.judging.report", "bench.judging.files",
)  # fmt: skip
# At most so many modules. More of them: does the import that was added decide the stage's result?
SIZES = {
    "sft": 72, "samples": 72, "preferences": 25, "edits": 30, "reward_model": 83,
    "rm_evaluation": 94, "offline": 89, "ppo": 94, "outputs": 75, "judgement": 94,
    "spans": 26, "relevance_model": 83, "relevance_evaluation": 96,
    "best_responses": 83, "best outputs": 84,
    "edits by claude": 71, "judgement by claude": 130,
}  # fmt: skip

CODE = '''
"""A module."""
# A comment.
def double(x):
    """Doubled."""
    return x * 2
'''


@cache
def stages() -> dict[str, Stage]:
    """Every stage of the testbed, and those that ask a model."""
    own, asked = (
        {stage.name: stage for target in plan.targets for stage in target.graph()}
        for plan in (
            make_plan(load_config(overrides=["method=token_ppo", *overrides]))[0]
            for overrides in ((), ASKED)
        )
    )
    plan, _ = make_plan(load_config(overrides=["method=dpo"]))
    own["offline"] = plan.policy
    plan, _ = make_plan(load_config(method="fine_grained_rlhf"))
    own = {stage.name: stage for stage in plan.stages if stage.name in SIZES} | own
    plan, _ = make_plan(load_config(overrides=["method=expert_iteration"]))
    own["best_responses"] = plan.policy.inputs[1]
    plan, _ = make_plan(load_config(overrides=["method=best_of_n"]))
    own["best outputs"] = plan.judgement.inputs[0]
    return own | {f"{name} by claude": asked[name] for name in ("edits", "judgement")}


def all_modules() -> dict[str, Path]:
    """Every module of the project, by name."""
    files = [file for top in PROJECT for file in (REPO / top).rglob("*.py")]
    names = [".".join(file.relative_to(REPO).with_suffix("").parts) for file in files]
    return dict(zip((name.removesuffix(".__init__") for name in names), files, strict=True))


def edited(wanted: Callable[[Path], bool]) -> Sources:
    """Sources in which the wanted files have a line more."""
    return Sources(lambda file: file.read_bytes() + (b"\nX = 1\n" if wanted(file) else b""))


@pytest.mark.parametrize("name", SIZES)
def test_an_edit_moves_a_stages_code_where_it_can_decide_and_nowhere_else(name: str) -> None:
    roots = stages()[name].roots
    inside = set(SOURCES.modules(roots).values())
    outside = set(all_modules().values()) - inside
    assert len(inside) > 10 < len(outside)
    assert edited(outside.__contains__).digest(roots) == SOURCES.digest(roots)
    digests = {edited(lambda file, one=one: file == one).digest(roots) for one in inside}
    assert len(digests | {SOURCES.digest(roots)}) == len(inside) + 1


@pytest.mark.parametrize("name", SIZES)
def test_a_stages_code_is_what_decides(name: str) -> None:
    found = SOURCES.modules(stages()[name].roots)
    assert not [m for m in found if any(m == apart or m.startswith(f"{apart}.") for apart in APART)]
    assert len(found) <= SIZES[name], sorted(found)


def test_reading_rows_in_reverse_moves_every_stage_that_reads_rows() -> None:
    """The list of modules that was written by hand had `bench.data` nowhere."""
    broken = Sources(
        lambda file: (
            file.read_bytes().replace(
                b"_numbered(path, kind)]\n", b"_numbered(path, kind)][::-1]\n"
            )
            if file == REPO / "bench" / "data.py"
            else file.read_bytes()
        )
    )
    moved = {n for n, s in stages().items() if broken.digest(s.roots) != SOURCES.digest(s.roots)}
    assert {"preferences", "edits", "reward_model", "rm_evaluation"} <= moved


@pytest.mark.slow
def test_what_a_stage_imports_when_it_is_loaded_is_among_its_code() -> None:
    """The interpreter's own account of the imports, without those that only happen when it runs."""
    roots = {name: stage.roots for name, stage in stages().items()}
    body = f"""
import sys
from importlib import import_module
import scipy.stats, torch, transformers, peft, pydantic
for name, roots in {roots!r}.items():
    for module in list(sys.modules):
        if module.partition(".")[0] in {set(PROJECT)!r}:
            del sys.modules[module]
    for root in roots:
        import_module(root)
    print(name, *(m for m in sys.modules if m.partition(".")[0] in {set(PROJECT)!r}), sep=",")
"""
    done = subprocess.run([sys.executable, "-c", body], capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert len(lines) == len(SIZES)
    for line in lines:
        name, *imported = line.split(",")
        assert len(imported) > 10
        assert set(imported) <= SOURCES.modules(stages()[name].roots).keys()


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


PLUGIN = {
    "lab/__init__.py": "from lab import runs_first",
    "lab/judge.py": (
        "from __future__ import annotations\n"
        "import typing, json, torch, other_lab.thing\n"
        "from . import sibling, CONSTANT\n"
        "from .deep.er import f\n"
        "import lab.dotted.name as short\n"
        "if typing.TYPE_CHECKING:\n    from lab import types_only\n"
        "else:\n    from lab import at_run_time\n"
        "def late():\n    from lab.lazy import g\n"
        "    try:\n        import lab.optional\n    except ImportError:\n        pass\n"
        "    importlib.import_module('lab.by_name')\n"
        "    importlib.import_module('lab.' + made)\n"
        "from bench.errors import UserError\n"
    ),
    "lab/sibling.py": "from lab import judge",  # a circle
    "other_lab/thing.py": "",
    **{
        f"lab/{name}.py": ""
        for name in (
            "runs_first", "deep/__init__", "deep/er", "dotted/name", "types_only", "at_run_time",
            "lazy", "optional", "by_name", "made", "unrelated",
        )
    },
}  # fmt: skip


def test_imports_are_followed_wherever_they_stand(tmp_path: Path, monkeypatch) -> None:
    """Not into other packages, not where types are checked; `lab/dotted` has no `__init__`."""
    monkeypatch.syspath_prepend(tmp_path)
    write(tmp_path, PLUGIN)
    found = Sources().modules(["lab.judge"])
    names = [
        "by_name",
        "at_run_time",
        "deep",
        "deep.er",
        "dotted.name",
        "judge",
        "lazy",
        "optional",
        "runs_first",
        "sibling",
    ]
    assert set(found) == {"lab", *(f"lab.{n}" for n in names), "bench", "bench.errors"}
    assert found["lab.deep"] == tmp_path / "lab" / "deep" / "__init__.py"
    assert "lab" not in sys.modules


def test_a_module_of_one_file_is_a_plugin_too(tmp_path: Path, monkeypatch) -> None:
    """One that also runs as a script tries a relative import first."""
    monkeypatch.syspath_prepend(tmp_path)
    write(tmp_path, {"one_file.py": "try:\n    from . import x\nexcept ImportError:\n    x = 1\n"})
    assert list(Sources().modules(["one_file"])) == ["one_file"]


def digest_of(folder: Path, text: str) -> str:
    write(folder, {"digested/one.py": text})
    return Sources().digest(["digested.one"])


def test_comments_docstrings_and_types_do_not_change_the_digest(tmp_path, monkeypatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    original = digest_of(tmp_path, CODE)
    bare = "def double(x):\n    return (x *\n        2)\n"
    assert digest_of(tmp_path, bare) == original
    assert digest_of(tmp_path, CODE.replace("Doubled", "Twice").replace("comment", "x")) == original
    assert digest_of(tmp_path, f"if TYPE_CHECKING:\n    import json\n{bare}") == original
    assert digest_of(tmp_path, CODE.replace("* 2", "* 3")) != original
    assert digest_of(tmp_path, f"import json\n{bare}") != original


def test_modules_are_digested_in_any_order_without_being_imported() -> None:
    code = (
        "import sys; from bench.pipeline.sources import Sources; d = Sources().digest;"
        "assert d(['bench.rl.kl', 'bench.errors']) == d(['bench.errors', 'bench.rl.kl']);"
        "assert d(['bench.rl.kl']) != d(['bench.errors']);"
        "assert not {'torch', 'bench.rl'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", ["bench.nothing", "no_such_package", "no_such.module", "__main__"])
def test_a_root_without_source_is_an_error(name: str, monkeypatch) -> None:
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", None, raising=False)
    with pytest.raises(UserError, match=f"no source file for the module {name}"):
        Sources().modules([name])


def test_a_file_that_is_not_python_is_named(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    write(tmp_path, {"half_written.py": "x = 1\ndef f(:\n"})
    with pytest.raises(UserError, match=r"half_written.py, line 2: not Python"):
        Sources().digest(["half_written"])
