"""Conformance checks that the author of a plug-in calls in tests of their own.

    from bench.testing import check_judge, check_method, check_suite, check_token_source

Each holds a plug-in to its protocol (`bench.plugins`) as far as that can be told from outside, and
raises an AssertionError that names the plug-in and what it broke. They use no test framework and no
network but what the plug-in itself uses.
"""

from __future__ import annotations

import inspect
import json
import math
import random
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.config.run import RunConfig
from bench.config.section import Section
from bench.data import mismatch
from bench.plugins.capabilities import (
    Annotator,
    DataSuite,
    Edits,
    Gold,
    Measures,
    PairKinds,
    Pairs,
    Probes,
    SimulatedEditor,
    SimulatedMarker,
    SpanGroups,
    Spans,
    Suite,
)
from bench.preference import FIRST, SECOND
from bench.records.schema import Mark
from bench.stages.sources.checks import check_token_source, rollouts_to_check

if TYPE_CHECKING:
    from bench.plugins.protocols import Judge, Verdict

__all__ = [
    "check_judge",
    "check_method",
    "check_suite",
    "check_ties",
    "check_token_source",
    "rollouts_to_check",
]

TRAINED = ("preference", "ppo")
EVALUATED = ("validation", "test", "unseen")


def check_suite(suite: Any, *, n: int = 8, seeds: tuple[int, int] = (0, 1)) -> None:
    """Hold a suite to its core and to every capability that it has.

    Args:
        suite: made with its options.
        n: how many of everything are drawn; the suite must have so many.
        seeds: two, to see what depends on the seed.

    Raises:
        AssertionError: naming the suite and what it broke.
    """
    say = _Complaint("suite", suite)
    _check_plugin(say, suite, Suite, ("demonstrations", "prompts", "references"))
    say.unless("{prompt}" in suite.prompt_template, "prompt_template lacks {prompt}")
    say.unless(_is_text(suite.model_path), "model_path is no folder or hub id")
    drawn = _check_prompts(say, suite, n, seeds)
    _check_references(say, suite, drawn["test"])
    first, second = (suite.demonstrations(n, seeds[0]) for _ in range(2))
    say.unless(first == second, "demonstrations differ between two calls with one seed")
    say.unless(
        len(first) == n and all(len(row) == 2 and all(map(_is_text, row)) for row in first),
        f"demonstrations({n}, seed) are not {n} pairs of texts",
    )
    asked = drawn["test"]  # a suite of files has references to what is evaluated alone
    _check_pairs(say, suite, n, seeds[0], drawn)
    _check_world(say, suite, asked, suite.references(asked))
    if isinstance(suite, DataSuite):
        for part in ("demonstrations", "references", *EVALUATED):
            for file in suite.data_files(part):
                there = not isinstance(file, Path) or file.exists()
                say.unless(there, f"data_files({part!r}) names {file}, which is not there")


def check_method(
    method: Any, suite: Any = None, *, config: RunConfig | None = None, linear: bool = True
) -> None:
    """Hold a method to its protocol: its plan is described, and its rewards are what PPO asks for.

    Args:
        method: made with its options.
        suite: on which it is planned; None: the testbed.
        config: of the plan.
        linear: whether what it pays is linear in what the source pays, but for a constant. One that
            clips says False.

    Raises:
        AssertionError: naming the method and what it broke.
    """
    from bench.config.loading import load_suite
    from bench.plugins.protocols import Method
    from bench.stages.planning import Stages

    say = _Complaint("method", method)
    _check_plugin(say, method, Method, ("plan",))
    say.unless(isinstance(method.options, Section), "options are not what it was made with")
    # Any registered method's name will do: the plan of one that is not installed is checked, too.
    config = (config or RunConfig()).model_copy(update={"method": "sft"})
    world = suite or load_suite(config)
    policies = [method.plan(Stages(config, world)) for _ in range(2)]
    answers = [Stages(config, world).outputs(policy) for policy in policies]
    say.unless(answers[0].key == answers[1].key, "plan describes another policy at each call")
    # What a stage is paid by is in its key; where nothing is trained nothing is paid.
    pays = "source" in getattr(policies[0], "config", {})
    say.unless(pays or not hasattr(method, "rewards"), "rewards is there, and plan pays nothing")
    if pays:
        say.unless(hasattr(method, "rewards"), "plan pays with rewards, and there is no rewards")
        _check_rewards(say, method, linear)


