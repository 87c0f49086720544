"""The stages that methods put together; each call describes a stage and computes nothing."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, partial
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.config.loading import judge_options, plugin_options
from bench.models.devices import dtype_name, pick_device
from bench.pipeline.stage import Stage
from bench.plugins.registry import EDITORS, JUDGES, METHODS, SUITES, Registry
from bench.stages.reading import Reads, read_base, read_by_suite

if TYPE_CHECKING:
    from bench.config.run import RunConfig
    from bench.pipeline.stage import Build, Context
    from bench.plugins.protocols import Editor, Judge, Method

# Whose versions may move a number.
PACKAGES = ("torch", "transformers", "peft", "tokenizers", "rapidfuzz")


class Stages:
    """Stages of one run.

    Args:
        config: the run's configuration.
        suite: its world.
    """

    def __init__(self, config: RunConfig, suite: Any) -> None:
        self.config, self.suite = config, suite
        self._read: dict[str, Reads] = {}

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
            parts: what decides the result, beside suite, packages, inputs and code.
            inputs: whose artifacts it reads.
            summary: a line for the plan.
            *arguments: what else the function is called with; `parts` says what they are.
            reads: parts of the suite whose data it uses (`bench.plugins.protocols.DataSuite`).
            plugins: modules of the plug-ins that it uses, beside the suite.
        """
        module, _, function = build.partition(":")
        module = f"bench.stages.{module}"
        data = {part: self._data(part) for part in reads if self._data(part).key}
        if data:
            parts = parts | {"data": {part: read.key for part, read in data.items()}}
        base = (self._base,) if name == "sft" else ()  # later stages read the whole SFT model
        return Stage(
            name,
            self._common | parts,
            inputs,
            (module, *self._suite_modules, *plugins),
            _lazy(module, function, *arguments),
            summary,
            {file: state for read in (*data.values(), *base) for file, state in read.files.items()},
        )

    @cached_property
    def _common(self) -> dict[str, Any]:
        versions = {package: metadata.version(package) for package in PACKAGES}
        return {"suite": self.config.suite, "packages": versions}

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
            "device": pick_device(config.model.device).type,
            "dtype": dtype_name(config.model),
            "sft": config.sft.model_dump(),
            "prompt_max_tokens": config.model.prompt_max_tokens,
        }
        if not config.sft.full:
            parts["lora"] = config.lora.model_dump()
        summary = f"{config.sft.steps} steps on {config.sft.demonstrations} demonstrations"
        reads = ("demonstrations",)
        return self._stage("sft", "sft:build_sft", parts, (), summary, reads=reads)

    def samples(self) -> Stage:
        """Two samples, or `preferences.responses`, of the SFT model to each preference prompt."""
        wanted = self.config.preferences
        names = {"pairs", "held_out", "responses", "temperature", "max_new_tokens"}
        parts = {"seed": self.config.seed, "preferences": wanted.model_dump(include=names)}
        summary = f"{wanted.pairs} + {wanted.held_out} held-out pairs, T = {wanted.temperature}"
        build, reads = "samples:build_samples", ("preference",)
        return self._stage("samples", build, parts, (self.sft(),), summary, reads=reads)

    def preferences(self) -> Stage:
        """The annotator's choices: (y_w, y_l), and rankings where there are more responses."""
        flip = self.config.preferences.flip
        parts = {"seed": self.config.seed, "flip": flip}
        build, summary = "preferences:build_preferences", f"{flip:.0%} of the labels flipped"
        reads = ("prefer",)
        return self._stage("preferences", build, parts, (self.samples(),), summary, reads=reads)

    def edits(self) -> Stage:
        """The minimal edits of y_l: (edit(y_l), y_l), pair for pair with `preferences`."""
        config, inputs = self.config.preferences, (self.preferences(),)
        if config.editor is None:
            parts: dict[str, Any] = {"seed": self.config.seed, "miss": config.miss}
            summary = f"{config.miss:.0%} of the errors overlooked"
            build, reads = "edits:build_edits", ("edit",)
            return self._stage("edits", build, parts, inputs, summary, reads=reads)
        options = plugin_options(self.config, "editor").deciding()
        parts = {"editor": config.editor, "options": options, "max_missing": config.max_missing}
        return self._stage(
            "edits",
            "asked_edits:build_asked_edits",
            parts,
            inputs,
            f"by {config.editor}",
            editor_maker(self.config),
            plugins=plugin_modules(EDITORS, config.editor),
        )

    def reward_model(self, pairs: Stage, *, granularity: str, loss: str = "eq3") -> Stage:
        """A reward model trained on `pairs` (a `preferences` or `edits` stage).

        Rankings, where `preferences` has them, take the pairs' place unless the loss needs pairs.
        """
        config = self.config
        parts = {
            "seed": config.seed,
            "pairs": config.preferences.pairs,
            "granularity": granularity,
            "loss": loss if granularity == "token" else None,
            "reward_model": config.reward_model.model_dump(),
            "lora": config.lora.model_dump(),
        }
        summary = f"{granularity} level on {pairs.name}" + (
            f", {loss}" if granularity == "token" else ""
        )
        return self._stage(
            "reward_model",
            "reward_models:build_reward_model",
            parts,
            (self.sft(), pairs, self.samples()),
            summary,
            granularity,
            loss,
        )

    def rm_evaluation(self, reward_model: Stage) -> Stage:
        """Accuracy on held-out pairs, localisation and planted errors."""
        parts = {
            "seed": self.config.seed,
            "pairs": self.config.preferences.pairs,
            "probes": self.config.evaluation.probes,
        }
        return self._stage(
            "rm_evaluation",
            "rm_evaluation:build_rm_evaluation",
            parts,
            (self.sft(), reward_model, self.preferences(), self.edits()),
            f"{self.config.preferences.held_out} held-out pairs, probes",
            reads=("gold",),
        )

    def ppo(self, method: Method, reward_model: Stage | None) -> Stage:
        """The policy that `method.rewards` trains; without a model on the suite's gold score."""
        config = self.config
        judge = config.evaluation.validation_judge
        parts: dict[str, Any] = {
            "seed": config.seed,
            "judge": self._judge(judge),
            "method": method.name,
            "options": method.options.model_dump(),
            "ppo": config.ppo.model_dump(),
            "lora": config.lora.model_dump(),
            "validation": config.evaluation.model_dump(
                include={"validation_prompts", "temperature", "max_new_tokens", "seed"}
            ),
        }
        reads: tuple[str, ...] = ("ppo", "validation", "references", "gold")
        if config.ppo.ptx_coef > 0:
            reads += ("demonstrations",)
            parts["demonstrations"] = config.sft.model_dump(
                include={"demonstrations", "seed", "max_length"}
            )
        inputs = (self.sft(),) if reward_model is None else (self.sft(), reward_model)
        own = plugin_modules(METHODS, config.method, type(method))
        return self._stage(
            "ppo",
            "policy:build_ppo",
            parts,
            inputs,
            f"{config.ppo.steps} steps of {config.ppo.batch_size} prompts",
            method,
            judge_maker(config, judge),
            reads=reads,
            plugins=(*own, *plugin_modules(JUDGES, judge)),
        )

    def outputs(self, policy: Stage) -> Stage:
        """Responses to the evaluation prompts, of a policy or of the SFT model itself."""
        wanted = self.config.evaluation
        names = {
            "test_prompts",
            "unseen_prompts",
            "samples",
            "temperature",
            "max_new_tokens",
            "seed",
        }
        parts = {"seed": self.config.seed, "evaluation": wanted.model_dump(include=names)}
        inputs = (policy,) if policy.name == "sft" else (self.sft(), policy)
        summary = f"{wanted.test_prompts} test and {wanted.unseen_prompts} unseen prompts"
        build, reads = "outputs:build_outputs", ("test", "unseen")
        return self._stage("outputs", build, parts, inputs, summary, reads=reads)

    def judgement(self, outputs: Stage, reward_model: Stage | None) -> Stage:
        """Verdicts against the references and what else is measured of the outputs."""
        wanted = self.config.evaluation
        inputs = (outputs, self.sft()) + (() if reward_model is None else (reward_model,))
        return self._stage(
            "judgement",
            "judgement:build_judgement",
            {"judge": self._judge(wanted.judge), "max_missing": wanted.max_missing},
            inputs,
            f"judge {wanted.judge}",
            judge_maker(self.config, wanted.judge),
            reads=("references", "gold"),
            plugins=plugin_modules(JUDGES, wanted.judge),
        )

    def _judge(self, name: str) -> dict[str, Any]:
        """What of a judge's options decides its verdicts."""
        return {"name": name, "options": judge_options(self.config, name).deciding()}


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

    editor = EDITORS.get(str(config.preferences.editor))
    return partial(make_editor, editor, plugin_options(config, "editor"))


def plugin_modules(
    registry: Registry[Any], name: str, plugin: type | None = None
) -> tuple[str, ...]:
    """The modules where a plug-in's code begins: the one that is registered, and its class's."""
    plugin = plugin or registry.get(name)
    return registry.entry(name).target.partition(":")[0], plugin.__module__


def _lazy(module: str, function: str, *arguments: Any) -> Build:
    def build(context: Context, out: Path, inputs: list[Path]) -> dict[str, Any]:
        from importlib import import_module

        result: dict[str, Any] = getattr(import_module(module), function)(
            context, out, inputs, *arguments
        )
        return result

    return build
