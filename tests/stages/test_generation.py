"""Sampling and generation for evaluation go on from a checkpoint, to the byte."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bench.config.loading import load_config
from bench.config.run import RunConfig
from bench.models.names import POLICY
from bench.models.rollout import Sampling
from bench.pipeline.progress import Progress
from bench.running.plan import make_plan
from bench.stages import outputs, samples
from bench.stages.outputs import build_outputs
from bench.stages.samples import build_samples
from bench.suites.testbed.suite import Testbed
from tests.tiny import LORA, stir, stop_often, tiny_backbone
from tests.training.test_checkpoints import Interrupted, Often

CONFIG = RunConfig.model_validate(
    {
        "preferences": {"pairs": 8, "held_out": 2, "responses": 3, "max_new_tokens": 6},
        "evaluation": {"test_prompts": 4, "unseen_prompts": 4, "max_new_tokens": 6},
    }
)


@pytest.fixture
def context(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A run on a tiny model, which each attempt loads anew."""

    def load_sft(context: Any, folder: Path) -> Any:
        backbone = tiny_backbone()
        stop_often(backbone)
        return backbone

    for module in (samples, outputs):
        monkeypatch.setattr(module, "load_sft", load_sft)
    # 30 responses in chunks of 8.
    few = SimpleNamespace(of=lambda _, new, temperature: Sampling(new, temperature, batch_size=1))
    monkeypatch.setattr(samples, "Sampling", few)
    return SimpleNamespace(config=CONFIG, suite=Testbed(), progress=Progress())


def files(build: Any, context: Any, out: Path, inputs: list[Path], stop: int) -> dict[str, bytes]:
    """What a build leaves, interrupted at its checkpoint number `stop` if it has so many."""
    out.mkdir()
    patch = pytest.MonkeyPatch()
    for limit in (stop, float("inf")):
        with patch.context() as attempt:
            for module in (samples, outputs):
                attempt.setattr(
                    module, "Checkpoints", lambda out, say, limit=limit: Often(out, limit)
                )
            try:
                build(context, out, inputs)
                break
            except Interrupted:
                assert limit == stop
    else:
        raise AssertionError
    return {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()}


@pytest.mark.parametrize("stop", [1, 3, 4])
def test_sampling_goes_on_to_the_byte(context: Any, tmp_path: Path, stop: int) -> None:
    whole = files(build_samples, context, tmp_path / "whole", [tmp_path], 99)
    assert whole.keys() == {"samples.jsonl", "rankings.jsonl"}
    assert files(build_samples, context, tmp_path / "again", [tmp_path], stop) == whole


@pytest.mark.parametrize("stop", [1, 2, 3, 4])
def test_generation_goes_on_to_the_byte(context: Any, tmp_path: Path, stop: int) -> None:
    """Stopped behind the samples, the greedy responses and the unseen prompts: the KL draws too."""
    backbone = tiny_backbone()
    backbone.add_adapter(POLICY, LORA)
    stir(backbone, POLICY)
    for name in ("policy", "matched"):
        backbone.save_adapter(POLICY, tmp_path / name)
    inputs = [tmp_path, tmp_path]
    whole = files(build_outputs, context, tmp_path / "whole", inputs, 99)
    assert files(build_outputs, context, tmp_path / "again", inputs, stop) == whole


def test_how_many_are_decoded_at_once_is_in_no_key() -> None:
    plain, few = (
        [stage.key for stage in make_plan(load_config(overrides=changes))[0].stages]
        for changes in ([], ["model.decode_batch_size=8"])
    )
    assert plain == few
