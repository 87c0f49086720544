"""The Pages recipe's own steps, and what the Dockerfile promises of the command line."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
RECIPE = ROOT / "docs" / "recipes" / "pages.yml"


def test_the_pages_recipe_makes_the_folder_that_it_publishes(tmp_path: Path) -> None:
    """The leaderboard where the artifact is taken from, the documentation below it."""
    steps = yaml.safe_load(RECIPE.read_text())["jobs"]["build"]["steps"]
    runs = [shlex.split(step["run"]) for step in steps if "run" in step]
    (leaderboard,) = [words for words in runs if words[:3] == ["python", "-m", "bench"]]
    (upload,) = [s for s in steps if "upload-pages-artifact" in s.get("uses", "")]
    options = ["--results", str(ROOT / "results")]
    command = [sys.executable, *leaderboard[1:], *options]
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    published = tmp_path / upload["with"]["path"]
    assert "<title>GrainBench" in (published / "index.html").read_text()
    (documentation,) = [words for words in runs if words[0] == "mkdocs"]
    config = ROOT / documentation[documentation.index("-f") + 1]
    text = config.read_text()
    (folder,) = [line.split()[1] for line in text.splitlines() if line.startswith("site_dir:")]
    assert (config.parent / folder).resolve() == ROOT / upload["with"]["path"] / "docs"


def test_the_image_copies_every_tracked_source() -> None:
    """With one left out of it the records of a container would say that the sources differ."""
    names = (ROOT / "docs/docker/Dockerfile.dockerignore").read_text().splitlines()
    left_out = [name.removeprefix("**/") for name in names if not name.startswith("#")]
    for pattern in left_out:
        command = ["git", "ls-files", "--", f":(glob){pattern}/**", f":(glob)**/{pattern}"]
        tracked = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        assert not tracked.stdout, pattern
