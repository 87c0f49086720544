"""A study's preferences as labels, for `bench agree` and `bench judges`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.errors import UserError
from bench.judging.labels import Labelled
from bench.studio.results import Results, read_results
from bench.studio.tasks import ToPrefer


def labelled(path: Path) -> Labelled:
    """What each person prefers; known answers to hidden items, and an adjudicator's, are left out.

    Raises:
        UserError: it is no study, or nobody has said what is better.
    """
    results = read_results(path, "prefer")
    rows = list(_rows(results))
    if not rows:
        raise UserError(f"nobody has said in the study {path} which of two responses is better")
    return Labelled.of(path, rows, results.sha)


def _rows(results: Results) -> Iterator[tuple[str, dict[str, Any]]]:
    for answered in results.items:
        content = answered.item.content
        assert isinstance(content, ToPrefer)
        for given in answered.given:
            if given.value is not None:
                yield (
                    f"item {answered.item.id}",
                    {
                        "instruction": content.prompt,
                        "output_1": content.output_1,
                        "output_2": content.output_2,
                        "annotator": given.person,
                        "preference": given.value["preference"],
                    },
                )
