"""What CONTRIBUTING.md promises: its example is a whole method, found by entry point alone."""

import re
from pathlib import Path

from typer.testing import CliRunner

from bench.cli import app
from bench.plugins.registry import METHODS

GUIDE = Path(__file__).parents[1] / "CONTRIBUTING.md"


def install_the_example(folder: Path) -> None:
    """Put the guide's code and entry point where pip would."""
    guide = GUIDE.read_text(encoding="utf-8")
    code, entry_point = (
        re.search(f"```{language}\\n(.*?)```", guide, re.DOTALL)[1]
        for language in ("python", "toml")
    )
    package, info = folder / "my_package", folder / "my_package-0.3.dist-info"
    package.mkdir()
    info.mkdir()
    (package / "__init__.py").touch()
    (package / "optimistic_ppo.py").write_text(code)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-package\nVersion: 0.3\n")
    declared = entry_point.replace("project.entry-points.", "").replace('"', "")
    (info / "entry_points.txt").write_text(declared)


def test_the_example_is_listed_and_planned(tmp_path: Path, monkeypatch) -> None:
    install_the_example(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("BENCH_STORE", str(tmp_path / "store"))
    assert METHODS.entry("optimistic_ppo").source == "my-package 0.3"
    planned = CliRunner().invoke(
        app, ["run", "--method", "optimistic_ppo", "--set", "reward.shift=1.5", "--dry-run"]
    )
    assert planned.exit_code == 0, planned.output
    for stage in ("sft", "preferences", "reward_model", "ppo", "judgement"):
        assert stage in planned.stdout
    refused = CliRunner().invoke(
        app, ["run", "--method", "optimistic_ppo", "--set", "reward.shft=1", "--dry-run"]
    )
    assert refused.exit_code == 2
    assert "did you mean reward.shift?" in refused.stderr
