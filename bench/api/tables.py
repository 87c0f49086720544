"""What the leaderboard finds, as sequences that show themselves and become data frames."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from typing import TYPE_CHECKING, TypeVar, overload

from bench.api.places import folder
from bench.errors import UserError
from bench.grid import Grid, markdown_page, to_html
from bench.records.files import PUBLISHED
from leaderboard.analysis.compare import Comparison
from leaderboard.analysis.rows import Table

if TYPE_CHECKING:
    import pandas as pd

T = TypeVar("T")


class _Shown(Sequence[T]):
    """Findings: HTML in a notebook, Markdown where it is printed.

    Attributes:
        problems: a line for each thing that is wrong with the runs.
    """

    def __init__(self, found: Iterable[T], problems: Iterable[str] = ()) -> None:
        self._found = tuple(found)
        self.problems = tuple(problems)

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[T]: ...
    def __getitem__(self, index: int | slice) -> T | Sequence[T]:
        return self._found[index]

    def __len__(self) -> int:
        return len(self._found)

    def __iter__(self) -> Iterator[T]:
        return iter(self._found)

    def __str__(self) -> str:
        return markdown_page(self.grids())

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {len(self)}; print() shows it>"

    def _repr_html_(self) -> str:
        warned = "".join(f"<p><b>Warning:</b> {escape(line)}</p>" for line in self.problems)
        return warned + "".join(map(to_html, self.grids()))

    def grids(self) -> list[Grid]:
        """The tables as text, each of which shows itself."""
        raise NotImplementedError

    def _csv(self) -> str:
        raise NotImplementedError

    def to_pandas(self) -> pd.DataFrame:
        """One row a line of the tables, unrounded; rates are fractions."""
        import pandas as pd

        return pd.read_csv(io.StringIO(self._csv()))


class Leaderboard(_Shown[Table]):
    """Tables, each of what may be compared, the largest first; `sections` has all that is known."""

    def grids(self) -> list[Grid]:
        """The ranking of each table."""
        from leaderboard.views.render import result_grid

        return [result_grid(table) for table in self]

    def sections(self) -> list[Grid]:
        """The ranking, reward models, policy and cost of each table."""
        from leaderboard.views.render import table_grids

        return [grid for table in self for grid in table_grids(table)]

    def _csv(self) -> str:
        from leaderboard.views.render import to_csv

        return to_csv(list(self))


class Comparisons(_Shown[Comparison]):
    """Paired differences between labels, Holm-corrected."""

    def grids(self) -> list[Grid]:
        """The differences, and what it takes to find them."""
        from leaderboard.views.compared import grids

        return grids(self)

    def _csv(self) -> str:
        from leaderboard.views.compared import to_csv

        return to_csv(self)


def compare(
    *labels: str,
    metric: str = "win_rate",
    suite: str | None = None,
    results: str | os.PathLike[str] | None = None,
    difference: float | None = None,
    examples: int = 0,
) -> Comparisons:
    """Labels against each other, as `python -m bench compare`.

    Args:
        *labels: as the leaderboard writes them; one: all against it; several: all pairs.
        metric: a key of the items, as "win_rate" or "gold_score".
        suite: of this suite only.
        results: folder of runs; None: BENCH_RESULTS, or what is published (`PUBLISHED`).
        difference: the true difference to plan for, a rate's as .05; None: the observed one.
        examples: so many of the instructions that flipped, of each pair, in `flips`.

    Raises:
        UserError: there is no such folder, suite, label or metric, or the labels stand in different
            tables.
    """
    from leaderboard.analysis.compare import compare as compared

    if not labels:
        raise UserError("name a label, to compare all others with it, or several")
    problems: list[str] = []
    found = compared(
        folder(results, "results", PUBLISHED),
        suite,
        labels,
        metric,
        problems,
        planned=difference,
        examples=examples,
    )
    return Comparisons(found, problems)
