"""AlpacaFarm's instructions, preferences and evaluation set (arXiv:2305.14387).

Hub: tatsu-lab/alpaca_farm (CC BY-NC 4.0). Its loading script is dead with `datasets` >= 4, so the
files themselves are read. It has no edits: the paper (arXiv:2406.02756) had Claude make them, as
`edits.source=claude` does.

An instruction and its input are one prompt, joined as AlpacaEval joins them; so the template is
Alpaca's for instructions without an input.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import Field

from bench.config.section import Section
from bench.data import Preference
from bench.hub import HubRepo
from bench.suites.filed.columns import Fields, compared, rows
from bench.suites.filed.sources import Source, hub_or_here
from bench.suites.filed.suite import HasPairs, named_on_hub, numbered, part_of, place

PREFERENCES = {
    "human": "alpaca_human_preference.json",
    "gpt4": "alpaca_gpt4_preference.json",
    "noisy": "alpaca_noisy_multi_preference.json",
}
FILES = {
    "sft": "alpaca_instructions/sft.json",
    "unlabeled": "alpaca_instructions/unlabeled.json",
    "val": "alpaca_instructions/val.json",
    "evaluation": "alpaca_farm_evaluation.json",
}
COLUMNS = {"prompt": "instruction", "response": "output"}
UNSEEN = 0.5  # of the prompts of `val`, which has no other use beside validation
_INSTEAD = "a file here, or another of the data set, instead of {}"


class AlpacaFarmOptions(Section):
    """Which files, and what becomes of the labels."""

    repo: str = Field("tatsu-lab/alpaca_farm", description="the data set on the hub")
    revision: str | None = Field(None, description="of that; null: main")
    preferences: str = Field(
        "human", description="human, gpt4 or noisy; or a file here, or of the data set"
    )
    sft: str | None = Field(None, description=_INSTEAD.format(FILES["sft"]))
    unlabeled: str | None = Field(None, description=_INSTEAD.format(FILES["unlabeled"]))
    val: str | None = Field(None, description=_INSTEAD.format(FILES["val"]))
    evaluation: str | None = Field(None, description=_INSTEAD.format(FILES["evaluation"]))
    held_out: float = Field(0.05, gt=0, lt=1, description="share of the instructions of pairs")
    noise: float = Field(
        0.0, ge=0, le=0.5, description="share of the training labels to turn round"
    )
    seed: int = Field(0, description="by which pairs are held out and labels turned round")

    def result_fields(self) -> dict[str, Any]:
        """All but the names of files that are here, whose content decides."""
        return self.model_dump() | named_on_hub(self, "preferences", *FILES)


class AlpacaFarm(HasPairs):
    """SFT on `sft`, pairs of a preference file, PPO on `unlabeled`, judged on the 805 instructions.

    Validation is on one half of `val`, and `unseen` its other half: AlpacaFarm has no prompts that
    are unlike all others but the evaluation set itself. References are Davinci003's outputs, in
    `val` and in the evaluation set.
    """

    name = "alpacafarm"
    licence = "CC BY-NC 4.0"
    prompt_template = (
        "Below is an instruction that describes a task. Write a response that appropriately "
        "completes the request.\n\n### Instruction:\n{prompt}\n\n### Response:"
    )
    model_path = "huggyllama/llama-7b"
    Options = AlpacaFarmOptions
    options: AlpacaFarmOptions

    def own_files(self, part: str) -> Sequence[Path | HubRepo]:
        """Of the part."""
        files = {
            "demonstrations": ("sft",),
            "ppo": ("unlabeled",),
            "validation": ("val",),
            "unseen": ("val",),
            "test": ("evaluation",),
            "references": ("val", "evaluation"),
            "pairs": ("preferences",),
        }
        return [self._source(name).read for name in files.get(part, ())]

    def read_demonstrations(self) -> list[tuple[str, str]]:
        """All that have an output."""
        found = [(row.prompt(), row.text("response", empty=True)) for row in self._rows("sft")]
        kept = [(prompt, response) for prompt, response in found if response.strip()]
        self.tell("rows of sft", {"without an output": len(found) - len(kept)})
        return kept

    def read_prompts(self, split: str) -> list[str]:
        """Instructions of the split's file."""
        if split in ("validation", "unseen"):
            prompts = [row.prompt() for row in self._rows("val")]
            shares = {"unseen": UNSEEN}
            return [one for one in prompts if part_of(one, shares, "validation") == split]
        name = "evaluation" if split == "test" else "unlabeled"
        return [row.prompt() for row in self._rows(name)]

    def read_references(self) -> Mapping[str, str]:
        """Davinci003's outputs; of an instruction in both files that of the evaluation set."""
        return {
            row.prompt(): row.text("response", empty=True)
            for name in ("val", "evaluation")
            for row in self._rows(name)
        }

    def read_pairs(self, split: str) -> list[Preference]:
        """The file's, divided by prompt; training labels with noise, if any is asked for."""
        options, share = self.options, {"held_out": self.options.held_out}
        return [
            turned(pair) if split == "preference" and self._is_noisy(pair) else pair
            for pair in self._all_pairs
            if part_of(pair.prompt, share, "preference", options.seed) == split
        ]

    def _is_noisy(self, pair: Preference) -> bool:
        return place(str(pair.id), self.options.seed) < self.options.noise

    @cached_property
    def _all_pairs(self) -> list[Preference]:
        found, counts = [], Counter[str]()
        for row in self._rows("preferences"):
            pair = compared(row)
            if isinstance(pair, str):
                counts[pair] += 1
            else:
                found.append(pair)
        once, counts["that come twice"] = numbered(found)
        self.tell("pairs", counts)
        return once

    def _rows(self, name: str) -> Iterator[Fields]:
        return rows(self._source(name), COLUMNS)

    def _source(self, name: str) -> Source:
        options = self.options
        repo = HubRepo(options.repo, options.revision, "dataset")
        if name == "preferences":
            if options.preferences in PREFERENCES:
                return Source(PREFERENCES[options.preferences], repo)
            return hub_or_here(options.preferences, "", repo)
        return hub_or_here(getattr(options, name), FILES[name], repo)


def turned(pair: Preference) -> Preference:
    """The pair with the other label."""
    return pair.model_copy(update={"chosen": pair.rejected, "rejected": pair.chosen})
