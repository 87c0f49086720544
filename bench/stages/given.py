"""Pairs and edits that a suite brings: drawn, checked and joined; nothing is sampled for them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.data import Edit, Preference, mismatch, read_rows, write_rows
from bench.errors import UserError
from bench.stages.drawing import enough, heldout_config, pair_fields
from bench.stages.edits import edit_of, write_edits
from bench.stages.pairs import PREFERENCES

if TYPE_CHECKING:
    from bench.config.run import RunConfig
    from bench.pipeline.stage import Context
    from bench.plugins.capabilities import Edits, Pairs

ALL = 10**9  # more pairs than any suite has: it gives what it has

_DRAWN = (
    "{} has token ids, which only what this run's own model drew can have: leave {} out, and the "
    "text is tokenised"
)


def build_given_pairs(context: Context, out: Path, inputs: list[Path]) -> dict[str, Any]:
    """The suite's own pairs, the training ones first."""
    rows = drawn_pairs(context.suite, context.config)
    write_rows(out / PREFERENCES, rows)
    counts = {"pairs": len(rows)}
    if n := context.config.evaluation.heldout_pairs:
        counts["set_aside"] = n
    return counts


def build_given_edits(context: Context, out: Path, inputs: list[Path]) -> dict[str, Any]:
    """The suite's own edits of the pairs; inputs: preferences."""
    pairs = read_rows(inputs[0] / PREFERENCES, Preference)
    config = context.config.edits
    return write_edits(out, joined_edits(context.suite, pairs, config.max_missing), config)


def drawn_pairs(suite: Pairs, config: RunConfig) -> list[Preference]:
    """The training pairs, then those held out; none about a prompt that is set aside.

    Set aside are the pairs of the reward model that no method learns from
    (`evaluation.heldout_pairs`), and with them all others that the suite has about their prompts.

    Raises:
        UserError: the suite has fewer than are asked for, a prompt is in both parts, two pairs
            have one id, or one has token ids.
    """
    name, aside = getattr(suite, "name", ""), frozenset[str]()
    if config.evaluation.heldout_pairs:
        aside = frozenset(pair.prompt for pair in drawn_pairs(suite, heldout_config(config)))
    fields = pair_fields(config)
    train, held_out = (
        _drawn(suite, split, n, config.seed, field, aside)
        for split, (field, n) in zip(("preference", "held_out"), fields.items(), strict=True)
    )
    shared = {pair.prompt for pair in train} & {pair.prompt for pair in held_out}
    if shared:
        raise UserError(
            f"{len(shared)} prompts of the suite {name} are in training pairs and in held-out "
            f"ones, {min(shared)!r} among them: split its pairs by prompt"
        )
    if any(pair.chosen_ids or pair.rejected_ids for pair in (*train, *held_out)):
        raise UserError(_DRAWN.format(f"a pair of the suite {name}", "chosen_ids and rejected_ids"))
    ids = Counter(pair.id for pair in (*train, *held_out) if pair.id is not None)
    if twice := [one for one, n in ids.items() if n > 1]:
        raise UserError(f"two pairs of the suite {name} have the id {twice[0]!r}")
    return [*train, *held_out]


def joined_edits(suite: Edits, pairs: Sequence[Preference], max_missing: float) -> list[Edit]:
    """One edit a pair, in the pairs' order; a pair that the suite has none for stays as it was.

    Raises:
        UserError: an edit is not of the pair that has its id, has token ids, two have one id, or
            more than the share `max_missing` of the pairs have no edit.
    """
    name = getattr(suite, "name", "")
    by_id = {pair.id: pair for pair in pairs if pair.id is not None}
    found: dict[str, Edit] = {}
    for edit in suite.edits():
        # An edit of a pair that was not drawn is passed over; one without an id is a mismatch.
        if edit.id is None or edit.id in by_id:
            if problem := mismatch(edit, by_id):
                raise UserError(f"an edit of the suite {name}, {problem}")
            if edit.original_ids:
                raise UserError(_DRAWN.format(f"an edit of the suite {name}", "original_ids"))
            if edit.id in found:
                raise UserError(f"two edits of the suite {name} have the id {edit.id!r}")
            found[str(edit.id)] = edit
    missing = sum(pair.id not in found for pair in pairs)
    if missing > max_missing * len(pairs):
        raise UserError(
            f"the suite {name} has no edit of {missing} of {len(pairs)} pairs, more than "
            f"edits.max_missing={max_missing:g}: raise it, or choose an editor with edits.source"
        )
    return [
        found[pair.id] if pair.id in found else edit_of(pair, pair.rejected, f"{name}: no edit")
        for pair in pairs
    ]


def _drawn(
    suite: Pairs, split: str, n: int, seed: int, field: str, aside: frozenset[str]
) -> list[Preference]:
    if n == 0:  # of the reward model that no method learns from, no pair is held out
        return []
    if not aside:
        return enough(suite, suite.pairs(split, n, seed), n, field, f"pairs of {split!r}")
    found = [pair for pair in suite.pairs(split, ALL, seed) if pair.prompt not in aside]
    what = f"pairs of {split!r} beside those that evaluation.heldout_pairs sets aside"
    return enough(suite, found, n, field, what)
