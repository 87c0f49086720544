"""Checkpoints, and the two loops that go on from one: to the bit as if they had never stopped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from bench.config.run import RewardModelConfig, SFTConfig
from bench.data import Demonstration
from bench.models.names import SFT
from bench.training import checkpoints as module
from bench.training.checkpoints import Checkpoints
from bench.training.objectives import ChangedTokensLoss
from bench.training.optimisation import Descent, generator
from bench.training.reward_model import RewardSpec, train_reward_model
from bench.training.sft import train_sft
from tests.tiny import LORA, tiny_backbone
from tests.training.test_reward_model import planted_pairs

ROWS = [Demonstration(prompt="Go.", response=" ".join(["red"] * n)) for n in range(1, 8)]


class Interrupted(Exception):
    pass


class Often(Checkpoints):
    """Writes after every step, and is interrupted once `limit` checkpoints are written."""

    def __init__(self, out: Path, limit: float = float("inf")) -> None:
        self.said: list[str] = []
        super().__init__(out, self.said.append)
        self.limit, self.count = limit, 0

    def due(self) -> bool:
        return True

    def write(self, state: dict[str, Any]) -> None:
        super().write(state)
        self.count += 1
        if self.count == self.limit:
            raise Interrupted


def test_what_is_written_is_read_and_nothing_else_left(tmp_path: Path) -> None:
    checkpoints = Often(tmp_path)
    assert checkpoints.read() is None
    rng = torch.Generator().manual_seed(3)
    for step in range(2):
        checkpoints.write({"step": step, "rng": rng.get_state(), "texts": [("a", [0.1])]})
    state = Often(tmp_path).read()
    assert state is not None
    assert (state["step"], state["texts"]) == (1, [("a", [0.1])])
    assert torch.equal(state["rng"], rng.get_state())
    assert [p.name for p in tmp_path.rglob("*") if p.is_file()] == ["state.pt"]
    assert checkpoints.said == []


@pytest.mark.parametrize("text", [b"", b"PK\x03\x04 half a file", b"\x80\x02not a checkpoint"])
def test_an_unreadable_one_is_told_and_begun_anew(tmp_path: Path, text: bytes) -> None:
    checkpoints = Often(tmp_path)
    checkpoints.write({"step": 1})
    (tmp_path / "checkpoint" / "state.pt").write_bytes(text)
    assert checkpoints.read() is None
    path = tmp_path / "checkpoint" / "state.pt"
    said = f"the checkpoint {path} cannot be read: the stage begins anew"
    assert checkpoints.said == [said]


def test_one_is_due_after_a_minute_or_when_writing_was_a_twentieth_of_the_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr(module.time, "monotonic", lambda: now)
    checkpoints = Checkpoints(tmp_path, print)

    def due_at(seconds: float) -> bool:
        nonlocal now
        now = seconds
        return checkpoints.due()

    def save(state: object, path: Path) -> None:
        nonlocal now
        now += 10.0
        path.write_bytes(b"")

    assert not due_at(59)
    assert due_at(60)
    monkeypatch.setattr(module.torch, "save", save)
    checkpoints.write({})  # until 70
    assert not due_at(269)
    assert due_at(270)


@pytest.mark.parametrize("full", [True, False])
@pytest.mark.parametrize("stop", [1, 3, 4, 9, 10])
def test_sft_goes_on_to_the_bit(tmp_path: Path, full: bool, stop: int) -> None:
    """10 steps of three passes (4 batches each), stopped within and at the end of a pass."""
    config = SFTConfig(steps=10, batch_size=2, lr=1e-2, full=full)

    def train(checkpoints: Checkpoints | None) -> Any:
        backbone, losses = tiny_backbone(), []
        counts = train_sft(
            backbone, ROWS, config, LORA, lambda row: losses.append(row["loss"]), checkpoints
        )
        weights = list(backbone.model.parameters()) if full else backbone.parameters(SFT)
        return counts, losses, [w.detach().clone() for w in weights]

    counts, losses, weights = train(None)
    with pytest.raises(Interrupted):
        train(Often(tmp_path, limit=stop))
    again_counts, again_losses, again_weights = train(Often(tmp_path))
    assert again_counts == counts
    assert again_losses == losses  # those before the checkpoint, too: the curve is whole
    assert all(map(torch.equal, again_weights, weights))


@pytest.mark.parametrize("spec", [RewardSpec("sequence"), RewardSpec("token", ChangedTokensLoss())])
@pytest.mark.parametrize("stop", [1, 3, 4, 6])
def test_a_reward_model_goes_on_to_the_bit(tmp_path: Path, spec: RewardSpec, stop: int) -> None:
    """Two passes of three batches, stopped within and at the end of each."""
    config = RewardModelConfig(epochs=2, batch_size=4, lr=1e-2)

    def train(checkpoints: Checkpoints | None) -> Any:
        rows: list[dict[str, float]] = []
        model, counts = train_reward_model(
            tiny_backbone(), planted_pairs(11, 0), spec, config, LORA, 0, rows.append,
            checkpoints,
        )  # fmt: skip
        weights = [*model.backbone.parameters("reward"), model.head.weight]
        return counts, rows, [w.detach().clone() for w in weights]

    counts, rows, weights = train(None)
    with pytest.raises(Interrupted):
        train(Often(tmp_path, limit=stop))
    again_counts, again_rows, again_weights = train(Often(tmp_path))
    assert again_counts == counts
    assert again_rows == rows
    assert all(map(torch.equal, again_weights, weights))


def test_how_often_one_is_written_decides_nothing(tmp_path: Path) -> None:
    """A checkpoint every step, at the third alone, or none: the same weights."""

    def train(checkpoints: Checkpoints | None) -> torch.Tensor:
        weight = torch.nn.Parameter(torch.ones(3))
        descent = Descent(
            [weight], lr=0.1, lr_schedule="linear", warmup=0.1, steps=9, max_grad_norm=1.0,
            rng=generator("x"),
            checkpoints=checkpoints,
        )  # fmt: skip
        for index in descent.batches([1, 2, 3, 4, 5], 2):
            loss = (weight * weight).sum() * (1 + index[0])
            descent.step([index], lambda part, loss=loss: (loss, {"loss": loss.detach()}))
        assert descent.done == 9
        return weight.detach()

    rare = Often(tmp_path / "rare")
    rare.due = lambda: rare.count == 0  # type: ignore[method-assign]
    for name in ("often", "rare"):
        (tmp_path / name).mkdir()
    expected = train(None)
    assert torch.equal(train(Often(tmp_path / "often")), expected)
    assert torch.equal(train(rare), expected)
    assert rare.count == 1
