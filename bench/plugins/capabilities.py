"""What a suite can do: a core that every suite has, and small protocols of which it has some.

A suite is an object with the methods of `Suite` and of whichever other protocols it can keep;
nothing is inherited or registered. What a method, a stage or a judge needs is looked up with
`isinstance` when the run is planned (`require`), so that a suite which lacks it is one line then.

    Suite             prompts, demonstrations, references: every suite
    DataSuite         reads files beside its own code
    Notes             says what it left out of them
    Licensed          says whether records may hold its texts
    Pairs             has preference pairs; else responses are sampled and an Annotator prefers
    PairKinds         has held-out pairs of several kinds
    Edits             has minimal edits of its pairs; else a SimulatedEditor makes them
    Spans             knows where in a response the errors are
    SpanGroups        says which kinds of them belong together
    Annotator         prefers between samples of the policy
    SimulatedEditor   edits samples of the policy
    SimulatedMarker   marks the errors of samples of the policy, and overlooks some
    Gold              scores a response by the truth
    GoldTerms         says what that score is made of, and where in the text each term is decided
    Probes            makes pairs that differ in one planted error
    Measures          counts more of a response than its score
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

from bench.errors import UserError

if TYPE_CHECKING:
    from bench.config.section import Section
    from bench.data import Edit, Preference, Span
    from bench.hub import HubRepo


class Suite(Protocol):
    """The core: what is asked, what is imitated, and what outputs are compared with.

    Attributes:
        Options: the suite's own options, set by `--set suite.NAME=VALUE`. What their
            `result_fields` gives is in the key of every stage.
        prompt_template: how a prompt is put to the model; "{prompt}" stands for its text, and no
            other brace has a meaning.
        model_path: the default base model, a folder or a hub id.
    """

    name: str
    prompt_template: str
    model_path: str

    @property
    def Options(self) -> type[Section]:  # noqa: N802 - a class, read off the suite
        """The options' model."""
        ...

    def __init__(self, options: Any) -> None: ...

    def demonstrations(self, n: int, seed: int) -> list[tuple[str, str]]:
        """n (prompt, response) pairs to imitate, or as many as there are: too few are refused."""
        ...

    def prompts(self, split: str, n: int, seed: int) -> list[str]:
        """n prompts of "preference", "ppo", "validation", "test" or "unseen"; or as many as it has.

        Fewer than the configuration asks for are refused by the core, so that no suite has to.
        No split holds a prompt twice. "preference" is asked where pairs are sampled, not where they
        are the suite's; the held-out pairs are about its last prompts. "validation", "test" and
        "unseen" are the same for every seed, and share no prompt with each other or with what is
        trained on.
        """
        ...

    def references(self, prompts: list[str]) -> list[str]:
        """The response that a judge sets beside a method's, for each prompt."""
        ...


@runtime_checkable
class DataSuite(Protocol):
    """A suite that reads files, beside its own code: what they hold decides what it says."""

    def data_files(self, part: str) -> Sequence[Path | HubRepo]:
        """What is read for a part of the suite; its hashes are in the keys of what uses the part.

        A folder stands for all files in it. A data set of the hub is keyed by the commit that its
        revision stands for; the suite loads it at that very commit (`bench.hub.commit`).

        Args:
            part: a split of `prompts`, or the method that reads: "demonstrations", "references",
                "pairs", "edits", "spans", "prefer", "edit"; "gold" for `Gold` and "probes" for
                `Probes`.
        """
        ...


@runtime_checkable
class Notes(Protocol):
    """A suite that may leave out some of what its files hold, and says so."""

    def notes(self) -> Sequence[str]:
        """A line for each part that was read so far: what was left out, how much, and why.

        A run says them before anything is computed, and `--dry-run` below the plan.
        """
        ...


@runtime_checkable
class Licensed(Protocol):
    """A suite of other people's texts, which a record may or may not pass on.

    Attributes:
        licence: of the texts, by its common name; "": nobody said.
        texts_in_records: whether it allows that records, which are published, hold some of them
            beside what a model answered. Else a record has numbers and hashes alone, and what
            people would read stays in the store.
    """

    licence: str
    texts_in_records: bool


def may_show_texts(suite: Any) -> bool:
    """Whether a record may hold prompts and responses: all but those that a licence keeps back."""
    return not isinstance(suite, Licensed) or suite.texts_in_records


@runtime_checkable
class Pairs(Protocol):
    """A suite with preference pairs of its own: nothing is sampled or annotated for them."""

    def pairs(self, split: str, n: int, seed: int) -> list[Preference]:
        """n pairs of "preference" (a reward model learns from them) or "held_out", or all it has.

        No prompt is in both. Each has an `id` if the suite also has `Edits`.
        """
        ...


@runtime_checkable
class PairKinds(Protocol):
    """A suite with held-out pairs of several kinds, say of models that no trained pair is of.

    A reward model's accuracy is told of each kind, beside that of all, as `rm_accuracy.KIND`.
    """

    def pair_kind(self, pair: Preference) -> str | None:
        """A held-out pair's kind, in letters and underscores; None: there is nothing to tell."""
        ...


