"""`bench fetch` against a server that speaks the hub's API; each verb in a process of its own.

A process of its own, since huggingface_hub reads HF_ENDPOINT and HF_HOME when it is imported.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.config.run import RunConfig
from bench.hub import HubRepo
from bench.running.fetching import needed
from bench.suites.testbed.suite import Testbed
from tests.hub import OLD, Hub

ASSETS = {path.name: path.read_bytes() for path in Path(Testbed.model_path).iterdir()}
MODEL = "--set", "model.path=org/small"


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub() as running:
        running.add("models", "org/small", {**ASSETS, "pytorch_model.bin": b"", "onnx/a.json": b""})
        yield running


def bench(hub: Hub, home: Path, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bench", *arguments],
        env=os.environ | {"HF_ENDPOINT": hub.url, "HF_HOME": str(home)} | env,
        capture_output=True,
        text=True,
        check=False,
    )


def test_what_was_fetched_runs_without_the_hub(hub: Hub, tmp_path: Path) -> None:
    home, store = tmp_path / "home", ("--store", str(tmp_path / "store"))
    listed = bench(hub, home, "fetch", *MODEL, "--dry-run")
    assert listed.returncode == 0, listed.stderr
    for said in ("model org/small", OLD[:12], "apache-2.0"):
        assert said in listed.stdout
    assert not list(home.rglob("*.safetensors"))

    plan = ("run", "--method", "token_ppo", *MODEL, *store, "--dry-run")
    before = bench(hub, home, *plan, HF_HUB_OFFLINE="1")
    assert before.returncode == 2
    assert "is not in the cache" in before.stderr

    fetched = bench(hub, home, "fetch", *MODEL)
    assert fetched.returncode == 0, fetched.stderr
    (snapshot,) = home.rglob(f"snapshots/{OLD}")
    there = {path.relative_to(snapshot).as_posix() for path in snapshot.rglob("*")}
    assert there == set(ASSETS)  # neither pickles nor what stands in folders

    hub.asked.clear()
    after = bench(hub, home, *plan, HF_HUB_OFFLINE="1")
    assert after.returncode == 0, after.stderr
    assert not hub.asked


@pytest.mark.parametrize("setting", ["sft.steps=1", "model.path={here}", "sft.path={here}"])
def test_what_is_here_needs_nothing_of_the_hub(hub: Hub, tmp_path: Path, setting: str) -> None:
    """The embedded default, and a model in one GGUF file."""
    (tmp_path / "model.gguf").touch()
    setting = setting.format(here=tmp_path / "model.gguf")
    found = bench(hub, tmp_path, "fetch", "--set", setting)
    assert found.returncode == 0
    assert "need nothing of the hub" in found.stdout
    assert not hub.asked


@pytest.mark.parametrize(
    ("arguments", "env", "message"),
    [
        (("model.path=org/other",), {}, "the hub has no model org/other, or it is private"),
        (("model.path=org/gated",), {}, "the model org/gated is gated: ask for access"),
        (("model.path=package:no-such",), {}, "the package no-such is not installed: pip install"),
        (("model.path=org/small", "model.revision=v2"), {}, "has no revision 'v2'"),
        (("model.path=org/pickle",), {}, "the model org/pickle on the hub has no .safetensors"),
        (("model.path=org/small",), {"HF_HUB_OFFLINE": "1"}, "HF_HUB_OFFLINE is set: unset it"),
        (("model.path=org/small",), {"HF_ENDPOINT": "http://127.0.0.1:9"}, "the hub did not give"),
    ],
)
def test_what_the_hub_does_not_give_is_one_line(
    hub: Hub, tmp_path: Path, arguments: tuple[str, ...], env: dict[str, str], message: str
) -> None:
    hub.add("models", "org/gated", ASSETS)
    hub.gated.add("models/org/gated")
    hub.add("models", "org/pickle", {"config.json": b"{}", "pytorch_model.bin": b""})
    settings = [word for argument in arguments for word in ("--set", argument)]
    found = bench(hub, tmp_path, "fetch", *settings, **env)
    assert found.returncode in (1, 2)
    (line,) = found.stderr.splitlines()
    assert message in line


def test_each_repository_is_listed_once_with_all_that_its_parts_read() -> None:
    class Parts(Testbed):
        model_path = "org/small"

        def data_files(self, part: str) -> list[HubRepo | Path]:
            if part in ("pairs", "test"):
                return [HubRepo("org/data", kind="dataset", files=(f"{part}.json",))]
            return [Path("here.jsonl")] if part == "edits" else []

    model, data = needed(RunConfig(), Parts())
    assert (model.kind, model.name) == ("model", "org/small")
    assert (data.name, data.files) == ("org/data", ("pairs.json", "test.json"))
