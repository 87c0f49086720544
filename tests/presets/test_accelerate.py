"""The configurations for `accelerate launch`, read and started by accelerate itself."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from accelerate.commands.config.config_args import ClusterConfig, load_config_from_file

from bench.config.presets import FOLDER

FILES = sorted((FOLDER / "accelerate").glob("*.yaml"))
SAYS = (  # in one write, for two processes share the output
    "import os, sys; sys.stdout.write('rank {RANK} of {WORLD_SIZE}\\n'.format(**os.environ))"
)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_accelerate_reads_it(file: Path) -> None:
    config = load_config_from_file(str(file))
    assert isinstance(config, ClusterConfig)
    assert config.num_processes == 8 * config.num_machines
    assert config.mixed_precision == "no"


def test_accelerate_starts_processes_with_it() -> None:
    (file,) = [file for file in FILES if file.stem == "one-machine"]
    launch = [sys.executable, "-m", "accelerate.commands.accelerate_cli", "launch"]
    asked = ["--config_file", str(file), "--num_processes", "2", "--no_python"]
    asked += ["--main_process_port", "0"]  # any that is free
    done = subprocess.run(
        [*launch, *asked, sys.executable, "-c", SAYS],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert sorted(done.stdout.split("\n"))[-2:] == ["rank 0 of 2", "rank 1 of 2"], done.stderr
