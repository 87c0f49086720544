"""What a run will do: its stages, from the configuration; what of them is stored; whether they fit.

Nothing is executed here. `bench.running.runner` executes a plan, `--dry-run` shows it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from bench.config.loading import load_suite, plugin_options
from bench.config.run import RunConfig
from bench.errors import UserError
from bench.pipeline.stage import Stage
from bench.pipeline.store import Store
from bench.plugins.capabilities import Notes, may_show_texts, require
from bench.plugins.registry import METHODS
from bench.stages.base import with_base
from bench.stages.planned_best import BestOf
from bench.stages.planning import Stages
from bench.stages.reading import pinned

if TYPE_CHECKING:
    from bench.stages.planned_source import Paid

# What a run can be told to end with (`--until`), in the order of a run. "policy" is what trains it,
# whatever its algorithm; "reward_model" brings what is measured of it along.
UNTIL = (
    "sft",
    "samples",
    "preferences",
    "edits",
    "reward_model",
    "rm_evaluation",
    "policy",
    "outputs",
)

UNTIL_ONCE = {"ppo": "policy"}  # what it was called before there was another algorithm


@dataclass(frozen=True)
class PlannedStage:
    """A line of the plan."""

    name: str
    key: str
    cached: bool
    summary: str


@dataclass(frozen=True)
class Plan:
    """A run's stages: the judgement, which everything hangs on, and what reward models are.

    Attributes:
        policy: who answers: the stage that trains, or the SFT model.
        best_of: what of its answers is kept; None: they are all.
        config: as the stages see it: of a model on the hub, the revision is a commit; of one in a
            GGUF file, the path is that of the folder to which it was converted.
        until: the stage that it ends with; None: with the judgement.
        paid: what pays the policy; None: nothing does.
    """

    method: Any
    judgement: Stage
    rm_evaluation: Stage | None
    policy: Stage
    config: RunConfig
    best_of: BestOf | None = None
    until: str | None = None
    segment_evaluations: Sequence[Stage] = ()
    paid: Paid | None = None

    @property
    def measured(self) -> list[Stage]:
        """What is measured of the reward models: of the run's own, then of those beside it."""
        own = [] if self.rm_evaluation is None else [self.rm_evaluation]
        return [*own, *self.segment_evaluations]

    @property
    def paying(self) -> int:
        """How many models the policy's stage reads beside the SFT model, as a token source does."""
        return max(0, len(self.policy.inputs) - 1)

    @cached_property
    def targets(self) -> list[Stage]:
        """What has to be executed.

        Raises:
            UserError: the method has no such stage as it is to end with.
        """
        if self.until is None:
            return [*self.measured, self.judgement]
        whole = [stage for target in (*self.measured, self.judgement) for stage in target.graph()]
        named: dict[str, tuple[Stage, ...]] = {stage.name: (stage,) for stage in whole}
        if self.best_of is not None:
            named["policy"] = self.best_of.inputs
        elif self.trained is not None:
            named["policy"] = (self.trained,)
        if self.rm_evaluation is not None:
            named["reward_model"] = named["rm_evaluation"] = tuple(self.measured)
        last = named.get(self.until)
        if last is None:
            known = [name for name in UNTIL if name in named]
            raise UserError(
                f"--until {self.until}: the method {self.method.name} has no such stage; it has "
                f"{', '.join(known)}"
            )
        later = UNTIL.index(self.until) > UNTIL.index("rm_evaluation")
        return [*(self.measured if later else []), *last]

    @property
    def trained(self) -> Stage | None:
        """The stage that trains the policy; None: none does, and the SFT model is what answers."""
        return None if self.policy.name == "sft" else self.policy

    @property
    def stages(self) -> list[Stage]:
        """The targets and all that they need, inputs first, each once."""
        return list({stage.key: stage for t in self.targets for stage in t.graph()}.values())


def make_plan(
    config: RunConfig, store: Store | None = None, until: str | None = None
) -> tuple[Plan, Any]:
    """The stages of `config`, and its suite.

    Args:
        config: of the run.
        store: where a base that is a GGUF file is converted to, if it is not there yet; None: the
            default.
        until: one of `UNTIL`, the last stage that is wanted; None: all.

    Raises:
        UserError: for an unknown method, suite or judge, an option that one lacks, or a suite that
            cannot do what method, judge or editor need.
    """
    entry = METHODS.get(config.method)
    suite = load_suite(config)
    method = entry(plugin_options(config, "reward"))
    for needed in getattr(method, "needs", ()):
        mend = "choose another method or suite"
        require(suite, f"the method {config.method}", needed, mend=mend)
    # Before any key is made: a name on the hub may move.
    config = pinned(with_base(config, suite, store or Store()), suite)
    stages = Stages(config, suite)
    made = method.plan(stages)
    best_of = made if isinstance(made, BestOf) else None
    policy = made if best_of is None else best_of.policy
    if not isinstance(policy, Stage):
        raise UserError(
            f"the method {config.method}: its plan gave {made!r} instead of a stage, as "
            "`return stages.ppo(self, reward_model)` does",
            exit_code=1,
        )
    # A method says what makes its policy; what is measured around it is the same for every method.
    outputs = stages.outputs(made)
    reward_model = next((s for s in outputs.graph() if s.name == "reward_model"), None)
    planned = Plan(
        method,
        stages.judgement(outputs, reward_model),
        None if reward_model is None else stages.rm_evaluation(reward_model),
        policy,
        config,
        best_of,
        UNTIL_ONCE.get(until or "", until),
        [stages.segment_evaluation(s) for s in outputs.graph() if "category" in s.config],
        stages.paid(policy),
    )
    return planned, suite


def listed(
    planned: Plan, suite: Any, store: Store, say: Callable[[str], None] = lambda line: None
) -> list[PlannedStage]:
    """What `run` would do, and what of it is in the store.

    Args:
        planned: what `make_plan` gave, as is the suite.
        suite: of the run.
        store: of finished stages.
        say: receives what the suite leaves out of its files, line by line.

    Raises:
        UserError: the data, the model or a prompt does not fit, as `run` would say.
    """
    lines = [
        PlannedStage(s.name, s.key, store.find(s.name, s.key) is not None, s.summary)
        for s in planned.stages
    ]
    stored = {line.key for line in lines if line.cached}
    check_fits(
        [stage for stage in planned.stages if stage.key not in stored], planned.config, suite
    )
    say_notes(suite, say)
    return lines


def check_fits(missing: Sequence[Stage], config: RunConfig, suite: Any) -> None:
    """Refuse what a stage would find out after hours. What is stored needs no check and no torch.

    Args:
        missing: the stages that are not in the store.
        config: of the run.
        suite: its world.

    Raises:
        UserError: the data, the model or a prompt does not fit, or an option of a plug-in.
    """
    if not missing:
        return
    from bench.stages.checks import check_data, check_model, check_plugins

    names = {stage.name for stage in missing}
    check_plugins(missing)
    check_data(config, suite, names)
    check_model(config, suite, names)


def say_notes(suite: Any, say: Callable[[str], None]) -> None:
    """Tell what the suite left out of what was read, and what the record leaves out.

    Args:
        suite: of the run.
        say: receives it, line by line.
    """
    for line in suite.notes() if isinstance(suite, Notes) else ():
        say(line)
    if not may_show_texts(suite):
        say(
            f"the suite {suite.name}: records hold numbers and hashes and no texts (licence: "
            f"{suite.licence or 'not said'}); the samples stay in the store"
        )
