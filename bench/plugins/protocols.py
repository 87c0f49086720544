"""What a plug-in implements. No logic; the registry finds the implementations by name."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

if TYPE_CHECKING:
    from torch import Tensor

    from bench.config.section import Section
    from bench.hub import HubRepo
    from bench.pipeline.stage import Stage
    from bench.stages.planning import Stages
    from bench.training.experience import Rollout


class Suite(Protocol):
    """Prompts, demonstrations, annotator, editor and references: the world of a benchmark.

    Attributes:
        prompt_template: how a prompt is put to the model; "{prompt}" stands for its text.
        model_path: the default base model, a folder or a hub id.
    """

    name: str
    prompt_template: str
    model_path: str

    def demonstrations(self, n: int, seed: int) -> list[tuple[str, str]]:
        """n (prompt, response) pairs to imitate."""
        ...

    def prompts(self, split: str, n: int, seed: int) -> list[str]:
        """n prompts of "preference", "ppo", "validation", "test" or "unseen"."""
        ...

    def references(self, prompts: list[str]) -> list[str]:
        """The response that a judge sets beside a method's, for each prompt."""
        ...

    def prefer(self, prompt: str, first: str, second: str, rng: random.Random, flip: float) -> int:
        """0 if the annotator prefers the first response, 1 for the second."""
        ...

    def edit(self, prompt: str, response: str, rng: random.Random, miss: float) -> str:
        """The minimal edit of a response."""
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
                "prefer", "edit"; "gold" for those of a `GoldSuite`.
        """
        ...


class Counts(Protocol):
    """What a gold score is made of, for one response."""

    right: int
    wrong: int
    requested: int
    omitted: int
    duplicates: int
    hype: int
    rude: int
    unparsed: int


@runtime_checkable
class GoldSuite(Protocol):
    """A suite that knows the truth, and so can say how good a response is and where it is wrong."""

    probe_kinds: Sequence[str]

    def score(self, prompt: str, response: str) -> float:
        """Gold score of a response."""
        ...

    def counts(self, prompt: str, response: str) -> Counts:
        """What the score is made of."""
        ...

    def wrong_spans(self, prompt: str, response: str) -> list[tuple[int, int]]:
        """Character spans of the errors."""
        ...

    def clean_response(self, prompt: str, rng: random.Random) -> str:
        """A response without an error."""
        ...

    def plant(self, prompt: str, clean: str, kind: str, rng: random.Random) -> str | None:
        """`clean` with one planted error, or None where there is no room for one."""
        ...


@dataclass(frozen=True)
class OrderVerdict:
    """A judge's answer for one order of presentation.

    Attributes:
        preference: as a `Verdict`'s.
        status: "ok", or why there is no preference.
        rationale: why, in the judge's words.
        text: the whole answer as it came.
        category: of a refusal, where it has one.
        error: what went wrong, in words.
    """

    preference: float | None
    status: str
    rationale: str = ""
    text: str = ""
    category: str | None = None
    error: str | None = None


@dataclass(frozen=True)
class Verdict:
    """A judge's answer for one instruction.

    Attributes:
        preference: 1 = the reference is better, 2 = the model, 1.5 = tie, None = no verdict.
        status: "ok", "tie", "identical" (a tie that nobody was asked about), or why there is none.
        score, reference_score: where the judge scores responses singly.
        orders: where both orders were asked: the reference shown first, the model shown first.
    """

    preference: float | None
    status: str
    score: float | None = None
    reference_score: float | None = None
    orders: tuple[OrderVerdict, ...] = ()


class Judge(Protocol):
    """Compares a method's outputs with the reference's, instruction by instruction.

    Attributes:
        Options: the judge's own options, set by `--set judge.NAME=VALUE`.
        model: the language model that is asked, if one is.
        template_sha: SHA-256 of the prompt's file, if there is one.

    A stage that asks a judge is computed again when the code that the judge's module imports
    changes (`bench.pipeline.sources`); likewise with an editor, a method, a suite.
    """

    name: str
    model: str | None
    template_sha: str | None

    @property
    def Options(self) -> type[Section]:  # noqa: N802 - a class, read off the judge
        """The options' model."""
        ...

    def __init__(
        self, suite: Any, options: Any, *, answers: Path, say: Callable[[str], None]
    ) -> None:
        """`answers`: file that may keep what a model answered; `say` receives lines for people."""
        ...

    def ready(self) -> None:
        """Raise UserError for what would stop `compare`, such as a missing key; costs nothing."""
        ...

    def compare(
        self, prompts: list[str], outputs: list[str], references: list[str]
    ) -> list[Verdict]:
        """One verdict an instruction, in order; a failed one says so and is not left out.

        Raises:
            UserError: nothing can be judged; what was answered is kept.
        """
        ...

    def about(self) -> dict[str, Any]:
        """What a record says of the judge beside name, model and template, after `compare`.

        Keys: "cost_usd" (None where a price is not known), "marks" if something is to be said
        against its verdicts (each what, level and text, as `bench.records.files.Mark`), and whatever else
        describes its work.
        """
        ...


class EditResult(Protocol):
    """What became of one response."""

    @property
    def edited(self) -> str | None:
        """The minimal edit; None where there is none."""
        ...

    @property
    def status(self) -> str:
        """Says "ok", or why there is no edit."""
        ...


class Editor(Protocol):
    """Edits responses minimally: changed where needed, and only there.

    Attributes:
        Options: the editor's own options, set by `--set editor.NAME=VALUE`.
        source: who made the edits, as their rows will say.
    """

    name: str
    source: str

    @property
    def Options(self) -> type[Section]:  # noqa: N802 - a class, read off the editor
        """The options' model."""
        ...

    def __init__(self, options: Any, *, answers: Path, say: Callable[[str], None]) -> None: ...

    def ready(self) -> None:
        """Raise UserError for what would stop `edit`, such as a missing key; costs nothing."""
        ...

    def edit(self, pairs: Iterable[tuple[str, str]]) -> Sequence[EditResult]:
        """One result for each (prompt, response), in order."""
        ...

    def about(self) -> dict[str, Any]:
        """What a record says of the editor after `edit`."""
        ...


RowSum = Literal["score", "score up to a constant", "nothing in particular"]


class TokenSource(Protocol):
    """Turns signals into what each token of a response is paid."""

    @property
    def name(self) -> str:
        """For messages."""
        ...

    @property
    def row_sum(self) -> RowSum:
        """What a row of `paid` sums to, of `scores`; the tests hold a source to it."""
        ...

    def paid(self, rollout: Rollout) -> Tensor:
        """(B, T) reward units, the KL penalty apart: finite, and 0 at padding."""
        ...

    def scores(self, rollout: Rollout) -> Tensor:
        """(B,) R, the score of each response, reward units."""
        ...


class Method(Protocol):
    """One way from pairs to a policy.

    Attributes:
        Options: the method's own options, set by `--set reward.NAME=VALUE`.
        options: their values.
    """

    name: str
    options: Any

    @property
    def Options(self) -> type[Section]:  # noqa: N802 - a class, read off the method
        """The options' model."""
        ...

    def __init__(self, options: Any) -> None: ...

    def plan(self, stages: Stages) -> Stage:
        """The stage that makes the policy; what it needs hangs on it. Computes nothing."""
        ...

    def rewards(self, paid: Tensor, mask: Tensor) -> Tensor:
        """(B, T) rewards from what the token source pays (B, T); finite, and 0 where `mask` is not.

        Only called by `stages.ppo`; a method without it (SFT, DPO, ...) need not have it. The
        trainer then prices a missing EOS and takes the KL off, for every method alike.
        """
        ...
