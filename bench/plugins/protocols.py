"""What a plug-in implements. No logic; the registry finds the implementations by name.

Methods, judges and editors are here; what a suite implements is in `bench.plugins.capabilities`. A
method or a judge that calls the suite itself says so in an attribute `needs`, a tuple of
capabilities, and is refused with a suite that lacks one of them, before anything runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    from torch import Tensor

    from bench.config.run import LoRAConfig
    from bench.config.section import Section
    from bench.models.backbone import Backbone
    from bench.models.heads import RewardModel
    from bench.models.sequences import Sequences
    from bench.pipeline.stage import Stage
    from bench.stages.planned_best import BestOf
    from bench.stages.planning import Stages
    from bench.training.comparisons import Group
    from bench.training.experience import Pay, Rewards, Rollout
    from bench.training.objectives import Scored
    from bench.training.offline_losses import Compared


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
        orders: where both orders were asked: the reference shown first, the model shown first; or
            the one that was.
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

    A judge with a method `use_reward_model(model)` is given the run's held-out reward model
    (`evaluation.heldout_pairs`) before it compares anything.

    A judge that asks a language model may have an attribute `asker` (`bench.llm.Asker`): messages
    about missing verdicts then say how to ask again.
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
        against its verdicts (each what, level and text, as `bench.records.schema.Mark`), and
        whatever else describes its work.
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


class Objective(Protocol):
    """The loss that a reward model learns from.

    The registry holds what makes one of its options, given by name: a class, as a rule.

    Attributes:
        ranks: whether it takes more than two responses to a prompt; else it takes pairs.

    One that learns from annotated responses (`Stages.spans`), one at a time, has an attribute
    `annotated`, which is True, and a method `accuracy(scored)`, () a share for the training curve.
    """

    @property
    def ranks(self) -> bool:
        """See the class."""
        ...

    def loss(self, scored: Scored) -> Tensor:
        """() The mean over the groups, all of one weight, so that micro-batches add up to it."""
        ...


class OfflineLoss(Protocol):
    """The loss that a policy learns from given responses, without a rollout.

    The registry holds what makes one of its options, given by name: a class, as a rule.

    Attributes:
        ranks: whether it takes more than two responses to a prompt; else it takes pairs.
        reads: what is computed for it: the policy's log-probabilities, the reference's beside them,
            or both with the divergence of their distributions.
    """

    @property
    def ranks(self) -> bool:
        """See the class."""
        ...

    @property
    def reads(self) -> Literal["policy", "reference", "distributions"]:
        """See the class."""
        ...

    def weight(self, groups: Sequence[Group]) -> float:
        """How many of what the loss is a mean over are in these groups: micro-batches add up."""
        ...

    def loss(self, compared: Compared) -> Tensor:
        """() The mean."""
        ...


class Segmenter(Protocol):
    """Cuts responses into the segments that a segment reward model scores.

    The registry holds functions that make one of the backbone and of its options, given by name.
    """

    def ends(self, batch: Sequences) -> Tensor:
        """(B, T) bool, True = a segment's last token; nothing at padding.

        The last token of a response ends a segment whether or not it is marked. The marks of a
        row depend on that row alone.
        """
        ...


RowSum = Literal["score", "score up to a constant", "nothing in particular"]


@dataclass(frozen=True)
class SourceInputs:
    """What a token source is made of; the registry holds functions of it.

    Attributes:
        backbone: the SFT model; the source may add adapters to it.
        suite: of the run.
        folders: the artifacts that the plan named, such as a reward model's.
        parts: the sources that the plan named.
        options: by name, as the plan gave them.
    """

    backbone: Backbone
    suite: Any
    folders: Sequence[Path]
    parts: Sequence[TokenSource]
    options: Mapping[str, Any]


class TokenSource(Protocol):
    """Turns signals into what each token of a response is paid.

    A source that has the reward model behind it as an attribute `model` lets the value start there
    (`ppo.value_init`).
    """

    @property
    def name(self) -> str:
        """For messages."""
        ...

    @property
    def row_sum(self) -> RowSum:
        """What a row of `paid` sums to; a constant is one for all responses to a prompt.

        Its tests hold a source to it (`bench.stages.sources.checks`).
        """
        ...

    def paid(self, rollout: Rollout) -> Tensor:
        """(B, T) reward units, the KL penalty apart: finite, and 0 at padding."""
        ...

    def scores(self, rollout: Rollout) -> Tensor:
        """(B,) R, the score of each response, reward units."""
        ...


def _unpaid(rollout: Rollout) -> Tensor:
    raise ValueError("the plan of this stage pays nothing")


@dataclass(frozen=True)
class TrainingInputs:
    """What an algorithm may train the policy from.

    Attributes:
        backbone: the SFT model; with its adapters off it is the reference.
        options: the algorithm's own, as the method's plan gave them.
        lora: shape of the adapters that are trained.
        seed: source of all draws.
        prompts: texts to draw responses to; none where nothing is drawn.
        pay: what each token of a rollout is paid, the KL penalty apart; it is checked already.
        reward_model: the model behind `pay`, if there is one: a value may start from it.
        demonstrations: (prompt ids, response ids) of SFT, if the plan asked for them.
        advantage: where it is, as ``module:attribute``, and its options, if the plan named one.
        groups: given responses to a prompt each, the best first, where it learns from those.
        loss: what is learned of them, as `advantage`.
    """

    backbone: Backbone
    options: Any
    lora: LoRAConfig
    seed: int
    prompts: Sequence[str] = ()
    pay: Pay = _unpaid
    reward_model: RewardModel | None = None
    demonstrations: Sequence[tuple[list[int], list[int]]] = ()
    advantage: tuple[str, Mapping[str, Any]] | None = None
    groups: Sequence[Group] = ()
    loss: tuple[str, Mapping[str, Any]] | None = None


class Checkpoint(Protocol):
    """The weights that training chose."""

    @property
    def step(self) -> int:
        """The step that these weights are of; 0: the SFT model itself."""
        ...


class Algorithm(Protocol):
    """A trainer of the adapter "policy", on what pays, as PPO is, or on given responses.

    The registry holds functions that make one of `TrainingInputs`; making it adds the adapter.

    One with a method `save_value(folder)` writes the chosen checkpoint's value function there, as
    `bench.models.heads.ValueModel.save` does: `bench credit` measures its advantages.

    Attributes:
        tokens: response tokens that training has seen so far.
    """

    tokens: int

    def run(
        self,
        validate: Callable[[], dict[str, float]],
        on_row: Callable[[dict[str, float]], None],
        on_checkpoint: Callable[[dict[str, Any]], None],
    ) -> Checkpoint:
        """Train to the end, from the start or from what `restore` took; the policy ends as chosen.

        Args:
            validate: measures the policy as it is; the highest "score" is the one to choose, and
                where it gives no score, the last policy.
            on_row: takes the numbers of each step, once, in order: "step" from 0, which is the
                policy before the first, what `validate` gave as "validation_NAME", and "kl",
                "reward", "reward_mass", "tokens" where they are known, for tables and curves.
            on_checkpoint: takes `state()` now and then, after that step's row.

        Raises:
            Diverged: training came to NaN or infinity.
        """
        ...

    def state(self) -> dict[str, Any]:
        """All that `restore` needs: tensors, numbers, texts, and lists and dicts of them."""
        ...

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from `state`; the numbers that follow are those of an uninterrupted run."""
        ...


