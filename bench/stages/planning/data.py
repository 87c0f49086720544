"""Stages that make what models learn from: the SFT model, its samples, pairs, edits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bench.config.loading import plugin_options
from bench.errors import UserError
from bench.models.devices import device_type, dtype_name
from bench.pipeline.stage import Stage
from bench.plugins.capabilities import (
    Annotator,
    Pairs,
    SimulatedEditor,
    SimulatedMarker,
    SpanGroups,
    Spans,
    require,
)
from bench.plugins.registry import EDITORS
from bench.stages.chosen import (
    editor_maker,
    plugin_modules,
    uses_edits_of,
    uses_pairs_of,
)
from bench.stages.planning.base import StagesBase

if TYPE_CHECKING:
    pass


class DataStages(StagesBase):
    """From demonstrations to pairs, edits and marked errors."""

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
        parts["sft"] = config.seeded_sft.result_fields()
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

    @property
    def _aside(self) -> dict[str, Any]:
        """What decides which pairs are set aside: no field where none are, and no other key."""
        wanted = self.config.evaluation
        return {"aside": [wanted.heldout_pairs, wanted.seed]} if wanted.heldout_pairs else {}

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

    @property
    def has_edits(self) -> bool:
        """Whether there are edits of the less preferred responses, or somebody who edits."""
        if self.config.edits.editor is not None or uses_edits_of(self.suite, self.config):
            return True
        return self.config.edits.source == "suite" or isinstance(self.suite, SimulatedEditor)

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
