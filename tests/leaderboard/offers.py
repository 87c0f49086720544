"""Submissions for tests: published runs of one row, edited, beside a table that lacks it."""

from collections.abc import Callable
from pathlib import Path
from shutil import copytree

import pytest

from bench.records.files import PUBLISHED, Record, Run, read_record, write_record
from leaderboard.submission.offer import Offer, Texts, one_row
from leaderboard.submission.overlap import Overlap

CLEAN = Texts(
    overlap=Overlap(training=100, evaluation=10, exact=0, normalised=0, ngrams=0),
    licence="MIT",
    may_be_shown=True,
)
Edit = Callable[[Record], dict[str, object]]


@pytest.fixture(scope="session")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of results with three published rows of five seeds: sft, ppo_rlhf, token_ppo."""
    results = tmp_path_factory.mktemp("table")
    for method in ("sft", "ppo_rlhf", "token_ppo"):
        for run in (PUBLISHED / "testbed").glob(f"{method}-s[0-4]-*"):
            copytree(run, results / "testbed" / run.name)
    return results


def segment_ppo(folder: Path, edit: Edit = lambda record: {}) -> list[Run]:
    """The five published runs of a row that the table lacks, written anew with an edit."""
    for run in (PUBLISHED / "testbed").glob("segment_ppo-s*"):
        copy = folder / "testbed" / run.name
        copytree(run, copy)
        record = read_record(copy)
        write_record(record.model_copy(update=edit(record)), copy)
    return [Run(read_record(path), path) for path in sorted((folder / "testbed").iterdir())]


def offered(
    folder: Path, edit: Edit = lambda record: {}, *declared: str, texts: Texts = CLEAN
) -> Offer:
    """`segment_ppo`, offered."""
    return Offer(one_row(segment_ppo(folder, edit)), frozenset(declared), texts)


def setting(field: str, value: object) -> Edit:
    """An edit of the recorded configuration."""
    section, name = field.split(".")

    def edit(record: Record) -> dict[str, object]:
        own = {**record.config[section], name: value}
        return {"config": {**record.config, section: own}}

    return edit