@runtime_checkable
class Edits(Protocol):
    """A suite with minimal edits of its pairs' less preferred responses."""

    def edits(self) -> Sequence[Edit]:
        """All its edits, each with the `id` of the pair whose `rejected` response it changes.

        Pairs are drawn, so there may be edits of others; a pair without one counts as missing.
        """
        ...


@runtime_checkable
class Spans(Protocol):
    """A suite that knows where the errors of a response are."""

    def spans(self, prompt: str, response: str) -> Sequence[Span] | None:
        """The errors' places, ordered and disjoint; None where nobody has looked for them."""
        ...


@runtime_checkable
class SpanGroups(Spans, Protocol):
    """A suite whose kinds of errors belong to a few groups.

    Attributes:
        span_groups: kinds by the group's name, in lower-case letters, digits and underscores; a
            method may train a model of each.
    """

    span_groups: Mapping[str, Sequence[str]]


@runtime_checkable
class SimulatedMarker(Protocol):
    """A suite whose program marks errors as people would: some are overlooked."""

    def mark(self, prompt: str, response: str, rng: random.Random, miss: float) -> Sequence[Span]:
        """The errors that are noticed, ordered and disjoint; arguments as of `SimulatedEditor`."""
        ...


@runtime_checkable
class Annotator(Protocol):
    """A suite that prefers between samples of the policy."""

    def prefer(self, prompt: str, first: str, second: str, rng: random.Random, flip: float) -> int:
        """0 if the first response is preferred, 1 for the second.

        Args:
            prompt: of the suite.
            first: a response to it.
            second: another.
            rng: source of randomness.
            flip: share of the labels that are to be wrong (`preferences.flip`).
        """
        ...


@runtime_checkable
class SimulatedEditor(Protocol):
    """A suite that edits samples of the policy by a program."""

    def edit(self, prompt: str, response: str, rng: random.Random, miss: float) -> str:
        """The minimal edit of a response.

        Args:
            prompt: of the suite.
            response: any text.
            rng: source of randomness.
            miss: share of the errors that are to be overlooked (`edits.miss`).
        """
        ...


@runtime_checkable
class Gold(Protocol):
    """A suite that knows the truth, and so can say how good a response is."""

    def score(self, prompt: str, response: str) -> float:
        """Gold score of a response; finite, the same every time."""
        ...


@runtime_checkable
class GoldTerms(Gold, Protocol):
    """A suite that knows at which place of a response each term of its gold score is decided."""

    def gold_terms(self, prompt: str, response: str) -> Sequence[tuple[int | None, float]]:
        """(place, amount) of each term; the amounts add up to `score`.

        A term belongs to the token that completes the text up to `place`, a number of characters;
        None: to the response's last token, for what is known only when it has ended.
        """
        ...


@runtime_checkable
class Probes(Protocol):
    """A suite that can plant errors, to see which of them a reward model knows.

    Attributes:
        probe_kinds: kinds of errors, in the order in which tables show them; the metric of one is
            `probe.KIND`.
    """

    probe_kinds: Sequence[str]

    def probes(
        self, prompts: Sequence[str], n: int, rng: random.Random
    ) -> Mapping[str, list[Preference]]:
        """By kind, at most n pairs of a response without error and the same with one planted."""
        ...


@dataclass(frozen=True)
class Measure:
    """Something that a suite counts of responses: a metric of the record.

    Attributes:
        name: of the metric. One that ends in "_accuracy" or "_share" is a fraction, which people
            read in per cent.
        heading: of its column in tables; None: it is in records and in the CSV alone.
        greedy: whether it is counted of greedy responses too, as the metric `NAME_greedy`, and
            whether tables show that.
        least: below which it cannot be, as a count below 0; None: it can be anything.
    """

    name: str
    heading: str | None = None
    greedy: Literal["no", "recorded", "shown"] = "no"
    least: float | None = None


@runtime_checkable
class Measures(Protocol):
    """A suite that counts more of a response than its score.

    Attributes:
        measures: what it counts, in the order in which tables show it.
    """

    measures: Sequence[Measure]

    def measure(self, prompt: str, responses: Sequence[str]) -> Mapping[str, float | None]:
        """The value of each measure over all the responses to one prompt, by name.

        How single responses are averaged is the suite's to say; None: there is nothing to count.
        """
        ...


_GIVES: dict[type, str] = {
    Pairs: "preference pairs",
    Edits: "edits",
    Spans: "error spans",
    SimulatedMarker: "a program that marks errors",
    Annotator: "an annotator",
    SimulatedEditor: "an editor of its own",
    Gold: "gold scores",
    GoldTerms: "gold scores in terms",
    Probes: "planted errors",
    Measures: "measures of its own",
}


def require(suite: Any, who: str, *capabilities: type, mend: str) -> None:
    """Refuse a suite that has none of these capabilities.

    Args:
        suite: of the run; None: files are judged, without a suite.
        who: what needs one, as people know it.
        *capabilities: of which one is enough; none: nothing is needed.
        mend: what a user can do instead.

    Raises:
        UserError: it has none of them.
    """
    if capabilities and not isinstance(suite, capabilities):
        needed = " or ".join(_GIVES.get(one, one.__name__) for one in capabilities)
        has_not = "files alone do not" if suite is None else f"the suite {suite.name} does not"
        raise UserError(f"{who} needs {needed}, which {has_not} have: {mend}")
