"""Which reference outputs a win rate was measured against: by hash, never by file name.

Two sets of outputs both go by the name of Davinci003. A win rate against the one says nothing of a
win rate against the other, so they are told apart here and never mixed.

`davinci003.json` has a short hash of every row of each, so that a part of a set is known as well.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources

from bench.errors import UserError
from bench.llm.requests import canonical

KNOWN = {
    "d510f00dfb26be457116b0fb121e2f66be9b39ceb2a935602fa516fb40396151": (
        "AlpacaEval 1 reference (Davinci003, mean 482 characters)"
    ),
    "576978eb3dc46420aecd867cee95f6d487df4289c35bcdd78d520d021fae9774": (
        "text_davinci_003 results (Davinci003, mean 308 characters)"
    ),
}
_UNKNOWN = "a set of no known name"
_DIGITS = 8  # of a row's hash: two texts agree in them by chance once in 4e9


@dataclass(frozen=True)
class ReferenceSet:
    """Reference outputs.

    Attributes:
        name: of a known set, or what their file says.
        sha: SHA-256, in hex, of the sorted (instruction, output) pairs.
    """

    name: str
    sha: str

    def __str__(self) -> str:
        return f"{self.name} [{self.sha[:8]}]"


def identify(outputs: Mapping[str, str], name: str = _UNKNOWN) -> ReferenceSet:
    """Name the set, or the one that it is a part of, by hash.

    Args:
        outputs: by instruction.
        name: of a set that is not known.

    Raises:
        UserError: rows of both known sets are mixed.
    """
    sha = hashlib.sha256(canonical(sorted(outputs.items())).encode()).hexdigest()
    if sha in KNOWN:
        return ReferenceSet(KNOWN[sha], sha)
    rows = {row_digest(*row) for row in outputs.items()}
    known = _known_rows()
    whole = [of for of, digests in known.items() if rows and rows <= digests]
    if len(whole) == 1:  # the sets have a few rows in common, which name none
        name = f"{len(rows)} of the {len(known[whole[0]])} rows of {KNOWN[whole[0]]}"
    _refuse_mixture(rows, name)
    return ReferenceSet(name, sha)


def row_digest(instruction: str, output: str) -> str:
    """The beginning of a row's SHA-256, in hex."""
    return hashlib.sha256(canonical([instruction, output]).encode()).hexdigest()[:_DIGITS]


@cache
def _known_rows() -> dict[str, frozenset[str]]:
    """The rows' digests of each known set, by the set's hash."""
    text = (resources.files("bench.judging") / "davinci003.json").read_text(encoding="utf-8")
    return {sha: frozenset(digests) for sha, digests in json.loads(text).items()}


def _refuse_mixture(rows: set[str], name: str) -> None:
    """Refuse a set of which more than half is from the known ones, and from more than one.

    Another model's outputs may agree with both in some short answers; not in half of them.
    """
    known = _known_rows()
    common = frozenset.intersection(*known.values())
    found = {sha: len(rows & digests - common) for sha, digests in known.items()}
    if min(found.values()) and 2 * sum(found.values()) > len(rows):
        counts = "\nand ".join(f"{count} from {KNOWN[sha]}" for sha, count in found.items())
        raise UserError(
            f"two sets of references are mixed in {name}, of {len(rows)} rows: {counts}; take all "
            "of them from one set"
        )


def require_same(
    first: Mapping[str, str], first_name: str, second: Mapping[str, str], second_name: str
) -> None:
    """Refuse to mix reference sets.

    Args:
        first: outputs by instruction; what is in one set only is not looked at.
        first_name: where they are from.
        second: likewise.
        second_name: likewise.

    Raises:
        UserError: an instruction has different outputs.
    """
    shared = first.keys() & second.keys()
    different = sum(first[instruction] != second[instruction] for instruction in shared)
    if different:
        raise UserError(
            f"two sets of references are mixed: {different} of {len(shared)} instructions have "
            f"another reference output.\n{first_name} has {identify(first)}, "
            f"{second_name} has {identify(second)}: a win rate against the one says "
            "nothing of the other"
        )
