"""Which reference outputs a win rate was measured against: by hash, never by file name.

Two sets of outputs both go by the name of Davinci003. A win rate against the one says nothing of a
win rate against the other, so they are told apart here and never mixed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

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
    """Name the set by its hash.

    Args:
        outputs: by instruction.
        name: of a set that is not known.
    """
    sha = hashlib.sha256(canonical(sorted(outputs.items())).encode()).hexdigest()
    return ReferenceSet(KNOWN.get(sha, name), sha)


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
