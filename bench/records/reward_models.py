"""Records of reward models that were measured by themselves (`bench rm`), a file each.

``results/reward_models/<suite>/<name>.json``. They are no runs: nothing of a policy is in them, and
whatever reads runs does not see them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

from bench.files import write_atomically
from bench.records.files import read_document, read_documents
from bench.records.schema import Brought, Code, DataSplit, Hardware, Metric

FOLDER: Final = "reward_models"  # below a folder of results
SCHEMA_VERSION: Final = 1


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class BestOf(_Strict):
    """The best of n draws of the SFT model.

    Attributes:
        n: draws.
        kl_bound: of the best of n from the SFT model, in nats, at most.
        proxy: the chosen ones' scores, in standard deviations of single draws.
        gold: what they are worth by the truth.
        ceiling: what those are worth that the truth would choose.
    """

    n: int
    kl_bound: FiniteFloat
    proxy: Metric
    gold: Metric
    ceiling: Metric


class RewardModelRecord(_Strict):
    """One reward model on one suite.

    Attributes:
        name: a file's name: readable, and unique to model, configuration and what was asked.
        label: of the table's row.
        model: what it is; its hash or commit.
        run: id of the run that trained it; None: it was brought.
        responses: whose prefixes were scored, at most.
        draws: N, of which the best of n are chosen.
        config: that decides suite, SFT model and pairs; of paths the last part.
        data: "held_out" pairs and the "draws": models of the same data may be compared.
        keys: of the stages, by name.
    """

    schema_version: Literal[1] = SCHEMA_VERSION
    name: str
    label: str
    model: Brought
    run: str | None = None
    suite: str
    seed: int
    responses: int
    draws: int
    config: dict[str, Any]
    code: Code = Field(default_factory=Code)
    packages: dict[str, str] = Field(default_factory=dict)
    hardware: Hardware = Field(default_factory=Hardware)
    data: dict[str, DataSplit]
    metrics: dict[str, Metric]
    best_of_n: list[BestOf] = Field(default_factory=list)
    keys: dict[str, str]
    seconds: FiniteFloat
    finished_at: str


def write(record: RewardModelRecord, results: Path) -> Path:
    """Write a record below a folder of results; returns its file.

    Raises:
        UserError: it cannot be written.
    """
    path = results / FOLDER / record.suite / f"{record.name}.json"
    write_atomically(path, record.model_dump_json(indent=1) + "\n")
    return path


def read(path: Path) -> RewardModelRecord:
    """The record of a file.

    Raises:
        RecordError: naming the file and the first field that is wrong.
    """
    return read_document(path, RewardModelRecord)


def read_all(results: Path, problems: list[str]) -> list[RewardModelRecord]:
    """All records below a folder of results, by suite and name.

    Args:
        results: the folder.
        problems: receives a `Damage` for each that cannot be read.
    """
    paths = sorted((results / FOLDER).glob("*/*.json"))
    return read_documents(paths, RewardModelRecord, problems)
