"""How far two judges, or a judge and people, agree on the same comparisons."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.errors import UserError
from bench.judging.alpaca_eval import Annotation, Row, parse, read
from bench.judging.references import ReferenceSet, identify, require_same
from bench.preference import side
from bench.stats import Estimate, cohen_kappa, raw_agreement
from bench.tables import read_table, shortened

SIDES = ("reference", "tie", "model")


@dataclass(frozen=True)
class Agreement:
    """Two annotation files, side by side.

    Attributes:
        first, second: who annotated.
        reference: what both compared with.
        both: instructions in both files.
        only_first, only_second: instructions in one file alone.
        agreement: share of equal verdicts among those that both judged.
        kappa: Cohen's, the agreement beyond chance; None: `kappa_problem`.
        confusion: of those that both judged, by the first's verdict and then the second's.
    """

    first: str
    second: str
    reference: ReferenceSet
    both: int
    only_first: int
    only_second: int
    agreement: Estimate
    kappa: Estimate | None
    kappa_problem: str
    confusion: dict[str, dict[str, int]]

    def as_dict(self) -> dict[str, Any]:
        """For a JSON file."""
        return asdict(self)


def agree(first: Path, second: Path) -> Agreement:
    """Compare two annotation files; human labels have the same format.

    Raises:
        UserError: a file cannot be read, they are about different references or outputs, or no
            instruction has a verdict in both.
    """
    a = {row.prompt: row for row in read(first, Annotation)}
    b = {row.prompt: row for row in read(second, Annotation)}
    shared = [prompt for prompt in a if prompt in b]
    references = {prompt: row.output_1 for prompt, row in a.items()}
    require_same(references, str(first), {p: row.output_1 for p, row in b.items()}, str(second))
    if different := [prompt for prompt in shared if a[prompt].output_2 != b[prompt].output_2]:
        raise UserError(
            f"{first} and {second} judge different outputs: those to {len(different)} of "
            f"{len(shared)} instructions differ, first {shortened(different[0])}"
        )
    verdicts = [(a[prompt].preference, b[prompt].preference) for prompt in shared]
    known = [(x, y) for x, y in verdicts if x is not None and y is not None]
    if not known:
        raise UserError(f"no instruction has a verdict in both {first} and {second}")
    kappa, problem = _kappa([x for x, _ in known], [y for _, y in known])
    return Agreement(
        first=_who(a, first),
        second=_who(b, second),
        reference=identify({prompt: references[prompt] for prompt in shared}),
        both=len(shared),
        only_first=len(a) - len(shared),
        only_second=len(b) - len(shared),
        agreement=raw_agreement([x for x, _ in verdicts], [y for _, y in verdicts]),
        kappa=kappa,
        kappa_problem=problem,
        confusion=_confusion(known),
    )


def one_each(*files: Path) -> bool:
    """Whether every file has one row an instruction: else it is of several people, or samples.

    Raises:
        UserError: a file cannot be read.
    """
    return all(
        len(rows) == len({row.prompt for row in rows})
        for rows in (
            [parse(row, Row, f"{file}, {at}") for at, row in read_table(file)] for file in files
        )
    )


def _who(rows: dict[str, Annotation], path: Path) -> str:
    names = {row.annotator for row in rows.values() if row.annotator}
    return ", ".join(sorted(names)) or path.name


def _kappa(first: list[float], second: list[float]) -> tuple[Estimate | None, str]:
    """Kappa, or why there is none."""
    try:
        return cohen_kappa(first, second), ""
    except ValueError as error:
        return None, str(error)


def _confusion(verdicts: list[tuple[float, float]]) -> dict[str, dict[str, int]]:
    table = {side: dict.fromkeys(SIDES, 0) for side in SIDES}
    for first, second in verdicts:
        table[_side(first)][_side(second)] += 1
    return table


def _side(preference: float) -> str:
    return {"first": "reference", "tie": "tie", "second": "model"}[side(preference)]
