"""The simulated annotator: knows the gold score, and is not always right."""

from __future__ import annotations

import random

from bench.suites.testbed.gold import score

FLIP = 0.25
"""Share of labels that AlpacaFarm's simulated annotators flip (arXiv:2305.14387)."""


def prefer(prompt: str, first: str, second: str, rng: random.Random, *, flip: float = FLIP) -> int:
    """Which of two responses the annotator prefers.

    Args:
        prompt: one of the testbed's.
        first: a response to it.
        second: another.
        rng: source of randomness; two numbers are drawn whatever the outcome.
        flip: probability of the opposite answer, in [0, 1]; 0 is noiseless but for ties.

    Returns:
        0 for the first, 1 for the second. Equal scores are decided by chance.
    """
    chance, noise = rng.random(), rng.random()
    difference = score(prompt, first) - score(prompt, second)
    if difference == 0.0:
        return int(chance < 0.5)
    return int((difference < 0.0) != (noise < flip))
