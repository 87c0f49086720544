"""The runs of a row that somebody offers, and what no record says of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict

from bench.errors import UserError
from bench.records.files import Run
from leaderboard.analysis.runs import Group
from leaderboard.submission.overlap import Overlap


class Texts(BaseModel):
    """What the suite says of its texts.

    Attributes:
        overlap: of its prompts of training and of evaluation.
        licence: of its texts; "": nobody said.
        may_be_shown: whether records may hold them.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    overlap: Overlap
    licence: str
    may_be_shown: bool


@dataclass(frozen=True)
class Offer:
    """The runs of a row that somebody offers.

    Attributes:
        runs: by seed, at least one.
        declared: fields of hyperparameters of which the submitter says that they are other ones.
        texts: of the suite.
        unchecked: why `texts` are the submitter's word; "": they were found out here.
    """

    runs: list[Run]
    declared: frozenset[str]
    texts: Texts
    unchecked: str = ""

    @property
    def group(self) -> Group:
        """The row, without the values of its instructions."""
        return Group(self.runs[0].record.label, self.runs)


def one_row(runs: Iterable[Run]) -> list[Run]:
    """The runs by seed.

    Raises:
        UserError: there is none, or they are of several rows.
    """
    found = sorted(runs, key=lambda run: (run.record.seed, run.record.run_id))
    rows = sorted({f"{run.record.suite}/{run.record.label}" for run in found})
    if len(rows) != 1:
        raise UserError(
            f"a submission is one row, these runs are of {' and '.join(rows) or 'none'}: name the "
            "runs of one"
        )
    return found


def seeds_of(seeds: Sequence[int]) -> str:
    """As "seed 3" or "seeds 0, 1"."""
    listed = ", ".join(map(str, sorted(seeds)))
    return f"seed {listed}" if len(seeds) == 1 else f"seeds {listed}"
