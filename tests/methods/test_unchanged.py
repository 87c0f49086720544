"""An edit that changes nothing teaches nothing; one that only adds blames no token."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from bench.config.run import OfflineConfig, RewardModelConfig
from bench.data import Preference
from bench.errors import UserError
from bench.plugins.protocols import TrainingInputs
from bench.plugins.registry import METHODS, OBJECTIVES
from bench.plugins.targets import import_target
from bench.training.comparisons import tokenise
from bench.training.offline import make_offline
from bench.training.reward_model import RewardSpec, train_reward_model
from benchmarks.credit.placing import Planned
from tests.tiny import LORA, tiny_backbone

SAME = Preference(prompt="Go.", chosen="A red house.", rejected="A red house.")
LONGER = Preference(prompt="Go.", chosen="A red house is here.", rejected="A red house")
EDITED = [name for name in METHODS.names() if Planned.of(name).reads_edits]


def train(planned: Planned, rows: list[Preference]) -> list[torch.Tensor]:
    """One step of what the method learns of edits; the weights that it moved."""
    backbone = tiny_backbone()
    models = [stage for stage in planned.policy.inputs if stage.name == "reward_model"]
    if models:
        chosen: dict[str, Any] = models[0].config["objective"]
        loss = import_target(OBJECTIVES.entry(chosen["name"]).target)(**chosen["options"])
        spec = RewardSpec(models[0].config["granularity"], loss)
        config = RewardModelConfig(epochs=1, batch_size=4)
        model, _ = train_reward_model(backbone, rows, spec, config, LORA, 0)
        return [*backbone.parameters("reward"), *model.head.parameters()]
    groups = tokenise(backbone.tokens, rows, 128)[0]
    inputs = TrainingInputs(
        backbone, OfflineConfig(batch_size=4), LORA, 0, groups=groups, loss=planned.loss
    )
    make_offline(inputs).run(dict, lambda row: None)
    return list(backbone.parameters("policy"))


@pytest.mark.parametrize("name", EDITED)
def test_no_changed_token(name: str) -> None:
    planned = Planned.of(name)
    alone, beside = train(planned, [LONGER]), train(planned, [LONGER, SAME])
    for one, other in zip(alone, beside, strict=True):
        assert one.isfinite().all()
        assert torch.equal(one, other)
    with pytest.raises(UserError, match="no pair has two different responses"):
        train(planned, [SAME])
