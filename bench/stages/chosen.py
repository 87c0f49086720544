"""The plug-ins that a configuration chooses, as a plan hands them to its stages.

A plan computes nothing and imports no torch, so an algorithm, a judge or an editor is not made yet:
a stage gets what makes it when it runs.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from bench.config.loading import judge_options, plugin_options
from bench.errors import UserError
from bench.plugins.capabilities import Edits, Pairs, require
from bench.plugins.entries import BUILT_IN, Registry
from bench.plugins.registry import ALGORITHMS, EDITORS, JUDGES

if TYPE_CHECKING:
    from bench.config.run import EvaluationConfig, PPOConfig, RunConfig
    from bench.pipeline.stage import Context
    from bench.plugins.protocols import Algorithm, Editor, Judge, Method, TrainingInputs


@dataclass(frozen=True)
class Chosen:
    """A small plug-in that a method's plan names: an objective, an advantage, a loss.

    Attributes:
        name: in its registry.
        target: where it is, as ``module:attribute``.
        options: what it is made with; JSON values.
    """

    name: str
    target: str
    options: Mapping[str, Any]

    @classmethod
    def of(cls, registry: Registry[Any], name: str, options: Mapping[str, Any] | None) -> Chosen:
        """The entry of a registry, which is not imported.

        Raises:
            UserError: no plug-in has this name.
        """
        return cls(name, registry.entry(name).target, dict(options or {}))

    @property
    def module(self) -> str:
        """Where its code begins."""
        return self.target.partition(":")[0]

    @property
    def described(self) -> dict[str, Any]:
        """What of it decides a result, for a stage's key."""
        return {"name": self.name, "options": dict(self.options)}


@dataclass(frozen=True)
class ChosenAlgorithm:
    """How the policy is trained: an entry of `ALGORITHMS` and what a plan says of it.

    Attributes:
        name: in the registry.
        options: the algorithm's own.
        uses_demonstrations: whether it trains on the demonstrations of SFT, too.
        advantage: how it tells what was better than expected, if it takes one.
        loss: what it learns of given responses, if it does.
    """

    name: str
    options: Any
    uses_demonstrations: bool = False
    advantage: Chosen | None = None
    loss: Chosen | None = None

    def make(self, inputs: TrainingInputs) -> Algorithm:
        """The algorithm, ready to run."""
        made: Algorithm = ALGORITHMS.get(self.name)(inputs)
        return made


@dataclass(frozen=True)
class ChosenValidation:
    """Who chooses the checkpoint of a policy.

    Attributes:
        make_judge: makes the judge; None: no judge does.
        held_out: whether the stage's last input is the reward model that no method learns from.
    """

    make_judge: Callable[[Context], Judge] | None
    held_out: bool


def judge_maker(config: RunConfig, name: str) -> Callable[[Context], Judge]:
    """Makes the judge of this name for a run, with the options that the configuration has for it.

    Raises:
        UserError: there is no such judge, or an option is wrong.
    """
    from bench.stages.judging import make_judge

    return partial(make_judge, JUDGES.get(name), judge_options(config, name))


def editor_maker(config: RunConfig) -> Callable[[Context], Editor]:
    """Makes the configured editor for a run.

    Raises:
        UserError: there is no such editor, or an option is wrong.
    """
    from bench.stages.asked_edits import make_editor

    editor = EDITORS.get(str(config.edits.editor))
    return partial(make_editor, editor, plugin_options(config, "editor"))


def uses_pairs_of(suite: Any, config: RunConfig) -> bool:
    """Whether the pairs are the suite's own; else they are sampled and annotated.

    Raises:
        UserError: they shall be, and it has none.
    """
    source = config.preferences.source
    if source == "files":
        mend = "set preferences.source=sampled, or choose another suite"
        require(suite, "preferences.source=files", Pairs, mend=mend)
    return source != "sampled" and isinstance(suite, Pairs)


def uses_edits_of(suite: Any, config: RunConfig) -> bool:
    """Whether the edits are those that the suite has; else a program or an editor makes them.

    Raises:
        UserError: they shall be, and it has none, or the pairs are not its own.
    """
    source, own_pairs = config.edits.source, uses_pairs_of(suite, config)
    if source == "files":
        mend = "choose an editor with edits.source, or another suite"
        require(suite, "edits.source=files", Edits, mend=mend)
        if not own_pairs:
            raise UserError(
                "edits.source=files: they join the pairs that the suite has, and these are "
                "sampled: set preferences.source=files, or another edits.source"
            )
    return source in ("auto", "files") and own_pairs and isinstance(suite, Edits)


def plugin_modules(registry: Registry[Any], name: str, plugin: Any = None) -> tuple[str, ...]:
    """The modules where a plug-in's code begins: the one that is registered, and its own.

    Ours are written where they are registered, so that none is imported for it; another's may only
    be handed on there, and that it can be imported is found out before anything runs.
    """
    entry = registry.entry(name)
    registered = entry.target.partition(":")[0]
    if plugin is None and entry.source == BUILT_IN:
        return (registered,)
    return registered, (plugin or registry.get(name)).__module__


def check_validation(config: EvaluationConfig) -> None:
    """Refuse to choose a checkpoint on nothing.

    Raises:
        UserError: there are fewer than two validation prompts.
    """
    if config.validation_prompts < 2:
        raise UserError(
            f"evaluation.validation_prompts={config.validation_prompts}: evaluation.validation="
            f"{config.validation} chooses the checkpoint on 2 at least; or set "
            "evaluation.validation=last"
        )


def check_groups(config: PPOConfig, samples: int) -> None:
    """Refuse a step that is no whole number of groups of responses to one prompt.

    Raises:
        UserError: naming the field.
    """
    if config.batch_size % samples:
        raise UserError(
            f"ppo.batch_size={config.batch_size}: it must be a multiple of the {samples} responses "
            "to each prompt that are compared"
        )


def check_rewards(method: Method) -> None:
    """Refuse a method that is written for another contract, before anything runs."""
    rewards = getattr(method, "rewards", None)
    takes = inspect.signature(rewards) if callable(rewards) else None
    with contextlib.suppress(TypeError):
        if takes is not None and takes.bind("paid", "mask"):
            return
    has = "has no `rewards`" if takes is None else f"has rewards{takes}"
    raise UserError(
        f"the method {method.name!r} {has}; it must take (paid, mask), both (B, T), and leave the "
        "KL alone, which the trainer takes off",
        exit_code=1,
    )
