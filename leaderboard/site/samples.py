"""Generations beside each other: for each prompt what every method wrote, token by token."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np

from bench.preference import TIE, side
from bench.records.files import SAMPLES, Damage, RecordError, Run, Sample, read_samples
from leaderboard.analysis.rows import number
from leaderboard.analysis.runs import Group
from leaderboard.views.show import verdict

LEVELS = 4
FULL = 95  # percentile of |reward| from which on the colour is full: one outlier dims no other
_SPECIAL = re.compile(r"<[^<>]+>")  # how tokenizers write the token that ends a response
_OUTCOMES = {"first": "lost", "tie": "tie", "second": "won"}


@dataclass(frozen=True)
class Token:
    """A token, its reward as text, and its class: p1 to p4, n1 to n4, or z near zero."""

    text: str
    reward: str
    level: str
    is_end: bool = False


@dataclass(frozen=True)
class Generation:
    """What one method wrote; `outcome` is "won", "lost", "tie", or "" without a verdict."""

    label: str
    decoding: str
    verdict: str
    outcome: str
    score: str
    output: str
    tokens: list[Token]


@dataclass(frozen=True)
class Prompt:
    """A prompt with its reference and the methods' generations."""

    text: str
    reference: str
    reference_score: str
    generations: list[Generation]

    @property
    def contested(self) -> int:
        """How many methods won and how many lost with what they sampled: the smaller number."""
        outcomes = [g.outcome for g in self.generations if g.decoding == "sampled"]
        return min(outcomes.count("won"), outcomes.count("lost"))


@dataclass(frozen=True)
class Pages:
    """Seed -> its prompts; `full` is the |reward| of the strongest colour, "" without rewards.

    One scale holds for all methods and seeds of a table: the same colour is the same reward.
    """

    seeds: dict[int, list[Prompt]]
    full: str

    @property
    def example(self) -> tuple[int, Prompt] | None:
        """The prompt on which most methods disagree, of the first seed, and that seed."""
        if not self.seeds:
            return None
        seed, prompts = next(iter(self.seeds.items()))
        return seed, max(prompts, key=lambda prompt: prompt.contested)


_Loaded = dict[tuple[str, int], list[Sample]]


def load_pages(groups: list[Group], problems: list[str]) -> Pages:
    """The prompts of each seed in the order of the files, each with the generations of all labels.

    A file that cannot be read is named in `problems`; a run without one is left out.
    """
    loaded: _Loaded = {
        (group.label, seed): _read(run, problems)
        for group in groups
        for seed, run in sorted(group.ok.items())
    }
    full = _common_scale(loaded)
    pages: dict[int, list[Prompt]] = {}
    for seed in sorted({seed for _, seed in loaded}):
        found: dict[tuple[str, str], tuple[Sample, list[Generation]]] = {}
        for group in groups:
            for sample in loaded.get((group.label, seed), []):
                own = found.setdefault((sample.prompt, sample.reference), (sample, []))[1]
                own.append(_generation(group.label, sample, full))
        if found:
            pages[seed] = [
                Prompt(
                    sample.prompt, sample.reference, number("", sample.reference_score), generations
                )
                for sample, generations in found.values()
            ]
    return Pages(pages, f"{full:.2g}" if full else "")


def _read(run: Run, problems: list[str]) -> list[Sample]:
    if not (run.folder / SAMPLES).exists():
        return []
    try:
        return read_samples(run.folder)
    except RecordError as error:
        problems.append(Damage(error))
        return []


def _common_scale(loaded: _Loaded) -> float:
    """The median over runs of each run's own full scale: no run that pays much dims the others."""
    scales = [
        full_scale([r for sample in samples for r in sample.token_rewards])
        for samples in loaded.values()
    ]
    known = [scale for scale in scales if scale]
    return median(known) if known else 0.0


def _generation(label: str, sample: Sample, full: float) -> Generation:
    rewarded = bool(sample.token_rewards)
    pairs = zip(sample.tokens, sample.token_rewards, strict=True) if rewarded else ()
    tokens = [Token(text, f"{r:+z.2f}", level(r, full)) for text, r in pairs]
    if tokens and _is_end(tokens[-1].text, sample.output):
        last = tokens[-1]
        tokens[-1] = Token(last.text, last.reward, last.level, is_end=True)
    known = sample.preference is not None
    return Generation(
        label=label,
        decoding="greedy" if sample.greedy else "sampled",
        verdict=verdict(sample.preference),
        outcome=_OUTCOMES[side(sample.preference or TIE)] if known else "",
        score=number("", sample.score),
        output=sample.output,
        tokens=tokens,
    )


def _is_end(token: str, output: str) -> bool:
    """Whether a response's last token is the one that ends it: it is no part of the text."""
    return bool(_SPECIAL.fullmatch(token.strip())) and not output.rstrip().endswith(token.strip())


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
