"""The annotator's choices between the sampled responses."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.data import Comparison, Preference, Ranking, read_rows, write_rows
from bench.stages.pairs import PREFERENCES, RANKINGS, SAMPLES

if TYPE_CHECKING:
    from bench.pipeline.stage import Context


def build_preferences(context: Context, out: Path, inputs: list[Path]) -> dict[str, Any]:
    """The annotator's choice between a prompt's first two responses, and the ranking of them all.

    Every two responses are compared once, noise included; what won as often has the same rank
    (arXiv:2203.02155 asks for a ranking at once).
    """
    config, seed = context.config.preferences, context.config.seed
    rng = random.Random(f"annotate:{seed}")
    rows, rankings = [], []
    for row in _samples(inputs[0]):
        prompt, responses = row.prompt, row.responses
        ids: Sequence[list[int] | None] = row.response_ids or [None] * len(responses)
        verdicts = {
            (i, j): (i, j)[context.suite.prefer(prompt, first, second, rng, config.flip)]
            for (i, first), (j, second) in combinations(enumerate(responses), 2)
        }
        chosen = verdicts[0, 1]
        rows.append(
            Preference(
                prompt=prompt,
                chosen=responses[chosen],
                rejected=responses[1 - chosen],
                chosen_ids=ids[chosen],
                rejected_ids=ids[1 - chosen],
            )
        )
        ranks = ranks_of_winners(list(verdicts.values()), len(responses))
        rankings.append(row.model_copy(update={"ranks": ranks}))
    write_rows(out / PREFERENCES, rows)
    if config.responses > 2:
        write_rows(out / RANKINGS, rankings)
    return {"pairs": len(rows)}


def _samples(folder: Path) -> list[Ranking]:
    """Every prompt with its responses, all tied."""
    if (folder / RANKINGS).exists():
        return read_rows(folder / RANKINGS, Ranking)
    return [
        Ranking(
            prompt=row.prompt,
            responses=[row.output_1, row.output_2],
            ranks=[0, 0],
            response_ids=[row.ids_1, row.ids_2] if row.ids_1 and row.ids_2 else None,
        )
        for row in read_rows(folder / SAMPLES, Comparison)
    ]


def ranks_of_winners(winners: list[int], responses: int) -> list[int]:
    """Ranks by number of wins, 0 best, equal numbers tied; `winners` has one index a comparison."""
    wins = [winners.count(i) for i in range(responses)]
    order = sorted(set(wins), reverse=True)
    return [order.index(n) for n in wins]
