"""Where nothing is computed no torch is imported, which alone takes longer than all the rest."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from bench.pipeline.progress import Progress
from bench.pipeline.store import Store
from bench.records.files import PUBLISHED, read_record
from bench.running import runner
from tests.integration.test_run import SMALL, config

HEAVY = ("torch", "transformers", "scipy.stats", "pandas")
RUN = str(next((PUBLISHED / "testbed").glob("token_ppo-s0-*")))


class Stored(NamedTuple):
    """A run whose stages are all in a store."""

    store: Path
    results: Path


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Stored:
    root = tmp_path_factory.mktemp("stored")
    found = Stored(root / "store", root / "results")
    settings = config("method=token_ppo", "ppo.steps=1")
    runner.run(settings, store=Store(found.store), results=found.results, progress=Progress())
    return found


def bench(*arguments: str) -> tuple[str, list[str]]:
    """What a command printed in a process of its own, and what of `HEAVY` it imported."""
    code = (
        "import atexit, sys\n"
        f"atexit.register(lambda: print('heavy:', *({set(HEAVY)!r} & set(sys.modules))))\n"
        f"sys.argv[1:] = {list(arguments)!r}\n"
        "from bench.cli import main; main()\n"
    )
    env = os.environ | {"COLUMNS": "120"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env
    )
    said, _, heavy = done.stdout.rpartition("heavy:")
    return said, heavy.split()


def run(stored: Stored, *more: str) -> tuple[str, list[str]]:
    overrides = [word for one in (*SMALL, "ppo.steps=1") for word in ("--set", one)]
    where = ["--store", str(stored.store)]
    return bench("run", "--method", "token_ppo", *overrides, *where, *more)


def test_a_run_whose_stages_are_stored_imports_no_torch(stored: Stored, tmp_path: Path) -> None:
    for folder in (stored.results, tmp_path):  # its record is there, or not
        said, heavy = run(stored, "--results", str(folder))
        assert "Your runs beside the published ones" in said
        assert heavy == []


def test_its_record_has_the_machine_that_computed(stored: Stored, tmp_path: Path) -> None:
    """Not that of the command which found all of it in the store, with other threads, say."""
    stage = next((stored.store / "judgement").glob("*/meta.json"))
    meta = json.loads(stage.read_text())
    meta["stats"]["hardware"]["threads"] = 7
    stage.write_text(json.dumps(meta))
    run(stored, "--results", str(tmp_path))
    (path,) = tmp_path.glob("*/*/record.json")
    record = read_record(path)
    assert all(stage.cached for stage in record.stages)
    assert record.hardware.threads == 7
    assert record.hardware.dtype == "float32"


def test_a_dry_run_of_what_is_stored_imports_no_torch(stored: Stored) -> None:
    said, heavy = run(stored, "--dry-run")
    assert "to do" not in said
    assert said.count(" stored ") == 9
    assert heavy == []


@pytest.mark.parametrize(
    "arguments",
    [
        ["leaderboard"],
        ["leaderboard", "--format", "md"],
        ["list"],
        ["show", RUN],  # by name it may be a run of one's own, too
        ["compare", "token_ppo", "ppo_rlhf", "--suite", "testbed"],
        ["config"],
        ["config", "--method", "token_ppo"],
        ["power", "token_ppo", "ppo_rlhf", "--suite", "testbed"],
        ["check", RUN, "--baseline", str(PUBLISHED / "testbed")],
    ],
    ids=" ".join,
)
def test_what_reads_records_imports_no_torch(arguments: list[str]) -> None:
    said, heavy = bench(*arguments)
    assert len(said.splitlines()) > 3
    assert heavy == []


def test_a_stage_that_is_not_stored_is_still_counted(stored: Stored, tmp_path: Path) -> None:
    elsewhere: Any = stored._replace(store=tmp_path)
    said, heavy = run(elsewhere, "--dry-run")
    assert "Memory at most" in said
    assert "torch" in heavy
