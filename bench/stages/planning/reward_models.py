"""Stages that train and measure reward models."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from bench.errors import UserError
from bench.pipeline.stage import Stage
from bench.plugins.capabilities import Gold
from bench.plugins.registry import JUDGES, OBJECTIVES, SEGMENTERS
from bench.stages.chosen import Chosen
from bench.stages.drawing import heldout_config
from bench.stages.given_rewards import GivenReward, given_reward
from bench.stages.planning.data import DataStages

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bench.models.heads import Granularity


class RewardModelStages(DataStages):
    """From pairs, edits and marked errors to reward models, and what is measured of them."""

    def reward_model(
        self,
        pairs: Stage,
        *,
        granularity: Granularity,
        objective: str = "comparison",
        options: Mapping[str, Any] | None = None,
        segmenter: str = "sentences",
        segmenter_options: Mapping[str, Any] | None = None,
    ) -> Stage:
        """A reward model trained on `pairs` (a `preferences` or `edits` stage).

        Rankings, where `preferences` has them, take the pairs' place unless the loss needs pairs.

        Args:
            pairs: the `preferences` or the `edits` stage.
            granularity: what is scored: "sequence", "segment" or "token".
            objective: name of the loss in the registry.
            options: what the loss is made with; JSON values.
            segmenter: of a segment model, the name of what cuts responses.
            segmenter_options: likewise.

        Raises:
            UserError: there is no such objective or segmenter.
        """
        if self.given_reward is not None:
            return self._given_reward_model(self.given_reward, granularity)
        learns = Chosen.of(OBJECTIVES, objective, options)
        cut = None
        if granularity == "segment":
            cut = Chosen.of(SEGMENTERS, segmenter, segmenter_options)
        return self._trained_reward_model("reward_model", pairs, granularity, learns, cut)

    def _trained_reward_model(
        self,
        name: str,
        data: Stage,
        granularity: Granularity,
        learns: Chosen,
        cut: Chosen | None,
        category: str = "",
    ) -> Stage:
        config = self.config
        parts: dict[str, Any] = {
            "seed": config.seed,
            "pairs": config.preferences.pairs,
            "granularity": granularity,
            "objective": learns.described,
            "reward_model": config.reward_model.result_fields(),
            "lora": config.lora.model_dump(),
        }
        chosen = [learns]
        if cut is not None:
            chosen.append(cut)
            parts["segmenter"] = cut.described
        if category:
            parts["category"] = category
        named = [one.name for one in chosen if one.name != "comparison"]
        return self._stage(
            name,
            "reward_models:build_reward_model",
            parts,
            (self.sft(), data, self.samples()),
            ", ".join([f"{granularity} level on {data.name}", *named]),
            granularity,
            learns,
            cut,
            category,
            plugins=tuple(one.module for one in chosen),
        )

    @cached_property
    def given_reward(self) -> GivenReward | None:
        """The reward model that was trained elsewhere; None: this run trains its own."""
        path = self.config.reward_model.path
        return None if path is None else given_reward(path)

    def _given_reward_model(self, given: GivenReward, granularity: Granularity) -> Stage:
        parts = {"normalisation_samples": self.config.reward_model.normalisation_samples}
        build, inputs = "reward_models:build_given_reward_model", (self.sft(), self.samples())
        return self._taken(given, granularity, self.config.method, build, parts, inputs)

    def reward_model_as_given(self, given: GivenReward) -> Stage:
        """A reward model that is only measured: it is not normalised, so nothing is drawn for it.

        Raises:
            UserError: it is one of ours, of another SFT model.
        """
        build, inputs = "rm_bench:build_as_given", (self.sft(),)
        return self._taken(given, given.granularity, "bench rm", build, {}, inputs)

    def _taken(
        self,
        given: GivenReward,
        granularity: str,
        who: str,
        build: str,
        parts: dict[str, Any],
        inputs: tuple[Stage, ...],
    ) -> Stage:
        own = {} if self.config.sft.path is None else self._base.key
        weights = {name: sha for name, sha in own.items() if name.endswith(".safetensors")}
        given.check(who, granularity, self.sft().key, weights)
        parts = {
            "given": given.reads.key,
            "kind": given.kind,
            "granularity": granularity,
            **parts,
        }
        summary = f"{granularity} level: {given.path} ({given.kind}), as it is"
        stage = self._stage("reward_model", build, parts, inputs, summary)
        return replace(stage, files={**stage.files, **given.reads.files})

    def segment_classifier(
        self,
        spans: Stage,
        category: str,
        *,
        kinds: Sequence[str] = (),
        hidden_by: Sequence[str] = (),
        segmenter: str = "sentences",
        segmenter_options: Mapping[str, Any] | None = None,
    ) -> Stage:
        """A reward model that finds the segments with an error.

        A run may have several beside the one that is its reward model. `reward_model.path` does not
        stand for it.

        Args:
            spans: the `spans` stage.
            category: names the stage, CATEGORY_model, and the metric `rm_detection.CATEGORY`.
            kinds: of the errors; none: all.
            hidden_by: kinds of errors beside which nobody looked for these.
            segmenter: the name of what cuts responses.
            segmenter_options: what it is made with; JSON values.

        Raises:
            UserError: there is no such segmenter, or the category's stages would have the names of
                the run's own reward model.
        """
        if category in ("reward", "rm"):
            raise UserError(
                f"a category of errors named {category!r}: its model would have the name of the "
                "run's own; choose another, as in reward.kinds"
            )
        learned = {"kinds": list(kinds), "hidden_by": list(hidden_by)}
        return self._trained_reward_model(
            f"{category}_model",
            spans,
            "segment",
            Chosen.of(OBJECTIVES, "segment_labels", learned),
            Chosen.of(SEGMENTERS, segmenter, segmenter_options),
            category,
        )

    def heldout_reward_model(self, who: str) -> Stage:
        """A sequence reward model of pairs that no method learns from; one for all and every seed.

        Args:
            who: needs it, for the message.

        Raises:
            UserError: no pairs are set aside for it.
        """
        n = self.config.evaluation.heldout_pairs
        if n < 2:
            raise UserError(
                f"evaluation.heldout_pairs={n}: {who} needs a reward model of pairs that no method "
                "learns from; say how many pairs are set aside for it"
            )
        own = type(self)(heldout_config(self.config), self.suite, "heldout_")
        return own.reward_model(own.preferences(), granularity="sequence")

    def _heldout_of(self, field: str) -> tuple[Stage, ...]:
        """The held-out reward model, if the judge that a field of `evaluation` names asks for it.

        Raises:
            UserError: no pairs are set aside for it.
        """
        name = getattr(self.config.evaluation, field)
        if not hasattr(JUDGES.get(name), "use_reward_model"):
            return ()
        return (self.heldout_reward_model(f"evaluation.{field}={name}"),)

    def rm_evaluation(self, reward_model: Stage) -> Stage:
        """Accuracy on held-out pairs, and on their edits if there are any; localisation, probes."""
        pairs = (self.preferences(), self.edits()) if self.has_edits else (self.preferences(),)
        parts = {
            "seed": self.config.seed,
            "pairs": self.config.preferences.pairs,
            "probes": self.config.evaluation.probes,
        }
        return self._stage(
            "rm_evaluation",
            "rm_evaluation:build_rm_evaluation",
            parts,
            (self.sft(), reward_model, *pairs),
            f"{self.config.preferences.held_out} held-out pairs, probes",
            reads=("gold", "spans", "probes"),
        )

    def rm_bench(self, reward_model: Stage, *, responses: int, draws: int) -> Stage:
        """What is measured of a reward model by itself, beside `rm_evaluation`.

        Args:
            reward_model: the model.
            responses: whose prefixes are scored, at most.
            draws: N, of which the best of n are chosen; no such choice where nobody knows the
                truth, or of fewer than 2.
        """
        gold = isinstance(self.suite, Gold) and draws > 1
        drawn = (self._rm_draws(draws),) if gold else ()
        return self._stage(
            "rm_bench",
            "rm_bench:build_rm_bench",
            {"pairs": self.config.preferences.pairs, "responses": responses},
            (self.sft(), reward_model, self.preferences(), *drawn),
            f"prefixes of {responses} responses"
            + (f", best of {draws} draws by gold" if gold else ""),
            responses,
            reads=("gold", "spans"),
        )

    def _rm_draws(self, n: int) -> Stage:
        wanted = self.config.evaluation
        names = {"test_prompts", "temperature", "max_new_tokens", "seed"}
        parts = {"n": n, "seed": self.config.seed, "evaluation": wanted.model_dump(include=names)}
        summary = f"{n} responses to each of {wanted.test_prompts} test prompts"
        build = "rm_draws:build_rm_draws"
        return self._stage("rm_draws", build, parts, (self.sft(),), summary, n, reads=("test",))

    def segment_evaluation(self, classifier: Stage) -> Stage:
        """How well a `segment_classifier` finds errors in held-out responses."""
        category = classifier.config["category"]
        return self._stage(
            f"{category}_evaluation",
            "segment_evaluation:build_segment_evaluation",
            {"seed": self.config.seed, "pairs": self.config.preferences.pairs},
            (self.sft(), classifier, self.preferences()),
            f"{self.config.preferences.held_out} held-out responses",
            category,
            classifier.config["objective"]["options"]["kinds"],
            reads=("spans",),
        )
