"""Stages that ask the policy and judge its answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.pipeline.stage import Stage
from bench.plugins.capabilities import Gold, require
from bench.plugins.registry import JUDGES
from bench.stages.chosen import judge_maker, plugin_modules
from bench.stages.planned_best import BestOf
from bench.stages.planning.policies import PolicyStages

if TYPE_CHECKING:
    pass


class Stages(PolicyStages):
    """All stages of one run, from demonstrations to verdicts; arguments as of `StagesBase`."""

    def outputs(self, policy: Stage | BestOf) -> Stage:
        """Responses to the evaluation prompts: of a policy, of the SFT model, or its best ones.

        Of the best ones none is greedy (`bench.stages.best_outputs`).
        """
        wanted = self.config.evaluation
        names = {
            "test_prompts",
            "unseen_prompts",
            "samples",
            "greedy",
            "temperature",
            "max_new_tokens",
            "seed",
        }
        if isinstance(policy, BestOf):
            names.remove("greedy")
        elif policy.name != "sft" and wanted.matched_kl is not None:
            names.add("matched_kl")
        parts = {"seed": self.config.seed, "evaluation": wanted.model_dump(include=names)}
        asked = {"test": wanted.test_prompts, "unseen": wanted.unseen_prompts}
        reads = tuple(split for split, n in asked.items() if n)
        summary = " and ".join(f"{asked[split]} {split}" for split in reads) + " prompts"
        if not isinstance(policy, BestOf):
            inputs = (policy,) if policy.name == "sft" else (self.sft(), policy)
            build = "outputs:build_outputs"
            return self._stage("outputs", build, parts, inputs, summary, reads=reads)
        return self._stage(
            "outputs",
            "best_outputs:build_best_outputs",
            parts | {"best_of": policy.described},
            policy.inputs,
            f"{summary}, the best of {policy.n} by {policy.source.name}",
            policy.n,
            policy.source,
            reads=(*reads, "gold"),
            plugins=policy.source.modules,
        )

    def monte_carlo(
        self, policy: Stage, *, responses: int, positions: int, continuations: int, seed: int
    ) -> Stage:
        """Responses to the test prompts, and what continuations of their states came to (gold).

        The same for all runs with one SFT model, unless it is the policy that draws.

        Args:
            policy: who draws; the SFT stage itself, or one that trains a policy.
            responses: how many.
            positions: tokens of each, around which states are continued; all where it has fewer.
            continuations: K, of each state.
            seed: of the draws; not the run's.

        Raises:
            UserError: the suite has no gold score.
        """
        mend = "give runs of another suite"
        require(self.suite, "credit", Gold, mend=mend)
        wanted = self.config.evaluation
        asked = {"responses": responses, "positions": positions, "continuations": continuations}
        asked["seed"] = seed
        parts = {
            "asked": asked,
            "evaluation": wanted.model_dump(include={"test_prompts", "max_new_tokens"}),
            "temperature": self.config.ppo.temperature,
        }
        return self._stage(
            "monte_carlo",
            "monte_carlo:build_monte_carlo",
            parts,
            (policy,) if policy.name == "sft" else (self.sft(), policy),
            f"{continuations} continuations of the states around {positions} tokens of each of "
            f"{responses} responses",
            *asked.values(),
            reads=("test", "gold"),
        )

    def judgement(self, outputs: Stage, reward_model: Stage | None) -> Stage:
        """Verdicts against the references and what else is measured of the outputs."""
        wanted, heldout = self.config.evaluation, self._heldout_of("judge")
        inputs = (outputs, self.sft()) + (() if reward_model is None else (reward_model,))
        return self._stage(
            "judgement",
            "judgement:build_judgement",
            {"judge": self._judge("judge"), "max_missing": wanted.max_missing},
            inputs + heldout,
            f"judge {wanted.judge}",
            judge_maker(self.config, wanted.judge),
            bool(heldout),
            reads=("references", "gold"),
            plugins=plugin_modules(JUDGES, wanted.judge),
        )
