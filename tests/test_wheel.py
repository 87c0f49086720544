"""A wheel by way of an sdist, installed and used in folders with spaces in their names."""

import json
import os
import subprocess
import sys
import tarfile
import venv
import zipfile
from email import message_from_bytes
from pathlib import Path
from typing import NamedTuple

import pytest

from bench.records.files import PUBLISHED, read_record
from bench.records.provenance import BUILT, REPO
from leaderboard.analysis.aggregate import tables
from tests.integration.test_run import SMALL
from tests.records.test_provenance import git

MAX_MB = 12
MADE = BUILT.relative_to(REPO)


class Built(NamedTuple):
    """A checkout and what was built from it."""

    checkout: Path
    commit: str
    sdist: Path
    wheel: Path


def build(source: Path, kind: str, out: Path) -> Path:
    """Ask the build backend, as pip and `python -m build` do, without a network."""
    code = f"import setuptools.build_meta as b, sys; print(b.build_{kind}(sys.argv[1]))"
    command = [sys.executable, "-c", code, str(out)]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True, check=True)
    assert "absent from the `packages` configuration" not in done.stderr
    return out / done.stdout.splitlines()[-1]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """This tree as a clean checkout with a run of the user's own; its sdist; the wheel of that."""
    root = tmp_path_factory.mktemp("a folder with spaces")
    checkout, unpacked = root / "the checkout", root / "from the sdist"
    listed = ["git", "-C", str(REPO), "ls-files", "-z", "-co", "--exclude-standard"]
    names = subprocess.run(listed, capture_output=True, text=True, check=True).stdout.split("\0")
    for name in filter(None, names):
        if (REPO / name).is_file():
            (checkout / name).parent.mkdir(parents=True, exist_ok=True)
            (checkout / name).write_bytes((REPO / name).read_bytes())
    git(checkout, "init", "-q")
    git(checkout, "add", ".")
    git(checkout, "commit", "-q", "-m", "all of it")
    own = checkout / "results" / "runs" / "testbed" / "mine"
    own.mkdir(parents=True)
    (own / "record.json").write_text("{}")
    head = ["git", "-C", str(checkout), "rev-parse", "HEAD"]
    commit = subprocess.run(head, capture_output=True, text=True, check=True).stdout.strip()
    sdist = build(checkout, "sdist", root)
    with tarfile.open(sdist) as packed:
        packed.extractall(unpacked, filter="data")
    wheel = build(next(unpacked.iterdir()), "wheel", root)
    return Built(checkout, commit, sdist, wheel)


