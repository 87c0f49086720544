"""Annotation files of AlpacaEval as preferences: each verdict with both of its texts.

The files are in https://github.com/tatsu-lab/alpaca_eval, results/*/*/annotations.json (CC BY-NC
4.0); one may hold the verdicts on several models. They are divided by instruction and, where
`suite.held_out_generators` names some, by model too: of the instructions that a reward model has
never seen, its accuracy is then told of the models that it learned from and of those that it has
never seen. The longer output wins most verdicts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import Field

from bench.config.section import Section
from bench.data import Preference
from bench.errors import UserError, unknown
from bench.hub import HubRepo
from bench.suites.filed.columns import Fields, compared, rows
from bench.suites.filed.sources import Source
from bench.suites.filed.suite import EVALUATED, HasPairs, numbered, part_of

SHARES = {"validation": 0.1, "test": 0.2, "unseen": 0.1}  # of the instructions
COLUMNS = {"prompt": "instruction"}


class AlpacaEvalOptions(Section):
    """Which verdicts."""

    annotations: str | list[str] = Field(description="file of annotations, or several")
    held_out_generators: list[str] = Field(
        [], description="models that no training pair is of; accuracy on them is told apart"
    )
    seed: int = Field(0, description="by which instructions are divided")

    def result_fields(self) -> dict[str, Any]:
        """All but the files, whose content decides."""
        return self.model_dump(exclude={"annotations"})


@dataclass(frozen=True)
class Judged:
    """A pair, and whose output was compared with the reference's."""

    pair: Preference
    generator: str


class AlpacaEval(HasPairs):
    """The reference's outputs are imitated, and what a judge compares with."""

    name = "alpaca_eval"
    licence = "CC BY-NC 4.0"
    prompt_template = "{prompt}\n\n"
    model_path = "HuggingFaceTB/SmolLM2-135M-Instruct"
    Options = AlpacaEvalOptions
    options: AlpacaEvalOptions

    def own_files(self, part: str) -> Sequence[Path | HubRepo]:
        """Every part is of the same files."""
        parts = ("demonstrations", "ppo", "references", "pairs", *EVALUATED)
        return [source.read for source in self._sources] if part in parts else []

    def read_demonstrations(self) -> list[tuple[str, str]]:
        """The reference's outputs to the trained instructions."""
        known = self.read_references()
        return [(one, known[one]) for one in self.read_prompts("ppo") if known[one].strip()]

    def read_prompts(self, split: str) -> list[str]:
        """The instructions of a split."""
        return [one for one in self.read_references() if self._part_of(one) == split]

    def read_references(self) -> Mapping[str, str]:
        """Output 1 of each instruction."""
        return self._verdicts[1]

    def read_pairs(self, split: str) -> list[Preference]:
        """Held out are those to evaluated instructions; the others are trained on.

        Of the others those of a model that is held out are left out.
        """
        found = []
        for judged in self._verdicts[0]:
            is_evaluated = self._part_of(judged.pair.prompt) in EVALUATED
            is_held_out = judged.generator in self.options.held_out_generators
            if is_evaluated if split == "held_out" else not (is_evaluated or is_held_out):
                found.append(judged.pair)
        once, twice = numbered(found)
        self.tell(f"{split} pairs", {"that come twice": twice})
        return once

    def pair_kind(self, pair: Preference) -> str | None:
        """Whether a model was held out, where some are (`bench.plugins.capabilities.PairKinds`)."""
        if not self.options.held_out_generators:
            return None
        texts = (pair.prompt, *sorted((pair.chosen, pair.rejected)))
        return "unseen_models" if texts in self._of_held_out else "seen_models"

    @cached_property
    def _of_held_out(self) -> set[tuple[str, ...]]:
        held_out = self.options.held_out_generators
        return {
            (judged.pair.prompt, *sorted((judged.pair.chosen, judged.pair.rejected)))
            for judged in self._verdicts[0]
            if judged.generator in held_out
        }

    def _part_of(self, prompt: str) -> str:
        return part_of(prompt, SHARES, "ppo", self.options.seed)

    @property
    def _sources(self) -> list[Source]:
        files = self.options.annotations
        return [Source(file) for file in ([files] if isinstance(files, str) else files)]

    @cached_property
    def _verdicts(self) -> tuple[list[Judged], dict[str, str]]:
        """The pairs, and the reference's output to every instruction."""
        found: list[Judged] = []
        references: dict[str, str] = {}
        counts: Counter[str] = Counter()
        generators: set[str] = set()
        for row in (row for source in self._sources for row in rows(source, COLUMNS)):
            _same_reference(row, references)
            generator = row.text("generator_2")
            generators.add(generator)
            pair = compared(row)
            if isinstance(pair, str):
                counts[pair] += 1
            else:
                found.append(Judged(pair, generator))
        for name in self.options.held_out_generators:
            if name not in generators:
                said = unknown("model", name, generators)
                raise UserError(f"suite.held_out_generators: {said}")
        self.tell("verdicts", counts)
        return found, references


def _same_reference(row: Fields, references: dict[str, str]) -> None:
    """Keep a row's reference; refuse another one to the same instruction."""
    output = row.text("output_1", empty=True)
    if references.setdefault(row.prompt(), output) != output:
        row.wrong(
            "output_1",
            "the instruction had another reference before: two sets of references are mixed",
        )