def check_judge(
    judge: Judge, prompts: Sequence[str], outputs: Sequence[str], references: Sequence[str]
) -> None:
    """Hold a judge to its protocol, on instructions that it has an answer for.

    Args:
        judge: made with its options; `compare` is called four times, and whom it asks must answer
            alike each time.
        prompts: two at least, all different.
        outputs: the model's; none equal to its reference.
        references: what they are compared with.

    Raises:
        AssertionError: naming the judge and what it broke.
    """
    from bench.plugins.protocols import Judge

    say = _Complaint("judge", judge)
    _check_plugin(say, judge, Judge, ("ready", "compare", "about"))
    for name in ("model", "template_sha"):
        value = getattr(judge, name, 0)
        say.unless(value is None or _is_text(value), f"{name} is no text and not None")
    judge.ready()
    columns = list(prompts), list(outputs), list(references)
    verdicts = _verdicts(say, judge, *columns)
    say.unless(_verdicts(say, judge, *columns) == verdicts, "compare differs between two calls")
    turned = _verdicts(say, judge, *(column[::-1] for column in columns))
    say.unless(turned[::-1] == verdicts, "a verdict depends on the order of the instructions")
    _check_about(say, judge.about())


def check_ties(judge: Judge, prompts: Sequence[str], texts: Sequence[str]) -> None:
    """Hold a judge to a tie where output and reference are the same text.

    Raises:
        AssertionError: naming the judge and the prompt.
    """
    say = _Complaint("judge", judge)
    same = _verdicts(say, judge, list(prompts), list(texts), list(texts))
    for prompt, verdict in zip(prompts, same, strict=True):
        say.unless(verdict.preference == 1.5, f"output and reference are one text to {prompt!r}")


class _Complaint:
    """Raises with the plug-in's kind and name."""

    def __init__(self, kind: str, plugin: Any) -> None:
        self.who = f"{kind} {getattr(plugin, 'name', type(plugin).__name__)!r}"

    def unless(self, holds: bool, text: str) -> None:
        """Raise AssertionError unless `holds`."""
        if not holds:
            raise AssertionError(f"{self.who}: {text}")


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


def _check_plugin(say: _Complaint, plugin: Any, protocol: type, methods: Sequence[str]) -> None:
    """Name, options, and the protocol's methods with its parameters."""
    say.unless(_is_text(getattr(plugin, "name", None)), "name is no text")
    options = getattr(plugin, "Options", None)
    is_section = isinstance(options, type) and issubclass(options, Section)
    say.unless(is_section, "Options is no subclass of bench.config.section.Section")
    for name in methods:
        found = getattr(plugin, name, None)
        say.unless(callable(found), f"{name} is missing")
        _check_parameters(say, name, found, getattr(protocol, name))


def _check_parameters(say: _Complaint, name: str, found: Any, declared: Callable[..., Any]) -> None:
    """Whether a call as the protocol writes it fits."""
    wanted = list(inspect.signature(declared).parameters)[1:]  # without self
    try:
        inspect.signature(found).bind(*wanted)
    except TypeError as error:
        say.unless(False, f"{name} does not take ({', '.join(wanted)}): {error}")


def _check_prompts(
    say: _Complaint, suite: Any, n: int, seeds: tuple[int, int]
) -> dict[str, list[str]]:
    """Splits: as many texts as asked for, repeatable, and evaluation apart from training."""
    trained = TRAINED[1:] if isinstance(suite, Pairs) else TRAINED
    drawn: dict[str, list[str]] = {}
    for split in (*trained, *EVALUATED):
        found = suite.prompts(split, n, seeds[0])
        right = len(found) == n and all(map(_is_text, found))
        say.unless(right, f"prompts({split!r}, {n}, seed) are not {n} texts")
        again = suite.prompts(split, n, seeds[0])
        say.unless(again == found, f"prompts({split!r}) differ between two calls with one seed")
        say.unless(len(set(found)) == n, f"prompts({split!r}) hold a prompt twice")
        drawn[split] = found
    for i, split in enumerate(EVALUATED):
        found = drawn[split]
        other_seed = suite.prompts(split, n, seeds[1])
        say.unless(found == other_seed, f"prompts({split!r}) depend on the seed: no two runs pair")
        for other in (*trained, *EVALUATED[:i]):
            both = set(found) & set(drawn[other])
            say.unless(not both, f"splits {other!r} and {split!r} share {min(both, default='')!r}")
    return drawn


