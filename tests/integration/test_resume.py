"""Every stage that takes long, killed at a checkpoint, ends to the byte as if it had not been."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bench.config.loading import load_config
from bench.config.run import ModelConfig, RunConfig
from bench.models.rollout import Sampling
from bench.pipeline import stage as pipeline
from bench.pipeline.progress import Progress
from bench.pipeline.store import Store
from bench.records.files import read_record
from bench.records.labels import folder_of
from bench.running import runner
from bench.running.plan import make_plan
from bench.stages import samples
from bench.training.checkpoints import Checkpoints
from tests.integration.test_run import SMALL

# After which of its checkpoints each is killed.
STAGES = {"sft": 2, "samples": 1, "reward_model": 2, "ppo": 1, "outputs": 4}
METHOD = "token_ppo"
# Likewise of methods that have other stages than that one.
OTHERS = {"best_of_n": {"outputs": 6}, "expert_iteration": {"best_responses": 2, "offline": 1}}
KILLED = {METHOD: STAGES, **OTHERS}


def few_at_a_time(model: ModelConfig, max_new_tokens: int, temperature: float) -> Sampling:
    """So that there are chunks to stop between; of the run that is not killed too."""
    return Sampling(max_new_tokens, temperature, batch_size=4)


def settings(method: str = METHOD) -> RunConfig:
    own = ["sft.steps=5"] if method == METHOD else ["reward.n=4"]
    return load_config("testbed", [*SMALL, *own], method=method)


def run(store: Store, results: Path, method: str = METHOD) -> None:
    samples.Sampling = SimpleNamespace(of=few_at_a_time)  # type: ignore[misc, assignment]
    try:
        record = runner.run(settings(method), store=store, results=results, progress=Progress())
    finally:
        samples.Sampling = Sampling  # type: ignore[misc]
    assert record.status == "ok"


def run_and_die(root: str, stage: str, method: str) -> None:
    """Run in this process, which ends by SIGKILL at a checkpoint of the stage."""
    write, count = Checkpoints.write, 0

    def write_and_die(self: Checkpoints, state: dict[str, object]) -> None:
        nonlocal count
        write(self, state)
        count += self._path.parts[-3].startswith(f"{stage}-")
        if count == KILLED[method][stage]:
            signal.raise_signal(signal.SIGKILL)

    Checkpoints.due = lambda self: True  # type: ignore[method-assign]
    Checkpoints.write = write_and_die  # type: ignore[method-assign]
    run(Store(Path(root)), Path(root).parent / "results", method)


def contents(store: Store) -> Iterator[tuple[str, bytes]]:
    """Files of all artifacts, by name; those of which some of the text is a time, without it."""
    for file in sorted(store.root.glob("*/*/**/*")):
        name = file.relative_to(store.root).as_posix()
        if not file.is_file() or name.startswith(("partial/", "locks/")):
            continue
        content = file.read_bytes()
        if file.name == "meta.json":
            meta = json.loads(content)
            stats = {k: v for k, v in meta["stats"].items() if not k.startswith("peak_memory")}
            content = json.dumps(
                [meta["stage"], meta["key"], stats, sorted(meta["files"])]
            ).encode()
        elif file.name == "adapter_config.json":  # PEFT writes a set, in any order
            config = json.loads(content)
            config["target_modules"].sort()
            content = json.dumps(config).encode()
        elif file.name == "metrics.jsonl":
            rows = [json.loads(line) for line in content.splitlines()]
            content = json.dumps([{**row, "seconds": None} for row in rows]).encode()
        # PEFT's README.md names the base's folder.
        yield name, content.replace(bytes(store.root), b"STORE")


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs POSIX signals")
@pytest.mark.parametrize("method", KILLED)
def test_a_run_that_is_killed_in_every_stage_is_the_run(method: str, tmp_path: Path) -> None:
    said: list[str] = []
    whole, killed = Store(tmp_path / "whole"), Store(tmp_path / "killed", warn=said.append)
    run(whole, tmp_path / "results", method)
    for stage in KILLED[method]:
        where = f"{str(killed.root)!r}, {stage!r}, {method!r}"
        code = f"from {__name__} import run_and_die; run_and_die({where})"
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            cwd=Path(__file__).parents[2],
            check=False,
        )
        assert done.returncode == -signal.SIGKILL, done.stderr
        (left,) = (killed.root / "partial").iterdir()
        assert left.name.startswith(f"{stage}-")
        assert {file.name for file in left.iterdir()} >= {"checkpoint"}
    run(killed, tmp_path / "results", method)
    assert said == [f"{stage}: going on where an interrupted run stopped"]
    assert dict(contents(killed)) == dict(contents(whole))
    assert not list((killed.root / "partial").iterdir())


@pytest.mark.slow
def test_ctrl_c_in_any_stage_ends_the_run_and_it_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGINT in each stage in turn: a record that says so, and nothing half stored."""
    store, results = Store(tmp_path / "store"), tmp_path / "results"
    planned, _ = make_plan(settings(), store)
    names = [stage.name for stage in planned.stages]
    assert {"preferences", "edits", "rm_evaluation", "judgement", *STAGES} == set(names)
    for name in names:
        build = pipeline._measured

        def interrupted(stage: Any, *args: Any, wanted: str = name, build: Any = build) -> Any:
            made = build(stage, *args)
            if stage.name == wanted:  # all is written, and not stored yet
                signal.raise_signal(signal.SIGINT)
            return made

        with monkeypatch.context() as patch:
            patch.setattr(pipeline, "_measured", interrupted)
            with pytest.raises(KeyboardInterrupt):
                run(store, results)
        record = read_record(folder_of(settings(), results))
        assert (record.status, record.error) == ("interrupted", "KeyboardInterrupt")
        assert name not in {stage.name for stage in record.stages}
        stage = next(stage for stage in planned.stages if stage.name == name)
        assert store.find(name, stage.key) is None
    run(store, results)
    assert read_record(folder_of(settings(), results)).status == "ok"
