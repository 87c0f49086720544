"""Anthropic's dialogues of people with a model, who chose one of two answers (arXiv:2204.05862).

Hub: Anthropic/hh-rlhf (MIT). A row has two transcripts, `chosen` and `rejected`, that differ in the
assistant's last turn: that is the response, and all before it the prompt. There are no edits.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from bench.config.section import Section
from bench.data import Preference
from bench.hub import HubRepo
from bench.suites.filed.columns import Fields, rows
from bench.suites.filed.sources import Source, hub_or_here
from bench.suites.filed.suite import EVALUATED, HasPairs, named_on_hub, numbered, part_of

SHARES = {"validation": 0.2, "unseen": 0.2}  # of the prompts of the file `test`; the others: "test"
_TURN = re.compile(r"\n\n(Human|Assistant):")


class HHRLHFOptions(Section):
    """Which part of the data set."""

    repo: str = Field("Anthropic/hh-rlhf", description="the data set on the hub")
    revision: str | None = Field(None, description="of that; null: main")
    subset: Literal[
        "helpful-base", "harmless-base", "helpful-online", "helpful-rejection-sampled"
    ] = Field("helpful-base", description="folder of the data set")
    train: str | None = Field(None, description="a file here instead of SUBSET/train.jsonl.gz")
    test: str | None = Field(None, description="a file here instead of SUBSET/test.jsonl.gz")

    def result_fields(self) -> dict[str, Any]:
        """All but the names of files that are here, whose content decides."""
        return self.model_dump() | named_on_hub(self, "train", "test")


class HHRLHF(HasPairs):
    """The chosen responses of `train` are imitated, those of `test` are the references."""

    name = "hh_rlhf"
    licence = "MIT"
    texts_in_records = True
    prompt_template = "{prompt}\n\nAssistant:"
    model_path = "HuggingFaceTB/SmolLM2-135M-Instruct"
    Options = HHRLHFOptions
    options: HHRLHFOptions

    def __init__(self, options: HHRLHFOptions) -> None:
        super().__init__(options)
        self._read = cache(self._pairs_of)

    def own_files(self, part: str) -> Sequence[Path | HubRepo]:
        """Of the part."""
        names = {
            **dict.fromkeys(("demonstrations", "ppo"), ("train",)),
            **dict.fromkeys((*EVALUATED, "references"), ("test",)),
            "pairs": ("train", "test"),
        }
        return [self._source(name).read for name in names.get(part, ())]

    def read_demonstrations(self) -> list[tuple[str, str]]:
        """The chosen responses, one a prompt."""
        return list({pair.prompt: pair.chosen for pair in self._read("train")}.items())

    def read_prompts(self, split: str) -> list[str]:
        """Of a file's pairs, each once; those of `test` are divided."""
        if split not in EVALUATED:
            return list(dict.fromkeys(pair.prompt for pair in self._read("train")))
        prompts = dict.fromkeys(pair.prompt for pair in self._read("test"))
        return [prompt for prompt in prompts if part_of(prompt, SHARES, "test") == split]

    def read_references(self) -> Mapping[str, str]:
        """The first chosen response to each prompt of `test`."""
        return {pair.prompt: pair.chosen for pair in reversed(self._read("test"))}

    def read_pairs(self, split: str) -> list[Preference]:
        """All of a file."""
        return self._read("test" if split == "held_out" else "train")

    def _pairs_of(self, name: str) -> list[Preference]:
        found, counts = [], Counter[str]()
        for row in rows(self._source(name)):
            pair = last_turns(row)
            if isinstance(pair, str):
                counts[pair] += 1
            else:
                found.append(pair)
        once, counts["that come twice"] = numbered(found)
        self.tell(f"rows of {name}", counts)
        return once

    def _source(self, name: str) -> Source:
        options = self.options
        repo = HubRepo(options.repo, options.revision, "dataset")
        file = f"{options.subset}/{name}.jsonl.gz"
        return hub_or_here(getattr(options, name), file, repo)


def last_turns(row: Fields) -> Preference | str:
    """The pair of two transcripts; or why there is none."""
    sides = [_last_turn(row.text(name, empty=True)) for name in ("chosen", "rejected")]
    if None in sides:
        return "that do not end with the assistant's turn"
    (prompt, chosen), (other, rejected) = (side for side in sides if side is not None)
    if prompt != other:
        return "whose transcripts are of different prompts"
    if not (prompt and chosen and rejected):
        return "with an empty turn"
    if chosen == rejected:
        return "whose responses are equal"
    return Preference(prompt=prompt, chosen=chosen, rejected=rejected)


def _last_turn(transcript: str) -> tuple[str, str] | None:
    """All before the last turn, and that; None where it is not the assistant's."""
    turns = list(_TURN.finditer(transcript))
    if not turns or turns[-1][1] != "Assistant":
        return None
    return transcript[: turns[-1].start()].strip(), transcript[turns[-1].end() :].strip()
