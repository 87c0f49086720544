"""The plug-ins by name: built-in ones by a lazy reference, third parties' through entry points.

A package adds a method without a change here by declaring, in its own pyproject.toml::

    [project.entry-points."grainbench.methods"]
    my_method = "my_package.my_method:MyMethod"

and likewise `grainbench.algorithms`, `grainbench.judges` and `grainbench.suites`. `get` imports the
one that is asked for, and `is_broken` a third party's; nothing else imports what is listed.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import metadata
from typing import Any, Generic, TypeVar

from bench.errors import UserError, unknown

T = TypeVar("T")
BUILT_IN = "grainbench"


@dataclass(frozen=True)
class Entry:
    """One plug-in that is known by name, not yet imported.

    Attributes:
        name: what users type.
        target: where it is, as ``module:attribute``.
        summary: one line for `python -m bench list`.
        paper: the paper that it implements, or empty.
        source: who provides it: "grainbench", or a distribution and its version.
    """

    name: str
    target: str
    summary: str
    paper: str = ""
    source: str = BUILT_IN


class Registry(Generic[T]):
    """Plug-ins of one kind.

    Args:
        kind: the singular that messages use, as "method"; entry points are in the group
            ``grainbench.<kind>s``.
        builtins: the plug-ins that come with GrainBench.
    """

    def __init__(self, kind: str, builtins: Iterable[Entry] = ()) -> None:
        self.kind = kind
        self.group = f"grainbench.{kind}s"
        self._builtins = tuple(builtins)

    def entries(self) -> list[Entry]:
        """Return every plug-in: the built-in ones in their order, then third parties' by name.

        Raises:
            UserError: two plug-ins have the same name.
        """
        known: dict[str, Entry] = {}
        for entry in (*self._builtins, *self._third_party()):
            if other := known.get(entry.name):
                raise UserError(
                    f"two {self.kind}s are named {entry.name!r}: {_where(other)} and "
                    f"{_where(entry)}; rename or uninstall one"
                )
            known[entry.name] = entry
        return list(known.values())

    def names(self) -> list[str]:
        """Return the names, sorted."""
        return sorted(entry.name for entry in self.entries())

    def entry(self, name: str) -> Entry:
        """Look a plug-in up without importing it.

        Raises:
            UserError: no plug-in has this name.
        """
        entries = {entry.name: entry for entry in self.entries()}
        if name not in entries:
            raise UserError(unknown(self.kind, name, entries))
        return entries[name]

    def get(self, name: str) -> T:
        """Import and return the plug-in `name`.

        Raises:
            UserError: no plug-in has this name, or importing it fails.
        """
        entry = self.entry(name)
        module, _, attribute = entry.target.partition(":")
        try:
            found: Any = importlib.import_module(module)
            for part in attribute.split(".") if attribute else ():
                found = getattr(found, part)
        except (Exception, SystemExit) as error:  # other people's code runs: anything may come
            what = " ".join(f"{type(error).__name__}: {error}".split())
            raise UserError(
                f"cannot load {self.kind} {name!r} from {_where(entry)}: {what}", exit_code=1
            ) from error
        plugin: T = found
        return plugin

    def is_broken(self, entry: Entry) -> bool:
        """Whether a third party's plug-in cannot be loaded; imports it."""
        if entry.source == BUILT_IN:
            return False
        try:
            self.get(entry.name)
        except UserError:
            return True
        return False

    def _third_party(self) -> list[Entry]:
        found = [_from_entry_point(point) for point in metadata.entry_points(group=self.group)]
        return sorted(found, key=lambda entry: (entry.name, entry.source))


def _where(entry: Entry) -> str:
    return f"{entry.target} ({entry.source})"


def _from_entry_point(point: metadata.EntryPoint) -> Entry:
    target = f"{point.module}:{point.attr}"
    if point.dist is None:
        return Entry(point.name, target, summary="", source="unknown distribution")
    about = point.dist.metadata
    summary = about["Summary"] if "Summary" in about else ""  # noqa: SIM401 (no `get` in its type)
    source = f"{point.dist.name} {point.dist.version}"
    return Entry(point.name, target, summary=summary, source=source)


