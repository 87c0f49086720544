"""The suite of files: which prompt is whose, what is drawn, and what had to be left out.

A prompt that is evaluated is trained on by nobody, whatever the files say. Where one is in two
splits it stays in the first of test, unseen, validation, held-out pairs, and is left out of every
other; what comes twice in one split is taken once. Both are counted, and said.

A suite is what it can do: `FileSuite` is the core, and a suite whose files give pairs, edits or
spans has the class of each beside it, in its bases or, where only its options say which they are,
through `with_capabilities`.
"""

from __future__ import annotations

import hashlib
import random
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from functools import cache, cached_property
from pathlib import Path
from typing import Any, TypeVar

from bench.data import Edit, Preference, Span
from bench.errors import UserError
from bench.hub import HubRepo
from bench.tables import shortened

T = TypeVar("T")

EVALUATED = ("test", "unseen", "validation")
TRAINED = ("demonstrations", "ppo", "preference", "pairs")
Spanned = Mapping[tuple[str, str], list[Span]]  # by prompt and response


class FileSuite(ABC):
    """The core of a suite whose prompts, demonstrations and references are in files.

    A part of it is read when it is first asked for. Records hold none of its texts, unless a
    suite's licence allows it (`bench.plugins.capabilities.Licensed`).
    """

    name: str
    prompt_template: str
    model_path: str
    licence = ""
    texts_in_records = False

    def __init__(self, options: Any) -> None:
        self.options = options
        self._told: dict[str, str] = {}
        self._splits: dict[str, list[str]] = {}

    @abstractmethod
    def own_files(self, part: str) -> Sequence[Path | HubRepo]:
        """The files that a part itself is in; `DataSuite.data_files` has the parts."""

    @abstractmethod
    def read_demonstrations(self) -> list[tuple[str, str]]:
        """All prompts and responses to imitate."""

    @abstractmethod
    def read_prompts(self, split: str) -> list[str]:
        """All prompts of a split, in the order of the files."""

    @abstractmethod
    def read_references(self) -> Mapping[str, str]:
        """The reference of every evaluated prompt."""

    def demonstrations(self, n: int, seed: int) -> list[tuple[str, str]]:
        """n of them, drawn with the seed; `bench.plugins.capabilities.Suite`."""
        return drawn(self._demonstrations, n, f"demonstrations:{seed}")

    def prompts(self, split: str, n: int, seed: int) -> list[str]:
        """n different prompts; of an evaluated split the same for every seed."""
        return drawn(self.split(split), n, split if split in EVALUATED else f"{split}:{seed}")

    def references(self, prompts: list[str]) -> list[str]:
        """The reference of each prompt.

        Raises:
            UserError: one has none.
        """
        known = self._references
        if missing := [prompt for prompt in prompts if prompt not in known]:
            raise UserError(
                f"the suite {self.name} has no reference for {len(missing)} of {len(prompts)} "
                f"prompts, {shortened(missing[0])} among them: every evaluated prompt needs one"
            )
        return [known[prompt] for prompt in prompts]

    def data_files(self, part: str) -> list[Path | HubRepo]:
        """The part's own files, and those that say which prompts it may not have."""
        parts = [part]
        if part in TRAINED:
            parts += EVALUATED
        elif part in EVALUATED:
            parts += EVALUATED[: EVALUATED.index(part)]
        elif part == "edits":
            parts += ["pairs"]
        return list(dict.fromkeys(file for one in parts for file in self.own_files(one)))

    def notes(self) -> list[str]:
        """What was left out of the parts that were read so far, and why, a line each."""
        return list(self._told.values())

    def tell(self, part: str, counts: Mapping[str, int]) -> None:
        """Note how many rows of a part are left out, by reason."""
        said = ", ".join(f"{n} {reason}" for reason, n in counts.items() if n)
        if said:
            self.say(part, f"left out are {said}")

    def say(self, part: str, line: str) -> None:
        """Note something of a part; of a part that is read again, once."""
        self._told[part] = f"the suite {self.name}, {part}: {line}"

    def split(self, name: str) -> list[str]:
        """All prompts of a split, each once, without those of which others are evaluated."""
        if name not in self._splits:
            if name in EVALUATED:
                barred = set(self._prompts_of(EVALUATED[: EVALUATED.index(name)]))
            else:
                barred = self.evaluated
            found = self.read_prompts(name)
            once = list(dict.fromkeys(found))
            kept = [prompt for prompt in once if prompt not in barred]
            counts = {
                "prompts that come twice": len(found) - len(once),
                "prompts that are evaluated in another split": len(once) - len(kept),
            }
            self.tell(f"prompts of {name}", counts)
            self._splits[name] = kept
        return self._splits[name]

    @cached_property
    def evaluated(self) -> set[str]:
        """The prompts that nothing may train on."""
        return set(self._prompts_of(EVALUATED))

    def _prompts_of(self, splits: Iterable[str]) -> list[str]:
        return [prompt for split in splits for prompt in self.split(split)]

    @cached_property
    def _demonstrations(self) -> list[tuple[str, str]]:
        found = self.read_demonstrations()
        kept = [row for row in found if row[0] not in self.evaluated]
        self.tell("demonstrations", {"whose prompt is evaluated": len(found) - len(kept)})
        return kept

    @cached_property
    def _references(self) -> Mapping[str, str]:
        return self.read_references()


