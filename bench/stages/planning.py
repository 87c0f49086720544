"""The stages that methods put together; each call describes a stage and computes nothing."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.config.loading import judge_options, plugin_options
from bench.errors import UserError
from bench.models.devices import device_type, dtype_name
from bench.pipeline.stage import Stage
from bench.plugins.capabilities import (
    Annotator,
    Gold,
    Pairs,
    SimulatedEditor,
    SimulatedMarker,
    SpanGroups,
    Spans,
    require,
)
from bench.plugins.registry import (
    ADVANTAGES,
    ALGORITHMS,
    EDITORS,
    JUDGES,
    METHODS,
    OBJECTIVES,
    OFFLINE_LOSSES,
    SEGMENTERS,
    SUITES,
    TOKEN_SOURCES,
)
from bench.stages.chosen import (
    Chosen,
    ChosenAlgorithm,
    ChosenValidation,
    check_groups,
    check_rewards,
    check_validation,
    editor_maker,
    judge_maker,
    plugin_modules,
    uses_edits_of,
    uses_pairs_of,
)
from bench.stages.drawing import heldout_config
from bench.stages.given_rewards import GivenReward, given_reward
from bench.stages.planned_best import BestOf
from bench.stages.planned_source import Paid, PlannedSource
from bench.stages.reading import Reads, read_base, read_by_suite

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bench.config.run import RunConfig
    from bench.models.heads import Granularity
    from bench.pipeline.stage import Builder, Context
    from bench.plugins.protocols import Method

# Whose versions may move a number; rapidfuzz aligns edits.
PACKAGES = ("torch", "transformers", "peft", "tokenizers", "rapidfuzz")


# Modules of stages that use a model, which several processes do together.
_SHARED = frozenset(
    {
        "sft",
        "samples",
        "reward_models",
        "rm_evaluation",
        "segment_evaluation",
        "policy",
        "offline",
        "outputs",
        "best_outputs",
        "best_responses",
        "judgement",
    }
)


class Stages:
    """Stages of one run.

    Args:
        config: the run's configuration.
        suite: its world.
        own: where it is not the run's configuration that they see, but one made from it: what
            their names begin with.
    """

    def __init__(self, config: RunConfig, suite: Any, own: str = "") -> None:
        self.config, self.suite, self._own = config, suite, own
        self._read: dict[str, Reads] = {}
        self._paid: list[tuple[Stage, Paid]] = []

    def _stage(
        self,
        name: str,
        build: str,
        parts: dict[str, Any],
        inputs: tuple[Stage, ...],
        summary: str,
        *arguments: Any,
        reads: tuple[str, ...] = (),
        plugins: tuple[str, ...] = (),
    ) -> Stage:
        """A stage whose build function is imported when it runs: plans need no torch.

        Args:
            name: what people read.
            build: "module:function" of a module of `bench.stages`.
            parts: what decides the result, beside suite, packages, inputs and code. Nothing checks
                it: a field that the build function reads and that is not here gives stale results.
            inputs: whose artifacts it reads.
            summary: a line for the plan.
            *arguments: what else the function is called with; `parts` says what they are.
            reads: parts of the suite whose data it uses (`bench.plugins.capabilities.DataSuite`).
            plugins: modules of the plug-ins that it uses, beside the suite.
        """
        module, _, function = build.partition(":")
        module = f"bench.stages.{module}"
        data = {part: self._data(part) for part in reads if self._data(part).key}
        if data:
            parts = parts | {"data": {part: read.key for part, read in data.items()}}
        base = (self._base,) if name == "sft" else ()  # later stages read the whole SFT model
        own = self._own if name != "sft" else ""
        return Stage(
            own + name,
            self._common | parts,
            inputs,
            (module, *self._suite_modules, *plugins),
            _lazy(module, function, *arguments, config=self.config if own else None),
            summary,
            {file: state for read in (*data.values(), *base) for file, state in read.files.items()},
            shared=module.removeprefix("bench.stages.") in _SHARED,
        )

    @property
    def _aside(self) -> dict[str, Any]:
        """What decides which pairs are set aside: no field where none are, and no other key."""
        wanted = self.config.evaluation
        return {"aside": [wanted.heldout_pairs, wanted.seed]} if wanted.heldout_pairs else {}

    @cached_property
    def _common(self) -> dict[str, Any]:
        versions = {package: metadata.version(package) for package in PACKAGES}
        options = plugin_options(self.config, "suite").result_fields()
        own = {"suite_options": options} if options else {}
        return {"suite": self.config.suite, **own, "packages": versions}

    @cached_property
    def _suite_modules(self) -> tuple[str, ...]:
        return plugin_modules(SUITES, self.config.suite, type(self.suite))

    @cached_property
    def _base(self) -> Reads:
        return read_base(self.config, self.suite)

    def _data(self, part: str) -> Reads:
        if part not in self._read:
            self._read[part] = read_by_suite(self.suite, part)
        return self._read[part]

    def sft(self) -> Stage:
        """The supervised fine-tuned model, shared by all methods and seeds."""
        config = self.config
        parts: dict[str, Any] = {
            "base": self._base.key,
            "device": device_type(config.model.device),
            "dtype": dtype_name(config.model),
            "template": config.model.template,
            "prompt_max_tokens": config.model.prompt_max_tokens,
        }
        if config.sft.path is not None or config.sft.steps == 0:
            summary = "the base, as it is"
            if config.sft.path is not None:  # then the base is that model: see `with_base`
                summary = f"{config.sft.path}, as it is"
                parts["given"] = parts["base"]
            return self._stage("sft", "sft:build_given_sft", parts, (), summary)
        parts["sft"] = config.sft.result_fields()
        if not config.sft.full:
            parts["lora"] = config.lora.model_dump()
        wanted = config.sft
        budget = f"{wanted.steps} steps" if wanted.epochs is None else f"{wanted.epochs} epochs"
        summary = f"{budget} on {wanted.demonstrations} demonstrations"
        reads = ("demonstrations",)
        return self._stage("sft", "sft:build_sft", parts, (), summary, reads=reads)

    def samples(self) -> Stage:
        """Two samples, or `preferences.responses`, of the SFT model to each preference prompt.

        Where the pairs are the suite's, just what a reward model's output is normalised on.
        """
        wanted = self.config.preferences
        if uses_pairs_of(self.suite, self.config):
            return self._responses()
        names = {"pairs", "held_out", "responses", "temperature", "max_new_tokens"}
        parts = {"seed": self.config.seed, "preferences": wanted.model_dump(include=names)}
        parts |= self._aside
        summary = f"{wanted.pairs} + {wanted.held_out} held-out pairs, T = {wanted.temperature}"
        build, reads = "samples:build_samples", ("preference",)
        return self._stage("samples", build, parts, (self.sft(),), summary, reads=reads)

    def _responses(self) -> Stage:
        wanted, n = self.config.preferences, self.config.reward_model.normalisation_samples
        parts = {
            "seed": self.config.seed,
            "pairs": wanted.pairs,
            "responses": n,
            "preferences": wanted.model_dump(include={"temperature", "max_new_tokens"}),
        }
        summary = f"{n} responses to normalise reward models on, T = {wanted.temperature}"
        inputs = self.sft(), self.preferences()
        return self._stage("samples", "samples:build_responses", parts, inputs, summary)

    def preferences(self) -> Stage:
        """The suite's pairs (y_w, y_l); or an annotator's choices between samples.

        Of more than two responses to a prompt the annotator makes rankings as well.

        Raises:
            UserError: the suite has no pairs and nobody can prefer, or it has pairs and rankings
                are asked for.
        """
        if uses_pairs_of(self.suite, self.config):
            return self._given_pairs()
        sampled = self.config.preferences.source == "sampled"
        require(
            self.suite,
            "preferences.source=sampled" if sampled else f"the method {self.config.method}",
            *(() if sampled else (Pairs,)),
            Annotator,
            mend="choose another suite, or a method that learns from no preferences",
        )
        flip = self.config.preferences.flip
        parts = {"seed": self.config.seed, "flip": flip}
        build, summary = "preferences:build_preferences", f"{flip:.0%} of the labels flipped"
        reads = ("prefer",)
        return self._stage("preferences", build, parts, (self.samples(),), summary, reads=reads)

    def _given_pairs(self) -> Stage:
        wanted = self.config.preferences
        if wanted.responses != 2:
            raise UserError(
                f"preferences.responses={wanted.responses}: the suite {self.suite.name} brings "
                "pairs, of which no rankings are made: set preferences.responses=2"
            )
        parts = {"seed": self.config.seed, **wanted.model_dump(include={"pairs", "held_out"})}
        parts |= self._aside
        summary = f"{wanted.pairs} + {wanted.held_out} held-out pairs of the suite"
        build, reads = "given:build_given_pairs", ("pairs",)
        return self._stage("preferences", build, parts, (), summary, reads=reads)

    def edits(self) -> Stage:
        """The minimal edits of y_l: (edit(y_l), y_l), pair for pair with `preferences`.

        Raises:
            UserError: nobody can edit.
        """
        config, inputs = self.config.edits, (self.preferences(),)
        # What is left out of them, whoever made them.
        parts: dict[str, Any] = config.model_dump(include={"max_changed", "always_allowed"})
        if uses_edits_of(self.suite, self.config):
            parts["max_missing"] = config.max_missing
            build, summary = "given:build_given_edits", "edits of the suite"
            return self._stage("edits", build, parts, inputs, summary, reads=("edits",))
        if config.editor is None:
            asked = config.source == "suite"
            require(
                self.suite,
                "edits.source=suite" if asked else f"the method {self.config.method}",
                SimulatedEditor,
                mend="choose an editor with edits.source, or another suite or method",
            )
            parts |= {"seed": self.config.seed, "miss": config.miss}
            summary = f"{config.miss:.0%} of the errors overlooked"
            build, reads = "edits:build_edits", ("edit",)
            return self._stage("edits", build, parts, inputs, summary, reads=reads)
        options = plugin_options(self.config, "editor").result_fields()
        asking = {"editor": config.editor, "options": options, "max_missing": config.max_missing}
        return self._stage(
            "edits",
            "asked_edits:build_asked_edits",
            parts | asking,
            inputs,
            f"by {config.editor}",
            editor_maker(self.config),
            plugins=plugin_modules(EDITORS, config.editor),
        )

    def spans(self) -> Stage:
        """The errors of y_l, marked by people or a program, pair for pair with `preferences`.

        Raises:
            UserError: nobody has looked for them.
        """
        config = self.config.edits
        parts: dict[str, Any] = {"max_missing": config.max_missing}
        mend = "choose another suite or method"
        require(self.suite, f"the method {self.config.method}", Spans, SimulatedMarker, mend=mend)
        summary = "errors that the suite marks"
        if isinstance(self.suite, SimulatedMarker):
            parts = {"seed": self.config.seed, "miss": config.miss}
            summary = f"{config.miss:.0%} of the errors overlooked"
        inputs = (self.preferences(),)
        return self._stage("spans", "spans:build_spans", parts, inputs, summary, reads=("spans",))

    @property
    def span_groups(self) -> dict[str, tuple[str, ...]]:
        """Kinds of errors by the group that the suite names; of one that names none, all in one."""
        groups = self.suite.span_groups if isinstance(self.suite, SpanGroups) else {"errors": ()}
        return {name: tuple(kinds) for name, kinds in groups.items()}

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
            raise UserError(f"a category of errors named {category!r}: choose another name")
        learned = {"kinds": list(kinds), "hidden_by": list(hidden_by)}
        return self._trained_reward_model(
            f"{category}_model",
            spans,
            "segment",
            Chosen.of(OBJECTIVES, "segment_labels", learned),
            Chosen.of(SEGMENTERS, segmenter, segmenter_options),
            category,
        )

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
        sft, wanted = self.sft(), self.config.reward_model
        own = {} if self.config.sft.path is None else self._base.key
        weights = {name: sha for name, sha in own.items() if name.endswith(".safetensors")}
        given.check(self.config.method, granularity, sft.key, weights)
        parts = {
            "given": given.reads.key,
            "kind": given.kind,
            "granularity": granularity,
            "normalisation_samples": wanted.normalisation_samples,
        }
        stage = self._stage(
            "reward_model",
            "reward_models:build_given_reward_model",
            parts,
            (sft, self.samples()),
            f"{granularity} level: {given.path} ({given.kind}), as it is",
        )
        return replace(stage, files={**stage.files, **given.reads.files})

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
        own = Stages(heldout_config(self.config), self.suite, "heldout_")
        return own.reward_model(own.preferences(), granularity="sequence")

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
        """
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
            parts["demonstrations"] = self.config.sft.model_dump(
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

    @property
    def has_edits(self) -> bool:
        """Whether there are edits of the less preferred responses, or somebody who edits."""
        if self.config.edits.editor is not None or uses_edits_of(self.suite, self.config):
            return True
        return self.config.edits.source == "suite" or isinstance(self.suite, SimulatedEditor)

    def _heldout_of(self, field: str) -> tuple[Stage, ...]:
        """The held-out reward model, if the judge that a field of `evaluation` names asks for it.

        Raises:
            UserError: no pairs are set aside for it.
        """
        name = getattr(self.config.evaluation, field)
        if not hasattr(JUDGES.get(name), "use_reward_model"):
            return ()
        return (self.heldout_reward_model(f"evaluation.{field}={name}"),)

    def _judge(self, field: str) -> dict[str, Any]:
        """What of the options decides the verdicts of the judge that a field of `evaluation` names.

        Raises:
            UserError: the suite lacks what it needs.
        """
        name = getattr(self.config.evaluation, field)
        for needed in getattr(JUDGES.get(name), "needs", ()):
            mend = f"choose another judge with evaluation.{field}"
            require(self.suite, f"evaluation.{field}={name}", needed, mend=mend)
        return {"name": name, "options": judge_options(self.config, name).result_fields()}


def _lazy(module: str, function: str, *arguments: Any, config: RunConfig | None = None) -> Builder:
    """A build function that is imported when it runs; `config`: instead of the run's own."""

    def build(context: Context, out: Path, inputs: list[Path]) -> dict[str, Any]:
        from importlib import import_module

        seen = context if config is None else replace(context, config=config)
        result: dict[str, Any] = getattr(import_module(module), function)(
            seen, out, inputs, *arguments
        )
        context.packed = seen.packed
        return result

    return build
