"""Another lab's package: a method with an objective, segmenter, source and advantage of its own."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from bench.pipeline.progress import Progress
from bench.pipeline.store import Store
from bench.running import runner
from bench.running.plan import make_plan
from tests.integration.test_run import config

CODE = '''
"""A lab's ways."""

from dataclasses import dataclass

import torch

from bench.config.section import Section
from bench.rl import token_rewards


@dataclass(frozen=True)
class Hinge:
    gap: float
    ranks = False

    def loss(self, scored):
        better, worse = scored.scores.unbind(1)
        return torch.relu(self.gap - better + worse).mean()


class Halves:
    def __init__(self, backbone):
        pass

    def ends(self, batch):
        place = torch.arange(1, batch.mask.shape[1] + 1)
        return (place == (batch.lengths[:, None] + 1) // 2) & batch.mask


@dataclass(frozen=True)
class Doubled:
    model: object
    row_sum = "nothing in particular"
    name = "doubled"

    def paid(self, rollout):
        return 2 * self.model.paid(rollout.batch)

    def scores(self, rollout):
        return self.model.scores(rollout.batch)


def make_doubled(inputs):
    from bench.stages.sources.making import our_reward_model

    return Doubled(our_reward_model(inputs, "doubled", "segment"))


@dataclass(frozen=True)
class Plain:
    config: object
    weight: float
    uses_value = False
    samples = 2

    def estimate(self, rewards, values, rollout):
        mask = rollout.batch.mask
        return self.weight * rewards.total * mask, torch.zeros_like(rewards.total)


class Halved:
    name = "halved"

    class Options(Section):
        gap: float = 1.0

    def __init__(self, options):
        self.options = options

    def plan(self, stages):
        model = stages.reward_model(
            stages.edits(),
            granularity="segment",
            objective="hinge",
            options={"gap": self.options.gap},
            segmenter="halves",
        )
        paid_by = stages.source("doubled", model)
        return stages.ppo(
            self, paid_by, advantage="plain", advantage_options={"weight": 0.5}
        )

    def rewards(self, paid, mask):
        return token_rewards(paid, mask)


@dataclass(frozen=True)
class Likelier:
    by: float
    ranks = False
    reads = "reference"

    def weight(self, groups):
        return len(groups)

    def loss(self, compared):
        better, worse = compared.log_ratios.unbind(1)
        return torch.relu(self.by - better + worse).mean()


class Hinged:
    name = "hinged"

    class Options(Section):
        by: float = 1.0

    def __init__(self, options):
        self.options = options

    def plan(self, stages):
        return stages.offline(stages.edits(), loss="likelier", options={"by": self.options.by})
'''
POINTS = {
    "methods": "halved = halves_lab:Halved\nhinged = halves_lab:Hinged",
    "objectives": "hinge = halves_lab:Hinge",
    "segmenters": "halves = halves_lab:Halves",
    "token_sources": "doubled = halves_lab:make_doubled",
    "advantages": "plain = halves_lab:Plain",
    "offline_losses": "likelier = halves_lab:Likelier",
}


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The package, installed for this test alone."""
    folder = tmp_path / "site"
    info = folder / "halves_lab-0.1.dist-info"
    info.mkdir(parents=True)
    (folder / "halves_lab.py").write_text(CODE)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: halves_lab\nVersion: 0.1\n")
    points = "".join(f"[grainbench.{group}]\n{line}\n" for group, line in POINTS.items())
    (info / "entry_points.txt").write_text(points)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(sys.modules, "halves_lab", raising=False)
    return folder


@pytest.mark.usefixtures("lab")
def test_a_package_brings_a_method_with_all_that_it_is_made_of(tmp_path: Path) -> None:
    settings = config("method=halved", "ppo.steps=2")
    record = runner.run(
        settings, store=Store(tmp_path / "store"), results=tmp_path, progress=Progress()
    )
    assert record.status == "ok"
    assert {"win_rate", "rm_accuracy.original", "reward_mass"} <= set(record.metrics)


@pytest.mark.usefixtures("lab")
def test_and_one_without_a_rollout(tmp_path: Path) -> None:
    record = runner.run(
        config("method=hinged"),
        store=Store(tmp_path / "store"),
        results=tmp_path,
        progress=Progress(),
    )
    assert record.status == "ok"
    policy = make_plan(config("method=hinged"))[0].policy
    assert "halves_lab" in policy.roots
    assert make_plan(config("method=hinged", "reward.by=2.0"))[0].policy.key != policy.key


def test_its_options_and_its_code_are_in_the_keys(lab: Path) -> None:
    def keys(*overrides: str) -> tuple[str, str]:
        policy = make_plan(config("method=halved", *overrides))[0].policy
        (model,) = [stage for stage in policy.graph() if stage.name == "reward_model"]
        return model.key, policy.key

    first = keys()
    assert keys() == first
    other = keys("reward.gap=2.0")
    assert other[0] != first[0]
    policy = make_plan(config("method=halved"))[0].policy
    (model,) = [stage for stage in policy.graph() if stage.name == "reward_model"]
    assert "halves_lab" in model.roots
    assert "halves_lab" in policy.roots
