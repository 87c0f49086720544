"""The documentation's site: what its strict build refuses, and what it needs of elsewhere.

Run by `tox -e docs`, with `--noconftest`: its environment has no torch.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
READ = ("bench", "methods", "docs", "benchmarks")  # folders that the site is made of

if "BENCH_DOCS" not in os.environ:
    pytest.importorskip("mkdocs")


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The repository as far as the site reads it."""
    copied = tmp_path / "copy"
    skip = shutil.ignore_patterns("__pycache__", "assets", "*.egg-info")
    for name in READ:
        shutil.copytree(ROOT / name, copied / name, ignore=skip)
    for file in (*ROOT.glob("*.md"), ROOT / "CITATION.cff", ROOT / "LICENSE"):
        shutil.copy(file, copied)
    return copied


def build(root: Path) -> subprocess.CompletedProcess[str]:
    config = root / "docs" / "site" / "mkdocs.yml"
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-f", str(config)]
    return subprocess.run(
        [*command, "-d", str(root / "out")], capture_output=True, text=True, check=False
    )


def test_a_new_page_is_in_the_menu_and_nothing_is_loaded_from_elsewhere(copy: Path) -> None:
    page = "# A page that nobody named\n\n[back](../README.md#results), [file](../CITATION.cff)\n"
    (copy / "docs" / "new.md").write_text(page)
    done = build(copy)
    assert done.returncode == 0, done.stdout + done.stderr
    front = (copy / "out" / "index.html").read_text()
    assert "What does finer-grained supervision buy in RLHF?" in front
    assert "A page that nobody named" in front
    page = (copy / "out" / "docs" / "new" / "index.html").read_text()
    assert 'href="../../#results"' in page
    assert "ppo_policy_loss" in (copy / "out" / "reference" / "bench.rl" / "index.html").read_text()
    loaded = re.compile(r"""<(?:script|img|iframe)[^>]* src="?http|<link[^>]* href="?http[^>]*>""")
    for file in (copy / "out").rglob("*.html"):
        found = [tag for tag in loaded.findall(file.read_text()) if "canonical" not in tag]
        assert not found, file


@pytest.mark.parametrize(
    ("link", "said"),
    [
        ("training.md#no-such-heading", "does not contain an anchor '#no-such-heading'"),
        ("nosuch.md", "'docs/nosuch.md' is not found"),
        ("../bench/cli/app.py", "'bench/cli/app.py' is not found"),  # in no page and not shown
    ],
)
def test_a_link_that_leads_nowhere_ends_the_build(copy: Path, link: str, said: str) -> None:
    (copy / "docs" / "new.md").write_text(f"# New\n\n[there]({link})\n")
    done = build(copy)
    assert done.returncode != 0
    assert said in done.stdout + done.stderr
