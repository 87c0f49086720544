"""Stages that make the policy, and what pays it."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from bench.config.loading import judge_options
from bench.errors import UserError
from bench.pipeline.stage import Stage
from bench.plugins.capabilities import Gold, require
from bench.plugins.registry import (
    ADVANTAGES,
    ALGORITHMS,
    JUDGES,
    METHODS,
    OFFLINE_LOSSES,
    TOKEN_SOURCES,
)
from bench.stages.chosen import (
    Chosen,
    ChosenAlgorithm,
    ChosenValidation,
    check_groups,
    check_rewards,
    check_validation,
    judge_maker,
    plugin_modules,
)
from bench.stages.planned_best import BestOf
from bench.stages.planned_source import Paid, PlannedSource
from bench.stages.planning.reward_models import RewardModelStages

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bench.plugins.protocols import Method


class PolicyStages(RewardModelStages):
    """From reward models and pairs to the policy, by whatever algorithm."""

    @cached_property
    def _paid(self) -> list[tuple[Stage, Paid]]:
        return []

    def source(self, name: str, *reads: Stage | PlannedSource, **options: Any) -> PlannedSource:
        """A token source of the registry.

        Args:
            name: in the registry.
            *reads: the stages whose artifacts it reads, and the sources that it is made of.
            **options: what it is made with; JSON values.

        Raises:
            UserError: there is no such source.
        """
        target = TOKEN_SOURCES.entry(name).target
        stages = tuple(one for one in reads if isinstance(one, Stage))
        parts = tuple(one for one in reads if isinstance(one, PlannedSource))
        return PlannedSource(name, target, options, stages, parts)

    def _source(self, paid_by: Stage | PlannedSource) -> PlannedSource:
        """A reward model stands for the source "reward_model"."""
        return self.source("reward_model", paid_by) if isinstance(paid_by, Stage) else paid_by

    def best_of(self, n: int, scored_by: Stage | PlannedSource) -> BestOf:
        """No policy that is trained: of n responses of the SFT model the one that scores highest.

        A plan may return it instead of a stage; `outputs` then draws n responses for each.

        Args:
            n: responses to each prompt.
            scored_by: the token source whose scores choose; a reward model as of `ppo`.

        Raises:
            UserError: n is not at least 1.
        """
        if n < 1:
            raise UserError(f"the best of {n} responses: give 1 at least", exit_code=1)
        return BestOf(self.sft(), n, self._source(scored_by))

    def best_responses(self, best: BestOf) -> Stage:
        """The best of n responses to each prompt that PPO trains on, drawn as its rollouts are."""
        wanted = self.config.ppo
        names = {"prompts", "prompt_max_tokens", "temperature", "max_new_tokens"}
        parts = {
            "seed": self.config.seed,
            "best_of": best.described,
            "ppo": wanted.model_dump(include=names),
        }
        return self._stage(
            "best_responses",
            "best_responses:build_best_responses",
            parts,
            best.inputs,
            f"the best of {best.n} by {best.source.name} to each of {wanted.prompts} prompts",
            best.n,
            best.source,
            reads=("ppo", "gold"),
            plugins=best.source.modules,
        )

    def ppo(
        self,
        method: Method,
        paid_by: Stage | PlannedSource | None,
        *,
        advantage: str = "gae",
        advantage_options: Mapping[str, Any] | None = None,
    ) -> Stage:
        """The policy that PPO trains on `method.rewards`.

        Args:
            method: what turns what the token source pays into rewards.
            paid_by: the token source; a reward model stands for the source "reward_model", None
                for the suite's gold score.
            advantage: name of the advantage in the registry.
            advantage_options: what it is made with; JSON values.

        Raises:
            UserError: as `policy`, there is no such advantage, or a step's responses are no whole
                number of the groups of `samples` that it compares, if it has that option.
        """
        options = self.config.ppo
        check_groups(options, (advantage_options or {}).get("samples", 1))
        if paid_by is not None and self.given_reward is not None:
            self.given_reward.check_value(options, self.config.lora)
        return self.policy(
            method,
            paid_by,
            "ppo",
            options,
            uses_demonstrations=options.ptx_coef > 0,
            advantage=Chosen.of(ADVANTAGES, advantage, advantage_options),
        )

    def policy(
        self,
        method: Method,
        paid_by: Stage | PlannedSource | None,
        algorithm: str,
        options: Any,
        *,
        uses_demonstrations: bool = False,
        advantage: Chosen | None = None,
    ) -> Stage:
        """The policy that an algorithm, which names the stage, trains on `method.rewards`.

        Args:
            method: what turns what the token source pays into rewards.
            paid_by: the token source, as of `ppo`.
            algorithm: its name in the registry.
            options: the algorithm's own `Section`, of the configuration or of the method's
                options, with fields `steps`, `batch_size` (prompts a step) and `prompts`.
            uses_demonstrations: whether it trains on the demonstrations of SFT, too.
            advantage: of an algorithm that has one.

        Raises:
            UserError: there is no such algorithm, the method has no `rewards(paid, mask)`, or the
                suite lacks the gold score, or what the judge needs.
        """
        check_rewards(method)
        if paid_by is None:
            mend = "choose another method or suite"
            require(self.suite, f"the method {method.name}", Gold, mend=mend)
            paid_by = self.source("gold")
        paid_by = self._source(paid_by)
        parts: dict[str, Any] = {
            "method": method.name,
            "options": method.options.model_dump(),
            "source": paid_by.described,
            algorithm: options.result_fields(),
        }
        reads: tuple[str, ...] = ("ppo", "gold")
        if uses_demonstrations:
            reads += ("demonstrations",)
            parts["demonstrations"] = self.config.seeded_sft.model_dump(
                include={"demonstrations", "seed", "max_length"}
            )
        if advantage is not None:
            parts["advantage"] = advantage.described
        chosen = ChosenAlgorithm(algorithm, options, uses_demonstrations, advantage)
        stage = self._policy_stage(
            algorithm,
            "policy:build_policy",
            parts,
            (self.sft(), *paid_by.all_stages),
            f"{options.steps} steps of {options.batch_size} prompts",
            method,
            paid_by,
            chosen,
            reads=reads,
            plugins=(
                *plugin_modules(METHODS, self.config.method, type(method)),
                *plugin_modules(ALGORITHMS, algorithm),
                *paid_by.modules,
                *(() if advantage is None else (advantage.module,)),
            ),
        )
        self._paid.append((stage, Paid(method, paid_by, chosen)))
        return stage

    def paid(self, policy: Stage) -> Paid | None:
        """What pays a policy that was planned here; None: nothing does (SFT, DPO, ...)."""
        return next((paid for stage, paid in self._paid if stage is policy), None)

    def offline(
        self, given: Stage, *, loss: str, options: Mapping[str, Any] | None = None
    ) -> Stage:
        """The policy that learns from given responses alone: nothing is drawn, nothing is paid.

        Rankings, where `preferences` has them, take the pairs' place if the loss takes them. Two
        methods with one loss share the stage.

        Args:
            given: the `preferences` or the `edits` stage.
            loss: its name in the registry.
            options: what it is made with; JSON values.

        Raises:
            UserError: there is no such loss, or the suite lacks what the judge needs.
        """
        pairs = self.config.preferences.pairs
        learns = Chosen.of(OFFLINE_LOSSES, loss, options)
        return self._offline(given, learns, {"pairs": pairs}, pairs)

    def imitation(self, best: Stage) -> Stage:
        """The policy that imitates a `best_responses` stage.

        Raises:
            UserError: the suite lacks what the judge needs.
        """
        learns = Chosen.of(OFFLINE_LOSSES, "imitation", None)
        return self._offline(best, learns, {}, self.config.ppo.prompts)

    def _offline(self, given: Stage, learns: Chosen, rows: dict[str, Any], n: int) -> Stage:
        """A policy from given responses; `rows` says which of them in the key, `n` in the plan."""
        config = self.config
        parts = rows | {"loss": learns.described, "offline": config.offline.result_fields()}
        return self._policy_stage(
            "offline",
            "offline:build_offline",
            parts,
            (self.sft(), given),
            f"{learns.name} on {n} {given.name}",
            ChosenAlgorithm("offline", config.offline, loss=learns),
            reads=("gold",),
            plugins=(*plugin_modules(ALGORITHMS, "offline"), learns.module),
        )

    def _policy_stage(
        self,
        name: str,
        build: str,
        parts: dict[str, Any],
        inputs: tuple[Stage, ...],
        summary: str,
        *arguments: Any,
        reads: tuple[str, ...],
        plugins: tuple[str, ...],
    ) -> Stage:
        """A stage that trains adapter "policy"; the last argument says who chooses the checkpoint.

        Arguments as of `_stage`.
        """
        config, wanted = self.config, self.config.evaluation
        judge = wanted.validation_judge if wanted.validation == "judge" else None
        names = {"validation", "validation_prompts", "temperature", "max_new_tokens", "seed"}
        parts |= {
            "seed": config.seed,
            "lora": config.lora.model_dump(),
            "validation": wanted.model_dump(include=names),
        }
        if wanted.matched_kl is not None:
            parts["matched_kl"] = wanted.matched_kl
        heldout: tuple[Stage, ...] = ()
        if wanted.validation_prompts:
            reads += ("validation",)
        if wanted.validation != "last":
            check_validation(wanted)
        if judge is not None:
            parts["judge"] = self._judge("validation_judge")
            reads += ("references",)
            plugins += plugin_modules(JUDGES, judge)
            heldout = self._heldout_of("validation_judge")
        elif wanted.validation == "heldout_rm":
            parts["max_kl"] = wanted.max_kl
            heldout = (self.heldout_reward_model("evaluation.validation=heldout_rm"),)
        validation = ChosenValidation(
            None if judge is None else judge_maker(config, judge), bool(heldout)
        )
        return self._stage(
            name,
            build,
            parts,
            inputs + heldout,
            summary,
            *arguments,
            validation,
            reads=reads,
            plugins=plugins,
        )

    def _judge(self, field: str) -> dict[str, Any]:
        """What of the options decides the verdicts of the judge that a field of `evaluation` names.

        Raises:
            UserError: the suite lacks what it needs.
        """
        name = getattr(self.config.evaluation, field)
        for needed in getattr(JUDGES.get(name), "needs", ()):
            mend = f"choose another judge with evaluation.{field}"
            if field == "validation_judge":
                mend += ", or keep the policy of the last step: evaluation.validation=last"
            require(self.suite, f"evaluation.{field}={name}", needed, mend=mend)
        return {"name": name, "options": judge_options(self.config, name).result_fields()}
