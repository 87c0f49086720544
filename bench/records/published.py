"""The published records, wherever a command is run.

A checkout has them in `results/`; an installed package brings them along, beside its modules.
"""

from __future__ import annotations

from pathlib import Path

from bench.records.files import PUBLISHED, record_files

RESULTS = Path("results")
"""How the published records are called, in a checkout and elsewhere; one's own are in it too."""


def at_hand(path: Path) -> Path:
    """The path; where nothing is there, the published records of that name.

    In a folder without such files `results/testbed` is what was published of the testbed. `results`
    is all of it, also where a folder of this name has a user's own runs alone.
    """
    if path.parts[:1] != RESULTS.parts or ".." in path.parts:
        return path
    if path.exists() and (path != RESULTS or record_files(path)):
        return path
    published = PUBLISHED.joinpath(*path.parts[1:])
    return published if published.exists() else path