def files_of(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as opened:
        return {name: opened.read(name) for name in opened.namelist()}


@pytest.mark.slow
def test_the_wheel_is_small_and_has_the_published_records_and_nobodys_own(built: Built) -> None:
    files = files_of(built.wheel)
    assert built.wheel.stat().st_size < MAX_MB * 1e6
    assert built.sdist.stat().st_size < MAX_MB * 1e6
    published = {
        f"results/{path.relative_to(PUBLISHED).as_posix()}": path.read_bytes()
        for path in PUBLISHED.rglob("*.json*")
        if path.is_file() and path.relative_to(PUBLISHED).parts[0] != "runs"
    }
    assert len(published) > 100
    assert {n: c for n, c in files.items() if n.startswith("results/")} == published


@pytest.mark.slow
def test_the_studio_has_its_templates_and_files_with_the_licence(built: Built) -> None:
    files = files_of(built.wheel)
    web = REPO / "bench" / "studio" / "web"
    paths = [path for path in web.rglob("*.*") if path.is_file() and path.suffix != ".pyc"]
    assert {path.suffix for path in paths} >= {".html", ".js", ".css", ".md", ".LICENSE"}
    for path in paths:
        assert files[path.relative_to(REPO).as_posix()] == path.read_bytes()


@pytest.mark.slow
def test_every_package_is_typed_and_the_project_has_its_addresses(built: Built) -> None:
    files = files_of(built.wheel)
    packages = {name.split("/")[0] for name in files if name.endswith(".py")}
    assert packages == {"bench", "methods", "judges", "leaderboard"}
    assert {f"{package}/py.typed" for package in packages} <= files.keys()
    about = message_from_bytes(next(c for n, c in files.items() if n.endswith("/METADATA")))
    urls = [url.split(", ")[1] for url in about.get_all("Project-URL")]
    assert urls
    assert all(url in (REPO / "CITATION.cff").read_text() for url in urls)


@pytest.mark.slow
def test_a_build_says_its_commit_and_whether_the_sources_were_changed(built: Built) -> None:
    clean = {"commit": built.commit, "dirty": False, "diff_sha": None}
    assert json.loads(files_of(built.wheel)[MADE.as_posix()]) == clean
    assert not (built.checkout / MADE).exists()
    changed = built.checkout / "methods" / "sft.py"
    text = changed.read_text()
    changed.write_text(text + "\nMORE = 1\n")
    command = [sys.executable, "setup.py", "--quiet", "build_py", "--build-lib", "build/changed"]
    subprocess.run(command, cwd=built.checkout, capture_output=True, check=True)
    changed.write_text(text)
    said = json.loads((built.checkout / "build" / "changed" / MADE).read_text())
    assert (said["commit"], said["dirty"]) == (built.commit, True)
    assert len(said["diff_sha"]) == 64


@pytest.fixture(scope="module")
def python(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel, whose dependencies are those of the running one."""
    folder = tmp_path_factory.mktemp("an environment") / "with spaces"
    venv.create(folder, symlinks=True)
    python = folder / "bin" / "python"
    site = next(folder.glob("lib/python*/site-packages"))
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--no-deps"]
    quietly = ["--no-index", "--disable-pip-version-check", "-q"]
    subprocess.run([*pip, *quietly, str(built.wheel)], check=True, capture_output=True)
    # Afterwards: pip would find an editable install there, and take it for this one.
    shared = [path for path in sys.path if Path(path).name == "site-packages"]
    (site / "shared.pth").write_text("\n".join(shared) + "\n")
    return python


@pytest.mark.slow
def test_the_installed_wheel_works_in_any_folder(
    built: Built, python: Path, tmp_path: Path
) -> None:
    here = tmp_path / "my work"
    here.mkdir()
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    env |= {"BENCH_STORE": str(tmp_path / "a store"), "COLUMNS": "160", "NO_COLOR": "1"}
    env.pop("BENCH_RESULTS", None)

    def bench(*arguments: str) -> str:
        command = [str(python), "-m", "bench", *arguments]
        done = subprocess.run(
            command, cwd=here, env=env, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    first = tables(PUBLISHED / "testbed")[0][0].rows[0]
    cells = first.label, first.group, f"{100 * first.metrics['win_rate'].mean:.1f}"
    published = " ".join(map(str, cells))
    assert f"(commit {built.commit[:10]})" in bench("--version")
    assert "token_ppo" in bench("list")
    assert published in " ".join(bench("leaderboard").split())
    said = bench("run", "--method", "sft", *(f"--set={one}" for one in SMALL), "--threads", "1")
    assert "Published: testbed" in said
    folder = next((here / "results" / "runs" / "testbed").iterdir())
    code = read_record(folder).code
    assert (code.commit, code.dirty) == (built.commit, False)
    # One's own results folder does not hide the published records, nor they one's own runs.
    assert published in " ".join(bench("leaderboard").split())
    assert folder.name in bench("show", folder.name)
    checked = bench("check", "sft-s0-34a3abda", "--baseline", "results/testbed")
    assert "Regression check passed: sft-s0-34a3abda" in checked
    assert "token_ppo" in bench("compare", "token_ppo", "sft")
    assert "index.html" in bench("site", "--out", "a site")