class Advantage(Protocol):
    """By how much each token was better than expected.

    The registry holds what makes one of the configuration `ppo` and of its options, given by name.

    Attributes:
        uses_value: whether it needs a value function; else none is trained.
        samples: responses that are drawn to each prompt of a step; they stand side by side in the
            rollout.
    """

    @property
    def uses_value(self) -> bool:
        """See the class."""
        ...

    @property
    def samples(self) -> int:
        """See the class."""
        ...

    def estimate(self, rewards: Rewards, values: Tensor, rollout: Rollout) -> tuple[Tensor, Tensor]:
        """Advantages and the returns that the value learns, (B, T) each, reward units.

        Args:
            rewards: the KL taken off and whitened as the configuration says.
            values: (B, T) of the states in which the tokens were drawn; 0 without a value.
            rollout: the responses.

        Returns:
            Advantages, 0 outside `rollout.batch.mask`, and returns, 0 outside `rewards.states`.
        """
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

    def plan(self, stages: Stages) -> Stage | BestOf:
        """The stage that makes the policy; what it needs hangs on it. Computes nothing.

        Or, of a method that trains none, what of the SFT model's responses is kept.
        """
        ...

    def rewards(self, paid: Tensor, mask: Tensor) -> Tensor:
        """(B, T) rewards from what the token source pays (B, T); finite, and 0 where `mask` is not.

        Only called by `stages.policy`; a method whose plan has none (SFT, DPO, ...) lacks it. The
        trainer then penalises a missing EOS and takes the KL off, for every method alike.
        """
        ...
