"""A segment's place is taken out of its score."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from bench.training.places import LEAST, fit_places


class Planted:
    """Outputs that depend on the place alone, 3 log p + 1, but for an error of 1 - log p."""

    def __init__(self, rows: int, most: int, noise: float) -> None:
        rng = torch.Generator().manual_seed(0)
        lengths = torch.randint(1, most + 1, (rows,), generator=rng)
        self.mask = torch.arange(most) < lengths[:, None]
        place = (torch.arange(1, most + 1) / lengths[:, None]).clamp(max=1)
        error = torch.randn(rows, most, generator=rng) * noise
        self.raw = 3 * place.log() + 1 + error * (1 - place.log())

    def segment_ends(self, batch: Any) -> torch.Tensor:
        return self.mask.clone()


def test_planted_lines_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    model: Any = Planted(4000, 6, 0.5)
    monkeypatch.setattr("bench.training.places.map_rows", lambda function, batch: batch.raw)
    model.outputs = None
    found = fit_places(model, model)
    assert found.mean_slope == pytest.approx(3.0, abs=0.1)
    assert found.mean_intercept == pytest.approx(1.0, abs=0.1)
    assert found.std_slope == pytest.approx(-0.5, abs=0.1)
    assert found.std_intercept == pytest.approx(0.5, abs=0.1)


def test_too_few_places_are_all_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    model: Any = Planted(50, 1, 0.5)
    model.outputs = None
    monkeypatch.setattr("bench.training.places.map_rows", lambda function, batch: batch.raw)
    found = fit_places(model, model)
    assert (found.mean_slope, found.std_slope) == (0.0, 0.0)
    assert found.least_std == pytest.approx(LEAST * found.std_intercept)
