"""What recorded runs drew from their suite, drawn again: the prompts, and what its licence says."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bench.config.loading import load_suite
from bench.plugins.capabilities import Licensed, may_show_texts
from bench.running.rerun import config_of
from bench.stages.chosen import uses_pairs_of
from bench.stages.drawing import draw_demonstrations, draw_prompts
from bench.stages.given import drawn_pairs

if TYPE_CHECKING:
    from bench.config.run import RunConfig
    from bench.records.files import Record

MEASURED = ("test", "unseen")  # what results are told of; validation only chooses a checkpoint


@dataclass(frozen=True)
class Drawn:
    """The prompts of some runs, and whether their records may hold texts.

    Attributes:
        training: prompts of demonstrations, pairs and reinforcement learning, of all runs.
        evaluation: those that the results are about.
        licence: of the suite's texts; "": nobody said.
        may_show_texts: whether records may hold them.
    """

    training: set[str]
    evaluation: set[str]
    licence: str
    may_show_texts: bool


def drawn(records: Iterable[Record]) -> Drawn:
    """Draw again what some runs of one suite drew.

    Raises:
        UserError: the suite, or one of its files, is not here, or a configuration is none of
            today's.
    """
    training: set[str] = set()
    evaluation: set[str] = set()
    for record in records:
        config = config_of(record)
        suite = load_suite(config)
        training |= _trained_on(suite, config)
        for split in MEASURED:
            evaluation.update(draw_prompts(suite, split, config))
    licence = suite.licence if isinstance(suite, Licensed) else ""
    return Drawn(training, evaluation, licence, may_show_texts(suite))


def _trained_on(suite: Any, config: RunConfig) -> set[str]:
    found = set(draw_prompts(suite, "ppo", config))
    if config.sft.path is None and config.sft.steps != 0:
        found.update(row.prompt for row in draw_demonstrations(suite, config.seeded_sft))
    if uses_pairs_of(suite, config):
        return found | {pair.prompt for pair in drawn_pairs(suite, config)}
    return found | set(draw_prompts(suite, "preference", config))