def _check_references(say: _Complaint, suite: Any, prompts: list[str]) -> None:
    found = suite.references(prompts)
    right = len(found) == len(prompts) and all(isinstance(text, str) for text in found)
    say.unless(right, "references are not one text a prompt")
    single = [suite.references([prompt])[0] for prompt in reversed(prompts)][::-1]
    say.unless(single == found, "a reference depends on more than its prompt")


def _check_pairs(
    say: _Complaint, suite: Any, n: int, seed: int, drawn: dict[str, list[str]]
) -> None:
    """Its own pairs and edits: repeatable, split by prompt, joined by id."""
    if not isinstance(suite, Pairs):
        say.unless(not isinstance(suite, Edits), "edits without pairs join nothing")
        return
    held = min(n, 4)
    parts = {"preference": n, "held_out": held}
    found = {split: suite.pairs(split, size, seed) for split, size in parts.items()}
    for split, size in parts.items():
        say.unless(len(found[split]) == size, f"pairs({split!r}, {size}, seed) are not {size}")
        again = suite.pairs(split, size, seed)
        say.unless(again == found[split], f"pairs({split!r}) differ between two calls")
    both = {pair.prompt for pair in found["preference"]} & {p.prompt for p in found["held_out"]}
    say.unless(not both, f"a prompt is held out and trained on: {min(both, default='')!r}")
    evaluated = {prompt for split in EVALUATED for prompt in drawn[split]}
    both = evaluated & {pair.prompt for pair in found["preference"]}
    say.unless(not both, f"a prompt is trained on and evaluated: {min(both, default='')!r}")
    if isinstance(suite, PairKinds):
        kinds = {suite.pair_kind(pair) for pair in found["held_out"]} - {None}
        wrong = sorted(kind for kind in kinds if kind and not re.fullmatch("[a-z][a-z_]*", kind))
        say.unless(not wrong, f"a kind of pairs is no name of a metric: {wrong}")
    if isinstance(suite, Edits):
        pairs = {pair.id: pair for part in found.values() for pair in part if pair.id}
        say.unless(len(pairs) == n + held, "pairs without an id, or two with one, join no edit")
        own = [edit for edit in suite.edits() if edit.id in pairs]
        say.unless(bool(own), "none of the edits is of a pair that was drawn")
        for edit in own:
            problem = mismatch(edit, pairs)
            say.unless(problem is None, f"an edit joins no pair: {problem}")


def _check_world(say: _Complaint, suite: Any, prompts: list[str], texts: list[str]) -> None:
    """What the suite says of responses: the same of the same ones."""
    asked = list(zip(prompts, texts, strict=True))
    if isinstance(suite, Gold):
        scores = [suite.score(*pair) for pair in asked]
        say.unless(all(map(math.isfinite, scores)), "a gold score is not finite")
        say.unless(scores == [suite.score(*pair) for pair in asked], "a gold score changes")
        say.unless(math.isfinite(suite.score(prompts[0], "")), "an empty response has no score")
    if isinstance(suite, Annotator):
        pairs = [(prompt, text, texts[0] or "A word.") for prompt, text in asked]
        choices = [suite.prefer(*pair, random.Random(1), 0.0) for pair in pairs]
        say.unless(set(choices) <= {0, 1}, "prefer gives something else than 0 and 1")
        again = [suite.prefer(*pair, random.Random(1), 0.0) for pair in pairs]
        say.unless(choices == again, "prefer depends on more than its arguments")
    if isinstance(suite, SimulatedEditor):
        edits = [suite.edit(*pair, random.Random(1), 0.0) for pair in asked]
        say.unless(all(map(_is_text, edits)), "edit gives an empty text, or none")
        repeated = [suite.edit(*pair, random.Random(1), 0.0) for pair in asked]
        say.unless(edits == repeated, "edit depends on more than its arguments")
    _check_spans(say, suite, asked)
    if isinstance(suite, Probes):
        probes = suite.probes(prompts, 2, random.Random(1))
        say.unless(set(probes) == set(suite.probe_kinds), "probes are not of the probe_kinds")
        say.unless(all(len(found) <= 2 for found in probes.values()), "more probes than asked for")
        say.unless(probes == suite.probes(prompts, 2, random.Random(1)), "probes change")
    if isinstance(suite, Measures):
        names = [measure.name for measure in suite.measures]
        say.unless(hasattr(type(suite), "measures"), "measures are not an attribute of the class")
        for prompt, text in asked:
            values = suite.measure(prompt, [text, text])
            say.unless(set(values) == set(names), f"measure gives {set(values)}, declared: {names}")
            right = all(value is None or math.isfinite(value) for value in values.values())
            say.unless(right, "a measure is not finite; None says that there is nothing to count")


