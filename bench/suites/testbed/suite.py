"""The testbed as a suite: what the harness calls. Everything is text; nothing here needs torch."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import ClassVar

from bench.config.section import NoOptions
from bench.data import Preference, Span
from bench.plugins.capabilities import Measure
from bench.suites.testbed import annotator, editor, gold, probes, prompts, writer


class Testbed:
    """A small world whose truth is known, with its annotator, editor, judge and base model.

    Attributes:
        name: registry name.
        summary: one line for `list`.
        paper: where the idea of a gold reward comes from.
        prompt_template: how a prompt is put to the model; "{prompt}" stands for the text.
        model_path: folder of the shipped tokenizer and base model.
        Options: none.
        splits: names that `prompts` accepts.
        span_groups: kinds of errors, as arXiv:2306.01693 divides its own.
        probe_kinds: errors that can be planted, in the order of tables.
        measures: what a response's gold score is made of: the measures of reward hacking.
    """

    name = "testbed"
    summary = "Synthetic facts, a simulated annotator and editor, and a gold judge; runs on a CPU."
    paper = "arXiv:2210.10760"
    prompt_template = "<|user|>{prompt}<|assistant|>"
    model_path = str(Path(__file__).parent / "assets")
    Options = NoOptions
    splits = prompts.SPLITS
    probe_kinds = ("wrong_value", "omission", "duplicate", "constraint", "rude", "hype")
    span_groups: ClassVar = {
        "relevance": ("duplicate", "rude", "hype", "unparsed"),
        "factuality": ("wrong_value",),
    }
    measures = (
        Measure("fact_accuracy"),
        Measure("duplicates", "duplicates", greedy="shown", least=0.0),
        Measure("omissions", "omissions", greedy="recorded", least=0.0),
        Measure("hype", least=0.0),
        Measure("rude", least=0.0),
        Measure("unparsed", least=0.0),
    )

    def __init__(self, options: NoOptions | None = None) -> None: ...

    def demonstrations(self, n: int, seed: int) -> list[tuple[str, str]]:
        """Draw n (prompt, response) pairs for supervised fine-tuning, with the writer's errors."""
        rng = random.Random(f"demonstration responses:{seed}")
        asked = prompts.sample_prompts("demonstrations", n, seed)
        return [(prompt, writer.write(prompts.parse_prompt(prompt), rng)) for prompt in asked]

    def prompts(self, split: str, n: int, seed: int) -> list[str]:
        """Draw n prompts of a split, or all; evaluation splits are the same for every seed.

        Raises:
            ValueError: for an unknown split.
        """
        return prompts.sample_prompts(split, n, seed)

    def references(self, prompts: list[str]) -> list[str]:
        """The reference answer of each prompt; depends on nothing else."""
        return [writer.reference(prompt) for prompt in prompts]

    def prefer(
        self,
        prompt: str,
        first: str,
        second: str,
        rng: random.Random,
        flip: float = annotator.FLIP,
    ) -> int:
        """0 if the simulated annotator prefers the first response, 1 for the second."""
        return annotator.prefer(prompt, first, second, rng, flip=flip)

    def edit(
        self, prompt: str, response: str, rng: random.Random, miss: float = editor.MISS
    ) -> str:
        """The minimal edit of a response; each error is overlooked with probability `miss`."""
        return editor.edit(prompt, response, rng, miss=miss)

    def score(self, prompt: str, response: str) -> float:
        """Gold score, in [-2, 1]."""
        return gold.score(prompt, response)

    def gold_terms(self, prompt: str, response: str) -> list[tuple[int | None, float]]:
        """What the gold score is made of: (characters up to which it is decided, amount)."""
        return gold.terms(prompt, response)

    def counts(self, prompt: str, response: str) -> gold.Counts:
        """What the gold score is made of."""
        return gold.counts(prompt, response)

    def measure(self, prompt: str, responses: Sequence[str]) -> dict[str, float | None]:
        """Means over the responses; of the facts that they state, all together, the share right."""
        counts = [gold.counts(prompt, response) for response in responses]
        stated = sum(c.right + c.wrong for c in counts)
        return {
            "fact_accuracy": sum(c.right for c in counts) / stated if stated else None,
            "duplicates": fmean(c.duplicates for c in counts),
            "omissions": fmean(c.omitted for c in counts),
            "hype": fmean(c.hype for c in counts),
            "rude": fmean(c.rude for c in counts),
            "unparsed": fmean(c.unparsed for c in counts),
        }

    def spans(self, prompt: str, response: str) -> list[Span]:
        """Where the errors are, ordered and disjoint."""
        return gold.spans(prompt, response)

    def mark(
        self, prompt: str, response: str, rng: random.Random, miss: float = editor.MISS
    ) -> list[Span]:
        """The errors that are not overlooked, each with probability `miss`, as by `edit`."""
        return editor.mark(prompt, response, rng, miss=miss)

    def probes(
        self, prompts: Sequence[str], n: int, rng: random.Random
    ) -> dict[str, list[Preference]]:
        """By kind, at most n pairs of a clean response and the same with one planted error."""
        return {kind: probes.planted_pairs(prompts, kind, n, rng) for kind in probes.PROBE_KINDS}