class HasPairs(FileSuite):
    """A suite whose files give preference pairs (`bench.plugins.capabilities.Pairs`)."""

    @abstractmethod
    def read_pairs(self, split: str) -> list[Preference]:
        """All pairs of "preference" or "held_out", each with an id that no other has."""

    def pairs(self, split: str, n: int, seed: int) -> list[Preference]:
        """n pairs; those held out are the same for every seed."""
        found = self.held_out_pairs if split == "held_out" else self.training_pairs
        return drawn(found, n, split if split == "held_out" else f"{split}:{seed}")

    @cached_property
    def held_out_pairs(self) -> list[Preference]:
        """All that are held out."""
        return self.read_pairs("held_out")

    @cached_property
    def training_pairs(self) -> list[Preference]:
        """All whose prompt is not held out or evaluated."""
        found = self.read_pairs("preference")
        held_out = {pair.prompt for pair in self.held_out_pairs}
        trained = [pair for pair in found if pair.prompt not in held_out]
        kept = [pair for pair in trained if pair.prompt not in self.evaluated]
        counts = {
            "whose prompt is held out": len(found) - len(trained),
            "whose prompt is evaluated": len(trained) - len(kept),
        }
        self.tell("training pairs", counts)
        return kept


class HasEdits(HasPairs):
    """One whose files also give edits of them (`bench.plugins.capabilities.Edits`)."""

    @abstractmethod
    def read_edits(self) -> list[Edit]:
        """All edits, each with its pair's id."""

    def edits(self) -> list[Edit]:
        """All edits."""
        return self._edits

    @cached_property
    def _edits(self) -> list[Edit]:
        return self.read_edits()


class HasSpans(FileSuite):
    """One whose files say where errors are (`bench.plugins.capabilities.Spans`)."""

    @abstractmethod
    def read_spans(self) -> Spanned:
        """The errors of every response that somebody looked at."""

    def spans(self, prompt: str, response: str) -> list[Span] | None:
        """The errors' places; None where nobody has looked for them."""
        return self._spans.get((prompt, response))

    @cached_property
    def _spans(self) -> Spanned:
        return self.read_spans()


SuiteT = TypeVar("SuiteT", bound=FileSuite)


@cache
def with_capabilities(suite: type[SuiteT], *capabilities: type) -> type[SuiteT]:
    """The suite's class with these and no others: of what it lacks it has no method at all."""
    return type(suite.__name__, (*capabilities, suite), {"__module__": suite.__module__})


def drawn(found: Sequence[T], n: int, seed: str) -> list[T]:
    """n of them in a random order, or all that there are; the first of them for every larger n."""
    order = list(found)
    random.Random(seed).shuffle(order)
    return order[:n]


def place(prompt: str, seed: int = 0) -> float:
    """Where a prompt falls in [0, 1), by its hash: a file divided so never divides a prompt."""
    digest = hashlib.sha256(f"{seed}:{prompt}".encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


def part_of(prompt: str, shares: Mapping[str, float], rest: str, seed: int = 0) -> str:
    """The part that a prompt of a file for several parts falls in; `rest` beyond all shares."""
    at = place(prompt, seed)
    for name, share in shares.items():
        if at < share:
            return name
        at -= share
    return rest


def named_on_hub(options: Any, *names: str) -> dict[str, str | None]:
    """Options that name files, without the files that are here: their content is in the keys."""
    given: dict[str, str | None] = {name: getattr(options, name) for name in names}
    return {name: None if file and Path(file).exists() else file for name, file in given.items()}


def numbered(pairs: Iterable[Preference]) -> tuple[list[Preference], int]:
    """The pairs with an id each, by their content where they have none; equal ones once.

    Returns:
        The pairs, and how many are left out since they are there already.
    """
    found: dict[str, Preference] = {}
    twice = 0
    for pair in pairs:
        name = pair.id or text_id(pair.prompt, pair.chosen, pair.rejected)
        twice += name in found
        found.setdefault(name, pair.model_copy(update={"id": name}))
    return list(found.values()), twice


def text_id(*texts: str) -> str:
    """A short name for texts, by their hash."""
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:16]
