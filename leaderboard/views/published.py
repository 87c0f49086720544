"""The published tables where people read them: in README.md, docs/testbed.md, its tables' page.

    python -m leaderboard.views.published .

writes them from the records in results/testbed. The first two have the ranking, between `BEGIN` and
`END`; the third has everything else. A test holds all three to the records.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

from bench.errors import UserError
from bench.files import write_atomically
from bench.grid import markdown_page, to_markdown
from leaderboard.analysis.aggregate import tables
from leaderboard.analysis.compare import compare
from leaderboard.views import compared
from leaderboard.views.render import result_grid, table_grids

BEGIN = "<!-- The ranking: made by `python -m leaderboard.views.published .` -->\n"
END = "<!-- The ranking ends. -->\n"
RANKED = ("README.md", "docs/testbed.md")
ALL = "docs/testbed-tables.md"
# What readers ask first: what any method buys, and what something other than token_ppo buys.
BASES = ("sft", "token_ppo")
_HEAD = f"""# All tables of the testbed

Made by `python -m leaderboard.views.published .` from the records in `results/testbed`; what they
say is in [testbed.md](testbed.md), what the columns mean in [leaderboard.md](leaderboard.md). The
same in a terminal: `python -m bench leaderboard --all`, `python -m bench compare {BASES[0]}`.
"""


def pages(root: Path) -> dict[Path, str]:
    """Path and text of each page, as it should be, of a checkout at `root`.

    Raises:
        UserError: a page has no place for the ranking.
    """
    around = {root / name: _around_ranking(root / name) for name in RANKED}
    results = root / "results" / "testbed"
    found, _ = tables(results, curves=True)
    table = found[0]  # the largest: the preset's own
    ranking = f"{BEGIN}\n{to_markdown(result_grid(table))}\n\n{END}"
    texts = {page: ranking.join(parts) for page, parts in around.items()}
    _, *others = table_grids(table)
    sections = [replace(grid, level=2) for grid in others]
    for base in BASES:
        differences, *plans = compared.grids(compare(results, None, [base]))
        sections += [replace(differences, level=2), *(replace(plan, level=3) for plan in plans)]
    return texts | {root / ALL: f"{_HEAD}\n{markdown_page(sections)}"}


def _around_ranking(page: Path) -> tuple[str, str]:
    """What stands before and behind the ranking."""
    before, begin, rest = page.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise UserError(f"{page}: the lines {BEGIN.strip()} and {END.strip()} are not there")
    return before, after


if __name__ == "__main__":
    for path, text in pages(Path(sys.argv[1])).items():
        write_atomically(path, text)