METHODS: Registry[Any] = Registry(
    "method",
    [
        Entry("sft", "methods.sft:SFT", "supervised fine-tuning: the floor", "arXiv:2203.02155"),
        Entry(
            "ppo_rlhf",
            "methods.ppo_rlhf:PPORLHF",
            "one reward a response, learned from original pairs",
            "arXiv:2203.02155",
        ),
        Entry(
            "fine_grained_ppo",
            "methods.fine_grained_ppo:FineGrainedPPO",
            "one reward a response, learned from minimal edits",
            "arXiv:2406.02756",
        ),
        Entry(
            "token_ppo",
            "methods.token_ppo:TokenPPO",
            "a reward at every token, learned from minimal edits",
            "arXiv:2406.02756",
        ),
        Entry(
            "segment_ppo",
            "methods.segment_ppo:SegmentPPO",
            "a reward for every sentence, learned from minimal edits",
            "arXiv:2306.01693",
        ),
        Entry(
            "gold_ppo",
            "methods.gold_ppo:GoldPPO",
            "the suite's gold score as reward: the ceiling",
            "arXiv:2210.10760",
        ),
    ],
)
ALGORITHMS: Registry[Any] = Registry(
    "algorithm",
    [
        Entry(
            "ppo",
            "bench.training.ppo:make_ppo",
            "PPO with a learned value; its options are the section ppo",
            "arXiv:1707.06347",
        )
    ],
)
JUDGES: Registry[Any] = Registry(
    "judge",
    [
        Entry(
            "gold",
            "judges.gold:Gold",
            "the suite's own program, where it knows the truth",
            "arXiv:2210.10760",
        ),
        Entry(
            "claude",
            "judges.claude:Claude",
            "Claude compares the outputs, in both orders",
            "arXiv:2305.14387",
        ),
        Entry(
            "openai",
            "judges.openai:OpenAI",
            "any OpenAI-compatible model, likewise: a second opinion",
            "arXiv:2305.14387",
        ),
        Entry(
            "replay",
            "judges.replay:Replay",
            "annotations from a file in AlpacaEval's format",
            "arXiv:2404.04475",
        ),
        Entry(
            "reward_model",
            "judges.reward_model:RewardModelJudge",
            "a reward model of pairs that no method learns from: a proxy, and said to be one",
            "arXiv:2210.10760",
        ),
    ],
)
EDITORS: Registry[Any] = Registry(
    "editor",
    [
        Entry(
            "claude",
            "bench.editing.claude:Claude",
            "Claude edits the less preferred response, only where needed",
            "arXiv:2406.02756",
        )
    ],
)
SUITES: Registry[Any] = Registry(
    "suite",
    [
        Entry(
            "testbed",
            "bench.suites.testbed.suite:Testbed",
            "a small world whose truth is known; needs no download",
            "arXiv:2210.10760",
        ),
        Entry(
            "jsonl",
            "bench.suites.jsonl:Jsonl",
            "your own prompts, pairs, edits and spans, named by a YAML file (docs/data.md)",
        ),
        Entry(
            "alpacafarm",
            "bench.suites.alpacafarm:AlpacaFarm",
            "instructions, people's or GPT-4's preferences, 805 instructions to judge",
            "arXiv:2305.14387",
        ),
        Entry(
            "qa_feedback",
            "bench.suites.qa_feedback:QAFeedback",
            "questions with people's preferences, corrections and error spans",
            "arXiv:2306.01693",
        ),
        Entry(
            "hh_rlhf",
            "bench.suites.hh_rlhf:HHRLHF",
            "dialogues, of which people chose one of two last turns",
            "arXiv:2204.05862",
        ),
        Entry(
            "alpaca_eval",
            "bench.suites.alpaca_eval:AlpacaEval",
            "annotation files of AlpacaEval as preferences",
            "arXiv:2404.04475",
        ),
    ],
)
REGISTRIES: tuple[Registry[Any], ...] = (METHODS, ALGORITHMS, JUDGES, EDITORS, SUITES)
