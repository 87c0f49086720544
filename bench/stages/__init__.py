"""The stages that methods put together; each call describes a stage and computes nothing."""

from __future__ import annotations

from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import Any

from bench.config import RunConfig
from bench.loading import judge_options, plugin_options
from bench.models.devices import dtype_name, pick_device
from bench.pipeline import Build, Context, Stage
from bench.protocols import Method
from bench.registry import EDITORS, JUDGES
from bench.store import file_sha256

# Whose versions may move a number.
PACKAGES = ("torch", "transformers", "peft", "tokenizers", "rapidfuzz")
MEASURES = ("bench.stages.measures", "bench.schema")


class Stages:
    """Stages of one run.

    Args:
        config: the run's configuration.
        suite: its world.
    """

    def __init__(self, config: RunConfig, suite: Any) -> None:
        self.config, self.suite = config, suite

    def _stage(
        self,
        name: str,
        build: str,
        parts: dict[str, Any],
        inputs: tuple[Stage, ...],
        sources: tuple[str, ...],
        summary: str,
        *arguments: Any,
    ) -> Stage:
        """A stage whose build function is imported when it runs: plans need no torch."""
        suite_module = type(self.suite).__module__
        suite_code = suite_module.rpartition(".")[0] or suite_module
        versions = {package: metadata.version(package) for package in PACKAGES}
        common = {"suite": self.config.suite, "packages": versions}
        return Stage(
            name,
            common | parts,
            inputs,
            (
                f"bench.stages.{build.split(':', maxsplit=1)[0]}",
                suite_code,
                *sources,
            ),
            _lazy(build, *arguments),
            summary,
        )

    def _judge(self, name: str) -> tuple[dict[str, Any], tuple[str, ...]]:
        """What of a judge decides its verdicts: name and options, and its modules."""
        options = judge_options(self.config, name).deciding()
        sources = ("bench.stages.judging", *plugin_modules(JUDGES.get(name)))
        return {"name": name, "options": options}, sources

    @cached_property
    def _base(self) -> dict[str, str]:
        """What identifies the base model: hashes of its files, or where it is on the hub."""
        path = self.config.model.path or self.suite.model_path
        hub = {"hub": path, "revision": str(self.config.model.revision)}
        return file_hashes(Path(path)) or hub

    def sft(self) -> Stage:
        """The supervised fine-tuned model, shared by all methods and seeds."""
        config = self.config
        parts: dict[str, Any] = {
            "base": self._base,
            "device": pick_device(config.model.device).type,
            "dtype": dtype_name(config.model),
            "sft": config.sft.model_dump(),
        }
        if not config.sft.full:
            parts["lora"] = config.lora.model_dump()
        sources = ("bench.models", "bench.rl", "bench.training.sft", "bench.training.optimisation")
        summary = f"{config.sft.steps} steps on {config.sft.demonstrations} demonstrations"
        return self._stage("sft", "sft:build_sft", parts, (), sources, summary)

    def samples(self) -> Stage:
        """Two samples, or `preferences.responses`, of the SFT model to each preference prompt."""
        wanted = self.config.preferences
        names = {"pairs", "held_out", "responses", "temperature", "max_new_tokens"}
        parts = {"seed": self.config.seed, "preferences": wanted.model_dump(include=names)}
        summary = f"{wanted.pairs} + {wanted.held_out} held-out pairs, T = {wanted.temperature}"
        build = "preferences:build_samples"
        return self._stage("samples", build, parts, (self.sft(),), ("bench.models",), summary)

    def preferences(self) -> Stage:
        """The annotator's choices: (y_w, y_l), and rankings where there are more responses."""
        flip = self.config.preferences.flip
        parts = {"seed": self.config.seed, "flip": flip}
        build, summary = "preferences:build_preferences", f"{flip:.0%} of the labels flipped"
        return self._stage("preferences", build, parts, (self.samples(),), (), summary)

    def edits(self) -> Stage:
        """The minimal edits of y_l: (edit(y_l), y_l), pair for pair with `preferences`."""
        miss, editor = self.config.preferences.miss, self.config.preferences.editor
        parts: dict[str, Any] = {"seed": self.config.seed, "miss": miss}
        build, summary = "preferences:build_edits", f"{miss:.0%} of the errors overlooked"
        sources: tuple[str, ...] = ()
        if editor is not None:
            options = plugin_options(self.config, "editor").deciding()
            limit = self.config.preferences.max_missing
            parts = {"editor": editor, "options": options, "max_missing": limit}
            sources, summary = plugin_modules(EDITORS.get(editor)), f"by {editor}"
        return self._stage("edits", build, parts, (self.preferences(),), sources, summary)

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
            (
                "bench.training.reward_model",
                "bench.training.comparisons",
                "bench.training.optimisation",
                "bench.editing.align",
            ),
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
            "reward_models:build_rm_evaluation",
            parts,
            (self.sft(), reward_model, self.preferences(), self.edits()),
            ("bench.training.reward_model", "bench.stats", *MEASURES),
            f"{self.config.preferences.held_out} held-out pairs, probes",
        )

    def ppo(self, method: Method, reward_model: Stage | None) -> Stage:
        """The policy that `method.rewards` trains; without a model on the suite's gold score."""
        config = self.config
        judge, judge_sources = self._judge(config.evaluation.validation_judge)
        parts: dict[str, Any] = {
            "seed": config.seed,
            "judge": judge,
            "method": method.name,
            "options": method.options.model_dump(),
            "ppo": config.ppo.model_dump(),
            "lora": config.lora.model_dump(),
            "validation": config.evaluation.model_dump(
                include={"validation_prompts", "temperature", "max_new_tokens", "seed"}
            ),
        }
        if config.ppo.ptx_coef > 0:
            parts["demonstrations"] = config.sft.model_dump(
                include={"demonstrations", "seed", "max_length"}
            )
        inputs = (self.sft(),) if reward_model is None else (self.sft(), reward_model)
        sources = (
            "bench.stages.sources",
            "bench.training.ppo",
            "bench.training.experience",
            "bench.training.updates",
            "bench.training.optimisation",
            *plugin_modules(type(method)),
            *judge_sources,
        )
        return self._stage(
            "ppo",
            "policy:build_ppo",
            parts,
            inputs,
            sources,
            f"{config.ppo.steps} steps of {config.ppo.batch_size} prompts",
            method,
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
        return self._stage("outputs", "evaluation:build_outputs", parts, inputs, (), summary)

    def judgement(self, outputs: Stage, reward_model: Stage | None) -> Stage:
        """Verdicts against the references and what else is measured of the outputs."""
        config = self.config.evaluation
        judge, judge_sources = self._judge(config.judge)
        inputs = (outputs, self.sft()) + (() if reward_model is None else (reward_model,))
        return self._stage(
            "judgement",
            "evaluation:build_judgement",
            {"judge": judge, "max_missing": config.max_missing},
            inputs,
            (*judge_sources, "bench.stats", *MEASURES),
            f"judge {config.judge}",
        )


def plugin_modules(plugin: type) -> tuple[str, ...]:
    """The modules whose code a plug-in's result depends on: its classes', and what it names."""
    own = tuple(c.__module__ for c in plugin.__mro__ if c is not object)
    return own + tuple(getattr(plugin, "sources", ()))


def file_hashes(folder: Path) -> dict[str, str]:
    """Hash of every file of a model's folder; empty for a hub id, whose revision names it."""
    files = sorted(folder.glob("*")) if folder.is_dir() else []
    return {file.name: file_sha256(file) for file in files if file.is_file()}


def _lazy(target: str, *arguments: Any) -> Build:
    module, _, name = target.partition(":")

    def build(context: Context, out: Path, inputs: list[Path]) -> dict[str, Any]:
        from importlib import import_module

        function = getattr(import_module(f"bench.stages.{module}"), name)
        result: dict[str, Any] = function(context, out, inputs, *arguments)
        return result

    return build
