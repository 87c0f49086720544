"""Decoding with fixed shapes gives what the plain loop does; without a GPU nothing is recorded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import MistralConfig

from bench.config.run import ModelConfig
from bench.errors import Diverged
from bench.models import rollout
from bench.models.backbone import Backbone
from bench.models.fast import graphs
from bench.models.fast.graphs import has_fixed_cache, recorded, taken
from bench.models.heads import ScalarHead
from bench.models.rollout import Sampling, draw_responses
from tests.models.families import save
from tests.tiny import LORA, random_rows, stir, stop_often, tiny_backbone


def rng() -> torch.Generator:
    return torch.Generator().manual_seed(3)


@pytest.fixture
def fixed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Look at who is running every other token; how often rows left, by how many stayed."""
    left: list[int] = []
    keep = graphs.FixedDecoding._keep

    def counted(self: Any, kept: torch.Tensor) -> None:
        left.append(len(kept))
        keep(self, kept)

    monkeypatch.setattr(graphs, "CHECK_EVERY", 2)
    monkeypatch.setattr(graphs.FixedDecoding, "_keep", counted)
    return left


def both(backbone: Backbone, sampling: Sampling, **options: Any) -> tuple[Any, Any]:
    texts = ["Go.", "Name", "Blue?", "Which?", "Of", "No", "A", "I"]
    prompts = [backbone.tokens.prompt(text) for text in [*texts, "Say red, and say why."]]
    plain = draw_responses(backbone, "policy", prompts, sampling, rng(), **options)
    backbone.graphs = True
    return plain, draw_responses(backbone, "policy", prompts, sampling, rng(), **options)


@pytest.mark.parametrize("temperature", [1.0, 0.0])
@pytest.mark.parametrize("size", [9, 4])
def test_a_fixed_batch_draws_what_the_plain_loop_draws(
    fixed: list[int], temperature: float, size: int
) -> None:
    backbone = tiny_backbone()
    stop_often(backbone)
    backbone.add_adapter("policy", LORA)
    stir(backbone, "policy")
    head = ScalarHead(backbone.hidden_size, generator=rng())
    sampling = Sampling(13, temperature, batch_size=size)
    plain, found = both(backbone, sampling, value=head)
    assert [x.ids for x in found] == [x.ids for x in plain]
    for name in ("logprobs", "entropies", "values"):
        for x, wanted in zip(found, plain, strict=True):
            assert getattr(x, name) == pytest.approx(getattr(wanted, name), rel=1e-4, abs=1e-4)
    assert len({len(x.ids) for x in found}) > 1
    assert fixed or temperature == 0  # rows left; greedy ones all at once


@pytest.mark.parametrize("family", ["llama3", "qwen3", "gpt2", "neox", "phi3"])
def test_families_that_keep_all_keys_draw_the_same(
    fixed: list[int], family: str, tmp_path: Path
) -> None:
    settings = ModelConfig(device="cpu", template=save(family, tmp_path).template)
    backbone = Backbone.load(str(tmp_path), settings, "{prompt}")
    assert has_fixed_cache(backbone.model.config)
    backbone.add_adapter("policy", LORA)
    stir(backbone, "policy")
    plain, found = both(backbone, Sampling(6))
    assert [x.ids for x in found] == [x.ids for x in plain]


def test_a_window_or_a_state_has_no_fixed_cache() -> None:
    assert has_fixed_cache(tiny_backbone().model.config)
    assert not has_fixed_cache(MistralConfig(sliding_window=8))


def test_logits_that_are_not_numbers_are_a_diverged_run() -> None:
    backbone = tiny_backbone()
    backbone.graphs = True
    with torch.no_grad():
        backbone.model.model.norm.weight[0] = torch.nan
    with pytest.raises(Diverged, match="the logits of a rollout"):
        draw_responses(backbone, None, random_rows(4)[0], Sampling(8), rng())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_recorded_step_gives_what_a_taken_one_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = tiny_backbone()
    backbone.model.to("cuda")
    backbone.device = torch.device("cuda")
    backbone.graphs = True
    stop_often(backbone)
    backbone.add_adapter("policy", LORA)
    stir(backbone, "policy")
    found = []
    for record in (taken, recorded):
        monkeypatch.setattr(rollout, "recorded", record)
        drawn = draw_responses(backbone, "policy", random_rows(9)[0], Sampling(40), rng())
        found.append([x.ids for x in drawn])
    assert found[0] == found[1]
