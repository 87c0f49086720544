"""How a segment model's output depends on the place of the segment (arXiv:2501.02790)."""

from __future__ import annotations

from collections import defaultdict
from statistics import fmean, pstdev
from typing import TYPE_CHECKING

import numpy as np
from sklearn.linear_model import HuberRegressor

from bench.models.heads import map_rows
from bench.models.segmenters import Places
from bench.rl import segment_places
from bench.rl.masking import last_counted

if TYPE_CHECKING:
    from bench.models.heads import RewardModel
    from bench.models.sequences import Sequences

FEWEST = 5  # segments at a place from which its mean and standard deviation are taken
LEAST = 0.1  # of the standard deviation of all outputs: no place has less


def fit_places(model: RewardModel, batch: Sequences) -> Places:
    """Mean and standard deviation of a segment model's raw outputs by place, as lines in log p.

    As in the paper's code, Huber regressions of the places' means and standard deviations on the
    logarithm of the place. Where fewer than two places have `FEWEST` segments, all places are
    alike.

    Args:
        model: a segment model.
        batch: samples of the SFT model; the paper has chosen responses.
    """
    ends = model.segment_ends(batch) & batch.mask | last_counted(batch.mask)
    outputs, (places, _) = map_rows(model.outputs, batch), segment_places(ends, batch.mask)
    at: dict[float, list[float]] = defaultdict(list)
    for place, output in zip(places[ends].tolist(), outputs[ends].tolist(), strict=True):
        at[round(place, 6)].append(output)
    every = [output for found in at.values() for output in found]
    spread = pstdev(every) or 1.0
    known = {place: found for place, found in at.items() if len(found) >= FEWEST}
    if len(known) < 2:
        return Places(0.0, fmean(every), 0.0, spread, LEAST * spread)
    mean_line = _line(known, [fmean(found) for found in known.values()])
    std_line = _line(known, [pstdev(found) for found in known.values()])
    return Places(*mean_line, *std_line, LEAST * spread)


def _line(places: dict[float, list[float]], values: list[float]) -> tuple[float, float]:
    """Slope in log p and intercept."""
    logs = np.log(np.array(list(places)))[:, None]
    fitted = HuberRegressor(max_iter=1000).fit(logs, np.array(values))
    return float(fitted.coef_[0]), float(fitted.intercept_)
