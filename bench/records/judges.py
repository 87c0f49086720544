"""How good judges are, by people's labels (`bench judges`): a file each, ``results/judges/``."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, FiniteFloat

from bench.files import write_atomically
from bench.naming import file_name
from bench.records.files import read_documents
from bench.records.schema import Mark, Metric

FOLDER: Final = "judges"
SCHEMA_VERSION: Final = 1


class JudgeQuality(BaseModel):
    """One judge against one file of people's labels. Rates are fractions.

    Attributes:
        judge, model, template_sha: who judged, and by which prompt; None: of a file that does not
            say so. A judge whose name is not known marks no win rate.
        label: of the table's row.
        labels_sha: of the file of labels.
        comparisons: that people labelled and the judge has a verdict on.
        agreement: with what people say most often, each of them left out in turn.
        people: how far the one left out agrees with the others, on the same comparisons.
        longer: how far preferring the longer output agrees.
        floor: the agreement below which it is marked; None: people's own is not above chance.
        diagnostics: as a report has them, on these comparisons: "flip_rate",
            "first_position_rate", "longer_wins".
        canaries: by name what became of them.
        cost_usd: of its report; None: not known.
        marks: what must be said where its win rates stand.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())

    schema_version: Literal[1] = SCHEMA_VERSION
    judge: str | None
    model: str | None
    template_sha: str | None
    label: str
    labels_sha: str
    comparisons: int
    agreement: Metric
    people: Metric
    longer: Metric | None
    floor: FiniteFloat | None
    diagnostics: dict[str, Metric | None]
    canaries: dict[str, Any]
    cost_usd: FiniteFloat | None
    marks: list[Mark]

    @property
    def who(self) -> tuple[str | None, str | None, str | None]:
        """By what it is known again."""
        return self.judge, self.model, self.template_sha


def write(quality: JudgeQuality, results: Path) -> Path:
    """Write it below a folder of results; another measurement of the judge is replaced.

    Raises:
        UserError: it cannot be written.
    """
    name = "-".join(part[:60] for part in quality.who if part)
    path = results / FOLDER / f"{file_name(name)}.json"
    write_atomically(path, quality.model_dump_json(indent=1) + "\n")
    return path


def read_all(results: Path, problems: list[str]) -> list[JudgeQuality]:
    """All below a folder of results; `problems` receives a `Damage` for each unreadable one."""
    return read_documents(sorted((results / FOLDER).glob("*.json")), JudgeQuality, problems)


def marks_of(
    known: Iterable[JudgeQuality], judge: str, model: str | None, template_sha: str | None
) -> list[Mark]:
    """What is known against a judge."""
    who = (judge, model, template_sha)
    return [mark for quality in known if quality.who == who for mark in quality.marks]
