"""The instructions on which two methods differ most, with what they wrote there."""

import textwrap
from dataclasses import dataclass
from itertools import chain, zip_longest

import numpy as np

from bench.records.files import SAMPLES, Damage, RecordError, Sample, read_samples
from bench.records.schema import prompt_sha
from leaderboard.analysis.rows import number
from leaderboard.analysis.runs import Floats, Group, Instructions
from leaderboard.views.show import verdict

PARITY = 0.5  # of a win rate: above it an instruction is won
MOST_TEXT = 400  # characters of a prompt or an output

Samples = dict[tuple[int, str], Sample]


@dataclass(frozen=True)
class Example:
    """One instruction.

    Attributes:
        values: of the first method and of the second, each a mean over the common seeds.
        seed: of the samples: of those kept the one in which the methods differ most.
        samples: of the first and of the second; None where none was kept.
    """

    index: int
    prompt_sha: str
    values: tuple[float, float]
    seed: int | None
    samples: tuple[Sample, Sample] | None


@dataclass(frozen=True)
class Flips:
    """How the instructions fall between two methods, and those that differ most.

    Attributes:
        metric: of a win rate, an instruction is `above` where the first method wins it (more than
            one half, over seeds) and the second loses it; of another metric, where it has more.
        above, below: instructions; `below` is the reverse of `above`.
        instructions: all that both have.
        examples: in turn of those above and those below; those whose texts were kept come first,
            then those that differ most.
    """

    metric: str
    labels: tuple[str, str]
    seeds: int
    above: int
    below: int
    instructions: int
    examples: tuple[Example, ...]


@dataclass(frozen=True)
class _Pair:
    """Two methods' values (S, N) and samples; sides (N,): 1 where the first is above, -1 below."""

    keys: list[tuple[int, str]]
    seeds: list[int]
    values: tuple[Floats, Floats]
    samples: tuple[Samples, Samples]
    sides: Floats

    def chosen(self, count: int) -> list[int]:
        """The instructions to show, as `Flips` says."""
        kept = {sha for _, sha in self.samples[0].keys() & self.samples[1].keys()}
        hidden = [sha not in kept for _, sha in self.keys]
        size = np.abs((self.values[0] - self.values[1]).mean(axis=0))
        order = [int(i) for i in np.lexsort((-size, hidden))]
        turns = zip_longest(*([i for i in order if self.sides[i] == side] for side in (1, -1)))
        return [i for i in chain.from_iterable(turns) if i is not None][:count]

    def example(self, i: int) -> Example:
        index, sha = self.keys[i]
        first, second = (float(table[:, i].mean()) for table in self.values)
        lead = self.sides[i] * (self.values[0] - self.values[1])[:, i]
        seeds = [seed for _, seed in sorted(zip(-lead, self.seeds, strict=True))]
        found = [s for s in seeds if all((s, sha) in own for own in self.samples)]
        samples = None
        if found:
            samples = self.samples[0][found[0], sha], self.samples[1][found[0], sha]
        return Example(index, sha, (first, second), found[0] if found else None, samples)


def find_flips(
    pair: tuple[Group, Group],
    instructions: Instructions,
    metric: str,
    count: int,
    problems: list[str],
) -> Flips | None:
    """What flipped between two labels of one table; None where they have no values in common.

    Args:
        pair: the first and the second label.
        instructions: of their table.
        metric: a key of the items.
        count: of examples.
        problems: receives a line for each file of samples that cannot be read.
    """
    a, b = pair
    seeds = sorted(set(a.seeds_with(metric)) & set(b.seeds_with(metric)))
    if not seeds:
        return None
    first, second = (instructions.values(group, metric, seeds) for group in pair)
    sides = _sides(metric, first.mean(axis=0), second.mean(axis=0))
    samples = _samples(a, metric, seeds, problems), _samples(b, metric, seeds, problems)
    found = _Pair(instructions.keys, seeds, (first, second), samples, sides)
    return Flips(
        metric=metric,
        labels=(a.label, b.label),
        seeds=len(seeds),
        above=int((sides > 0).sum()),
        below=int((sides < 0).sum()),
        instructions=int((~np.isnan(first - second).any(axis=0)).sum()),
        examples=tuple(found.example(i) for i in found.chosen(count)),
    )


def _sides(metric: str, first: Floats, second: Floats) -> Floats:
    side = np.nan_to_num(np.sign(first - second))
    if metric.startswith("win_rate"):
        side[~((first - PARITY) * (second - PARITY) < 0)] = 0.0
    return side


def _samples(group: Group, metric: str, seeds: list[int], problems: list[str]) -> Samples:
    """(seed, prompt_sha) -> the first sample that was decoded as the metric's were."""
    found: Samples = {}
    for seed in seeds:
        folder = group.ok[seed].folder
        if not (folder / SAMPLES).exists():
            continue
        try:
            samples = read_samples(folder)
        except RecordError as error:
            problems.append(Damage(error))
            continue
        for sample in samples:
            if sample.greedy == metric.endswith("_greedy"):
                found.setdefault((seed, prompt_sha(sample.prompt)), sample)
    return found


def flip_lines(flips: Flips) -> tuple[str, list[tuple[int, str]]]:
    """The counts, and each example as (level of indentation, line).

    A text of more than 400 characters is cut, and ends in "…".
    """
    a, b = flips.labels
    wins = f"{a} wins where {b} loses", "the reverse"
    more = f"{flips.metric} of {a} above that of {b}", "below"
    above, below = wins if flips.metric.startswith("win_rate") else more
    title = (
        f"{above}: {flips.above} of {flips.instructions} instructions; {below}: {flips.below} "
        f"(mean over {flips.seeds} seeds)"
    )
    return title, [line for example in flips.examples for line in _example_lines(flips, example)]


def _example_lines(flips: Flips, example: Example) -> list[tuple[int, str]]:
    scores = [number(flips.metric, value) for value in example.values]
    both = ", ".join(f"{label} {s}" for label, s in zip(flips.labels, scores, strict=True))
    head = f"instruction {example.index} [{example.prompt_sha[:8]}]: {both}"
    if example.samples is None:
        return [(1, f"{head}; its texts were not kept")]
    lines = [(1, head), (2, f"prompt: {_short(example.samples[0].prompt)}")]
    for label, sample in zip(flips.labels, example.samples, strict=True):
        heard = f"{label}, seed {example.seed}, {verdict(sample.preference)}"
        lines.append((2, f"{heard}: {_short(sample.output)}"))
    return lines


def _short(text: str) -> str:
    return textwrap.shorten(text, MOST_TEXT, placeholder=" …")
