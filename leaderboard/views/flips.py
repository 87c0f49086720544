"""The instructions on which two methods differ most, as lines."""

import textwrap

from leaderboard.analysis.flips import Example, Flips
from leaderboard.analysis.rows import number
from leaderboard.views.show import verdict

MOST_TEXT = 400  # characters of a prompt or an output


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