def _check_spans(say: _Complaint, suite: Any, asked: Sequence[tuple[str, str]]) -> None:
    """Errors' places: in the text, ordered and disjoint; all overlooked at a `miss` of 1."""
    for prompt, text in asked:
        found = [suite.spans(prompt, text)] if isinstance(suite, Spans) else []
        if isinstance(suite, SimulatedMarker):
            found += [suite.mark(prompt, text, random.Random(1), miss) for miss in (0.0, 1.0)]
            say.unless(not found[-1], "mark sees an error where it is to overlook all")
        for spans in found:
            end = 0
            for span in spans or ():
                right = end <= span.start < span.end <= len(text)
                say.unless(right, f"spans overlap, or lie outside of {text!r}")
                end = span.end
    if isinstance(suite, SpanGroups):
        right = all(re.fullmatch(r"[a-z][a-z0-9_]*", name) for name in suite.span_groups)
        say.unless(right, "a name of span_groups has more than lower-case letters, digits and _")


def _check_rewards(say: _Complaint, method: Any, linear: bool) -> None:
    """Rewards of random pay: of the rows alone, without the KL, 0 at padding."""
    import torch

    parameters = list(inspect.signature(method.rewards).parameters)
    say.unless(len(parameters) == 2, f"rewards takes {parameters}, not (paid, mask)")
    rng = torch.Generator().manual_seed(0)
    mask = torch.arange(6) < torch.tensor([[6], [3], [1], [4]])
    one, other = (torch.randn(4, 6, generator=rng).masked_fill(~mask, 0.0) for _ in range(2))
    kept = one.clone(), mask.clone()
    rewards = method.rewards(one, mask)
    _check_paid(say, "rewards", rewards, mask)
    untouched = torch.equal(one, kept[0]) and torch.equal(mask, kept[1])
    say.unless(untouched, "rewards changes its arguments in place")
    say.unless(torch.equal(rewards, method.rewards(one, mask)), "rewards differ between two calls")
    beside = torch.cat([other[:1], one[1:]])
    alike = torch.allclose(method.rewards(beside, mask)[1:], rewards[1:], atol=1e-5)
    say.unless(alike, "a row's rewards depend on other rows")
    nothing = method.rewards(torch.zeros_like(one), mask)
    if linear:
        both = method.rewards(one + other, mask)
        apart = rewards + method.rewards(other, mask) - nothing
        say.unless(
            torch.allclose(both, apart, atol=1e-4),
            "rewards are not linear in what is paid (linear=False if they are not meant to be)",
        )


def _check_paid(say: _Complaint, what: str, paid: Any, mask: Any) -> None:
    from bench.errors import Diverged, UserError
    from bench.stages.sources.paying import checked

    try:
        checked(paid, mask, what)
    except (UserError, Diverged) as error:
        say.unless(False, str(error))


def _verdicts(say: _Complaint, judge: Judge, *columns: list[str]) -> list[Verdict]:
    """One verdict an instruction, each a preference or the reason why there is none."""
    verdicts = judge.compare(*columns)
    n = len(columns[0])
    say.unless(len(verdicts) == n, f"{len(verdicts)} verdicts of {n} instructions")
    for verdict in verdicts:
        preference = verdict.preference
        say.unless(_is_text(verdict.status), "a verdict without a status")
        right = preference is None or FIRST <= preference <= SECOND
        say.unless(right, f"a preference of {preference}: from 1 (the reference) to 2, or None")
        missing = verdict.status not in ("ok", "tie", "identical")
        say.unless(missing == (preference is None), f"status {verdict.status!r} with {preference}")
    return verdicts


def _check_about(say: _Complaint, about: Any) -> None:
    say.unless(isinstance(about, dict) and "cost_usd" in about, "about() lacks cost_usd")
    cost = about["cost_usd"]
    say.unless(cost is None or (cost >= 0 and math.isfinite(cost)), f"about(): cost_usd is {cost}")
    try:
        json.dumps(about, allow_nan=False)
        for mark in about.get("marks", []):
            Mark.model_validate(mark)
    except (TypeError, ValueError) as error:
        say.unless(False, f"about() cannot be recorded: {error}")
