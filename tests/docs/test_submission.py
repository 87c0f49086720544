"""docs/submit.md and its recipe: every rule is told, and the recipe's own commands do it."""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from leaderboard.submission.bundle import pack
from tests.leaderboard.offers import offered, table
from tests.leaderboard.test_submission_rules import BROKEN, RULES
from tests.records.test_provenance import git

__all__ = ["table"]
ROOT = Path(__file__).parents[2]
RECIPE = ROOT / "docs" / "recipes" / "submission.yml"


def test_every_rule_is_told() -> None:
    page = (ROOT / "docs" / "submit.md").read_text(encoding="utf-8")
    told = re.findall(r"^\| ([a-z ]+?)(?: \(`--rerun SEED`\))? \|", page, re.MULTILINE)
    rules = {*RULES, *(case.partition(":")[0] for case in BROKEN), "rerun"}
    assert set(told) - {"rule"} == rules


@pytest.fixture
def job() -> dict[str, Any]:
    workflow = yaml.safe_load(RECIPE.read_text(encoding="utf-8"))
    assert workflow["permissions"] == {"contents": "read"}
    found: dict[str, Any] = workflow["jobs"]["verify"]
    return found


def test_the_recipe_uses_official_actions_and_the_base_branchs_code(job: dict[str, Any]) -> None:
    used = [step["uses"] for step in job["steps"] if "uses" in step]
    assert used
    assert all(name.startswith("actions/") for name in used)
    assert job["steps"][0]["with"]["ref"] == "${{ github.event.pull_request.base.sha }}"
    assert not any("${{" in step.get("run", "") for step in job["steps"])  # no text becomes code


def taken(job: dict[str, Any], origin: Path, work: Path) -> subprocess.CompletedProcess[str]:
    """The recipe's own steps, behind the installation, on a pull request to `origin`'s main."""
    git(work.parent, "clone", "-q", "--branch", "main", str(origin), str(work))
    head = ["git", "-C", str(origin), "rev-parse", "theirs"]
    sha = subprocess.run(head, capture_output=True, text=True, check=True).stdout.strip()
    steps = [step["run"] for step in job["steps"] if "run" in step][1:]
    script = "\n".join(f"(\n{step}\n)" for step in steps)
    bin_dir = str(Path(sys.executable).parent)
    env = {"PATH": f"{bin_dir}:/usr/bin:/bin", "PYTHONPATH": str(ROOT), "HEAD": sha}
    env |= {"GITHUB_STEP_SUMMARY": str(work / "all.md"), "HOME": str(work), "COLUMNS": "200"}
    return subprocess.run(
        ["bash", "-e", "-c", script], cwd=work, env=env, capture_output=True, text=True, check=False
    )


@pytest.fixture
def origin(table: Path, tmp_path: Path) -> Path:
    """A repository with published results, and a branch that adds a bundle and a file more."""
    folder = tmp_path / "origin"
    shutil.copytree(table, folder / "results")
    git(folder, "init", "-q", "-b", "main")
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "published")
    git(folder, "checkout", "-q", "-b", "theirs")
    (folder / "submissions").mkdir()
    (folder / "submissions" / "segment ppo.zip").write_bytes(pack(offered(tmp_path / "offered")))
    (folder / "conftest.py").write_text("raise SystemExit('theirs runs')\n")
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "my row")
    return folder


@pytest.mark.slow
def test_the_recipe_verifies_a_bundle_and_renders_its_row(
    job: dict[str, Any], origin: Path, tmp_path: Path
) -> None:
    done = taken(job, origin, tmp_path / "work")
    assert done.returncode == 0, done.stderr
    assert "| seeds | ok | the rows' 5 |" in (tmp_path / "work" / "all.md").read_text()
    assert "segment_ppo" in (tmp_path / "work" / "site" / "index.html").read_text()
    assert not (tmp_path / "work" / "conftest.py").exists()


@pytest.mark.slow
def test_the_recipe_fails_where_one_bundle_is_none(
    job: dict[str, Any], origin: Path, tmp_path: Path
) -> None:
    (origin / "submissions" / "another.zip").write_text("no bundle")
    git(origin, "add", ".")
    git(origin, "commit", "-q", "-m", "another")
    done = taken(job, origin, tmp_path / "work")
    assert done.returncode == 2, done.stderr
    assert "another.zip: no bundle that `submit` wrote" in done.stderr
    assert "| seeds | ok |" in (tmp_path / "work" / "all.md").read_text()  # of the other one
