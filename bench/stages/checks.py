"""What a configuration and a tokenizer say of a run before anything runs; no weight is read."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from bench.config.run import RunConfig
from bench.errors import UserError
from bench.models.adapters import attach
from bench.models.classifier import check_tokenizer
from bench.models.context import batch_rope, context_length
from bench.models.loading import check_weights, load_outline, load_tokenizer
from bench.models.names import ADAPTER
from bench.models.tokens import Tokens
from bench.pipeline.stage import Stage
from bench.plugins.capabilities import SimulatedMarker
from bench.plugins.registry import ADVANTAGES, OBJECTIVES, OFFLINE_LOSSES, SEGMENTERS
from bench.stages.chosen import uses_edits_of, uses_pairs_of
from bench.stages.drawing import draw_demonstrations, draw_prompts, heldout_config, short_enough
from bench.stages.given import drawn_pairs, joined_edits
from bench.stages.spans import given_spans

STAGES = ("samples", "best_responses", "offline", "ppo", "outputs")  # those that generate
# The prompts that they generate to: stage, split, and the section that limits the responses.
SPLITS = (
    ("samples", "preference", "preferences"),
    ("best_responses", "ppo", "ppo"),
    ("offline", "validation", "evaluation"),
    ("ppo", "ppo", "ppo"),
    ("ppo", "validation", "evaluation"),
    ("outputs", "test", "evaluation"),
    ("outputs", "unseen", "evaluation"),
)


# By the field of a stage's configuration; and how many arguments come before a plug-in's options.
MADE = {
    "objective": (OBJECTIVES, 0),
    "loss": (OFFLINE_LOSSES, 0),
    "segmenter": (SEGMENTERS, 1),
    "advantage": (ADVANTAGES, 1),
}


def check_plugins(stages: Iterable[Stage]) -> None:
    """Refuse options that a plug-in of a method's plan does not take.

    Args:
        stages: that will run.

    Raises:
        UserError: naming the stage and the plug-in.
    """
    for stage in stages:
        for field, (registry, before) in MADE.items():
            chosen = stage.config.get(field)
            if chosen is None:
                continue
            made = registry.get(chosen["name"])
            try:
                inspect.signature(made).bind(*[None] * before, **chosen["options"])
            except TypeError as error:
                raise UserError(
                    f"{stage.name}: the {registry.kind} {chosen['name']} cannot be made with "
                    f"{chosen['options']}: {error}"
                ) from error


def check_model(config: RunConfig, suite: Any, missing: set[str]) -> None:
    """Refuse what a stage would find out after hours.

    Args:
        config: of the run.
        suite: its world.
        missing: names of the stages that are not in the store yet.

    Raises:
        UserError: the model cannot be read, `lora.target_modules` does not fit it, a prompt
            does not fit its context, or a given classifier cannot read texts.
    """
    given = config.reward_model.path
    if given is not None and "reward_model" in missing and not Path(given, ADAPTER).is_dir():
        check_tokenizer(given)
    adapted = {"reward_model", "offline", "ppo"}
    if not config.sft.full and config.sft.path is None:
        adapted.add("sft")
    generating = missing.intersection(STAGES)
    if not (missing & adapted or generating):
        return
    path = config.model.path or suite.model_path
    outline = load_outline(path, config.model)
    check_weights(path, config.model)
    if generating:
        tokenizer = load_tokenizer(path, config.model)
        tokens = Tokens.chosen(tokenizer, config.model, suite.prompt_template)
        needs = context_needs(config, suite, tokens, generating)
        if problem := too_short(outline.config, needs):
            raise UserError(problem)
    if missing & adapted:
        attach(outline, "outline", config.lora, outline=True)


def check_data(config: RunConfig, suite: Any, missing: set[str]) -> None:
    """Refuse data that a stage would refuse when it draws them; arguments as `check_model`.

    Raises:
        UserError: there are fewer demonstrations, prompts or pairs than the configuration asks for,
            or the suite's pairs and edits, or marked errors, do not fit each other. All that is
            wrong is said at once: with data of one's own most sizes of a preset are too large.
    """
    wrong: dict[str, None] = {}  # several stages miss the same prompts
    for draw in _draws(config, suite, missing):
        try:
            draw()
        except UserError as error:
            wrong[str(error)] = None
    if wrong:
        raise UserError("\n".join(wrong))


def _draws(config: RunConfig, suite: Any, missing: set[str]) -> Iterator[Callable[[], object]]:
    """What the stages that will run draw from the suite."""
    if "sft" in missing and config.sft.path is None and config.sft.steps != 0:
        yield partial(draw_demonstrations, suite, config.seeded_sft)
    for stage, split, _ in SPLITS:
        if stage in missing and not (stage == "samples" and uses_pairs_of(suite, config)):
            yield partial(draw_prompts, suite, split, config)
    if uses_pairs_of(suite, config) and missing & {"preferences", "edits", "spans"}:
        yield partial(_joined, config, suite, missing)
    if uses_pairs_of(suite, config) and "heldout_preferences" in missing:
        yield partial(drawn_pairs, suite, heldout_config(config))


def _joined(config: RunConfig, suite: Any, missing: set[str]) -> None:
    """The suite's pairs, with its edits and marked errors, of those stages that will run."""
    pairs = drawn_pairs(suite, config)
    if "edits" in missing and uses_edits_of(suite, config):
        joined_edits(suite, pairs, config.edits.max_missing)
    if "spans" in missing and not isinstance(suite, SimulatedMarker):
        given_spans(suite, pairs, config.edits.max_missing)


@dataclass(frozen=True)
class Need:
    """The positions that generation on one split's prompts may take.

    Attributes:
        split: of the suite's prompts.
        prompt: tokens of the longest prompt.
        field: the configuration's field that limits the response.
        new: its value.
    """

    split: str
    prompt: int
    field: str
    new: int

    @property
    def total(self) -> int:
        """Prompt and response."""
        return self.prompt + self.new


def context_needs(
    config: RunConfig, suite: Any, tokens: Tokens, stages: set[str] | None = None
) -> list[Need]:
    """What each generating stage needs; None: all stages."""
    needs = []
    for stage, split, section in SPLITS:
        if stages is None or stage in stages:
            if stage == "samples" and uses_pairs_of(suite, config):
                own = drawn_pairs(suite, config)
                prompts = [pair.prompt for pair in own]
            else:
                prompts = draw_prompts(suite, split, config)
            if split == "ppo":
                most = config.ppo.prompt_max_tokens
                prompts = short_enough(prompts, tokens, most, "ppo.prompt_max_tokens")
            longest = max((len(tokens.prompt(text)) for text in prompts), default=0)
            new: int = getattr(config, section).max_new_tokens
            needs.append(Need(split, longest, f"{section}.max_new_tokens", new))
    return needs


def too_short(settings: Any, needs: list[Need]) -> str | None:
    """What is wrong where a need exceeds the context of a model's configuration; None: nothing."""
    context = context_length(settings)
    worst = max(needs, key=lambda need: need.total)
    if context is None or worst.total <= context:
        return None
    rope = batch_rope(settings)
    why = f" (behind them its {rope} rope changes a row beside a longer one)" if rope else ""
    room = context - worst.new
    cut = f", or cut prompts with model.prompt_max_tokens={room}" if room > 0 else ""
    return (
        f"the longest prompt of the {worst.split} split has {worst.prompt} tokens: with "
        f"{worst.field}={worst.new} it does not fit the model's {context} positions{why}; lower "
        f"{worst.field}{cut}"
    )
