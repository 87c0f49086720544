"""Plug-ins by name: built-in ones, and a third party's that is found without a change here."""

import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bench.cli import app
from bench.errors import UserError
from bench.plugins.entries import Entry, Registry
from bench.plugins.registry import JUDGES, METHODS, REGISTRIES, SUITES


def install(
    folder: Path,
    name: str,
    group: str,
    plugin: str,
    body: str = "class Plugin: Options = plan = None",
) -> None:
    """Lay a distribution out as pip does: a module, its metadata, and an entry point."""
    (folder / f"{name}.py").write_text(body)
    info = folder / f"{name}-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\nSummary: Hi\n"
    )
    (info / "entry_points.txt").write_text(f"[{group}]\n{plugin} = {name}:Plugin\n")


def test_builtins_are_listed_without_importing_torch() -> None:
    code = (
        "import sys; from bench.plugins.registry import METHODS; print(*METHODS.names());"
        "assert not {'torch', 'transformers', 'methods.token_ppo'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    named = done.stdout.split()
    assert named == sorted(named)
    assert {"sft", "ppo_rlhf", "fine_grained_ppo", "token_ppo", "gold_ppo"} <= set(named)


def test_every_file_of_methods_is_a_method() -> None:
    """One file a method, of its name; and none that nobody can call."""
    files = {path.stem for path in Path("methods").glob("*.py")} - {"__init__"}
    assert files == {entry.name for entry in METHODS.entries() if entry.source == "grainbench"}


@pytest.mark.parametrize("registry", REGISTRIES, ids=lambda registry: registry.kind)
def test_every_builtin_can_be_imported(registry: Registry) -> None:
    for entry in registry.entries():
        if entry.source == "grainbench":
            assert callable(registry.get(entry.name))


@pytest.mark.parametrize("registry", [METHODS, JUDGES, SUITES], ids=lambda r: r.kind)
def test_every_builtin_loads_and_knows_its_name(registry: Registry) -> None:
    for entry in registry.entries():
        if entry.source == "grainbench":
            assert registry.get(entry.name).name == entry.name


def test_an_unknown_name_is_answered_with_the_nearest_and_all() -> None:
    with pytest.raises(
        UserError, match=r"unknown method 'tokn_ppo'; did you mean 'token_ppo'"
    ) as e:
        METHODS.get("tokn_ppo")
    assert ", ".join(METHODS.names()) in str(e.value)
    assert e.value.exit_code == 2


def test_a_third_partys_method_is_found_by_entry_point(tmp_path, monkeypatch) -> None:
    install(tmp_path, "other_lab", "grainbench.methods", "my_grpo")
    monkeypatch.syspath_prepend(tmp_path)
    entry = METHODS.entry("my_grpo")
    assert (entry.summary, entry.source) == ("Hi", "other_lab 1.2")
    assert "other_lab" not in sys.modules
    assert METHODS.get("my_grpo").__name__ == "Plugin"
    assert "my_grpo" in METHODS.names()
    assert "my_grpo" not in JUDGES.names()


def test_two_plugins_of_one_name_are_an_error_that_names_both(tmp_path, monkeypatch) -> None:
    install(tmp_path, "impostor", "grainbench.methods", "sft")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(
        UserError, match=r"'sft': methods.sft:SFT \(grainbench\) and impostor:Plugin"
    ):
        METHODS.entries()


def test_a_plugin_that_cannot_be_imported_is_one_line(tmp_path, monkeypatch) -> None:
    install(tmp_path, "broken_lab", "grainbench.judges", "b", "import a_module_that_is_not_there")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError, match=r"cannot load judge 'b' from broken_lab:Plugin") as error:
        JUDGES.get("b")
    assert error.value.exit_code == 1


@pytest.mark.parametrize(
    "body", ["raise ValueError('of\\nits own')", "import sys; sys.exit('of its own')", "1 +"]
)
def test_a_plugin_that_raises_is_called_broken_and_named(body: str, tmp_path, monkeypatch) -> None:
    install(tmp_path, "raising_lab", "grainbench.methods", "raising", body)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError, match=r"from raising_lab:Plugin \(raising_lab 1\.2\): ") as e:
        METHODS.get("raising")
    assert e.value.exit_code == 1
    assert "\n" not in str(e.value)
    result = CliRunner().invoke(app, ["list"])
    assert result.exit_code == 0
    (line,) = [line for line in result.stdout.splitlines() if "raising" in line]
    assert "broken" in line


def test_what_is_no_method_is_called_broken_and_says_what_it_lacks(tmp_path, monkeypatch) -> None:
    install(tmp_path, "hasty_lab", "grainbench.methods", "hasty", "Plugin = object()")
    monkeypatch.syspath_prepend(tmp_path)
    said = r"hasty_lab:Plugin \(hasty_lab 1\.2\) is no method: it has no Options and no plan"
    with pytest.raises(UserError, match=said) as e:
        METHODS.get("hasty")
    assert e.value.exit_code == 1
    assert METHODS.is_broken(METHODS.entry("hasty"))


def test_a_missing_attribute_is_one_line() -> None:
    registry: Registry = Registry("thing", [Entry("a", "json:nothing", "")])
    with pytest.raises(UserError, match="cannot load thing 'a'"):
        registry.get("a")
    with pytest.raises(UserError, match=r"unknown thing 'zzz' \(one of: a\)"):
        registry.get("zzz")
