"""Generations beside each other: for each prompt what every method wrote, token by token."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bench.records.files import SAMPLES, Damage, RecordError, Run, Sample, read_samples
from leaderboard.analysis.rows import number
from leaderboard.analysis.runs import Group
from leaderboard.views.show import verdict

LEVELS = 4
FULL = 95  # percentile of |reward| from which on the colour is full: one outlier dims no other


@dataclass(frozen=True)
class Token:
    """A token, its reward as text, and its class: p1 to p4, n1 to n4, or z near zero."""

    text: str
    reward: str
    level: str


@dataclass(frozen=True)
class Generation:
    """What one method wrote; `full` is the |reward| of the strongest colour, "" without rewards."""

    label: str
    decoding: str
    verdict: str
    score: str
    output: str
    tokens: list[Token]
    full: str


@dataclass(frozen=True)
class Prompt:
    """A prompt with its reference and the methods' generations."""

    text: str
    reference: str
    reference_score: str
    generations: list[Generation]


def by_seed(groups: list[Group], problems: list[str]) -> dict[int, list[Prompt]]:
    """Seed -> prompts in the order of the files, each with the generations of all labels.

    A file that cannot be read is named in `problems`; a run without one is left out.
    """
    seeds = sorted({seed for group in groups for seed in group.ok})
    pages: dict[int, list[Prompt]] = {}
    for seed in seeds:
        found: dict[tuple[str, str], tuple[Sample, list[Generation]]] = {}
        for group in groups:
            for sample, generation in _generations(group.label, group.ok.get(seed), problems):
                key = sample.prompt, sample.reference
                found.setdefault(key, (sample, []))[1].append(generation)
        if found:
            pages[seed] = [
                Prompt(
                    sample.prompt, sample.reference, number("", sample.reference_score), generations
                )
                for sample, generations in found.values()
            ]
    return pages


def _generations(
    label: str, run: Run | None, problems: list[str]
) -> list[tuple[Sample, Generation]]:
    if run is None or not (run.folder / SAMPLES).exists():
        return []
    try:
        samples = read_samples(run.folder)
    except RecordError as error:
        problems.append(Damage(error))
        return []
    full = full_scale([r for sample in samples for r in sample.token_rewards])
    return [(sample, _generation(label, sample, full)) for sample in samples]


def _generation(label: str, sample: Sample, full: float) -> Generation:
    rewarded = bool(sample.token_rewards)
    pairs = zip(sample.tokens, sample.token_rewards, strict=True) if rewarded else ()
    return Generation(
        label=label,
        decoding="greedy" if sample.greedy else "sampled",
        verdict=verdict(sample.preference),
        score=number("", sample.score),
        output=sample.output,
        tokens=[Token(text, f"{r:+z.2f}", level(r, full)) for text, r in pairs],
        full=f"{full:.2g}" if rewarded else "",
    )


def full_scale(rewards: Sequence[float]) -> float:
    """The size of reward at which the colour is full, over all samples of a run."""
    sizes = [abs(r) for r in rewards if math.isfinite(r)]
    return float(np.percentile(sizes, FULL)) if sizes else 0.0


def level(reward: float, full: float) -> str:
    """Sign and strength of a reward as a class: "p3" is three quarters of `full` above zero."""
    if not math.isfinite(reward) or not full:
        return "z"
    strength = min(LEVELS, round(LEVELS * abs(reward) / full))
    return f"{'p' if reward > 0 else 'n'}{strength}" if strength else "z"
