"""A method's own token source, of its own plan, on models that were never trained."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from bench.models.backbone import Backbone
from bench.models.heads import RewardModel, ScalarHead
from bench.models.segmenters import SENTENCES, Segments
from bench.pipeline.stage import Stage
from bench.plugins.protocols import SourceInputs, TokenSource
from bench.plugins.registry import METHODS, SEGMENTERS, TOKEN_SOURCES
from bench.plugins.targets import import_target
from bench.suites.testbed.suite import Testbed
from benchmarks.credit.placing import Planned
from tests.tiny import LORA, stir, tiny_backbone

PAYING = [name for name in METHODS.names() if Planned.of(name).source is not None]


def source_of(planned: Planned, folder: Path) -> tuple[TokenSource, Backbone]:
    """The source, of the artifacts that its plan names, and the model that it stands on."""
    assert planned.source is not None
    backbone = tiny_backbone()
    stages = planned.policy.inputs[1:]  # the first is SFT
    folders = [_artifact(stage, backbone, folder / str(i)) for i, stage in enumerate(stages)]
    return _make(planned.source, backbone, iter(folders)), backbone


def _make(described: Mapping[str, Any], backbone: Backbone, folders: Iterator[Path]) -> TokenSource:
    own = [next(folders) for _ in described["reads"]]
    parts = [_make(part, backbone, folders) for part in described["parts"]]
    target = TOKEN_SOURCES.entry(described["name"]).target
    inputs = SourceInputs(backbone, Testbed(), own, parts, described["options"])
    made: TokenSource = import_target(target)(inputs)
    return made


def _artifact(stage: Stage, backbone: Backbone, folder: Path) -> Path:
    """What the stage would have written, with random weights."""
    folder.mkdir(parents=True)
    backbone.add_adapter("made", LORA)
    stir(backbone, "made", seed=len(stage.name))
    if "granularity" in stage.config:
        head = ScalarHead(backbone.hidden_size, generator=torch.Generator().manual_seed(0))
        model = RewardModel(backbone, "made", head, stage.config["granularity"], _segments(stage))
        model.mean, model.std = 0.3, 1.7
        model.save(folder, {})
    else:
        backbone.save_adapter("made", folder / "policy")
    backbone.drop_adapter("made")
    return folder


def _segments(stage: Stage) -> Segments:
    chosen = stage.config.get("segmenter")
    if chosen is None:
        return SENTENCES
    return Segments(SEGMENTERS.entry(chosen["name"]).target, chosen["options"])
