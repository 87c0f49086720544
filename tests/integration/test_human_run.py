"""A run whose edits people made: its pairs into a study, answered, and a reward model of them."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from bench.data import Preference, read_rows
from bench.errors import UserError
from bench.pipeline.progress import Progress
from bench.pipeline.store import Store
from bench.records.files import Record
from bench.running import runner
from bench.studio.study import Study
from bench.suites.testbed.suite import Testbed
from tests.integration.test_run import config


def run(folder: Path, until: str, *overrides: str) -> Record:
    settings = config("method=fine_grained_ppo", *overrides)
    store = Store(folder / "store")
    return runner.run(
        settings, store=store, results=folder / "results", progress=Progress(), until=until
    )


def somebody_edits(path: Path, pairs: Path, most: int) -> None:
    """A person who knows the testbed's truth edits at most so many responses."""
    study = Study(path, create=True)
    study.set(max_changed=1.0)
    study.add(pairs, "edit")
    person, suite, rng = study.person(), Testbed(), random.Random(0)
    assert person is not None
    for _ in range(most):
        given = study.next(person, "edit")
        if given is None:
            break
        text = suite.edit(given.item.content.prompt, given.texts[0], rng, 0.0)
        answer = {"kind": "edit", "text": text}
        if text == given.texts[0]:
            answer = {"kind": "nothing_to_mend"}
        study.save(person, given.item.id, answer, seconds=1)
    study.close()


@pytest.mark.slow
def test_from_a_runs_own_pairs_to_a_reward_model(tmp_path: Path) -> None:
    run(tmp_path, "preferences")
    [pairs] = (tmp_path / "store" / "preferences").glob("*/preferences.jsonl")
    n = len(read_rows(pairs, Preference))
    db = tmp_path / "study.db"
    human = ("edits.source=human", f"editor.db={db}")
    somebody_edits(db, pairs, most=n // 2)
    with pytest.raises(UserError, match=rf"of {n} responses have no answer from the editor"):
        run(tmp_path, "rm_evaluation", *human)
    somebody_edits(db, pairs, most=n)
    record = run(tmp_path, "rm_evaluation", *human)
    assert record.editor is not None
    assert (record.editor.name, record.editor.source) == ("human", "human (1 person)")
    assert sum(record.editor.details["outcomes"].values()) == n
    assert record.editor.details["outcomes"]["ok"] > 0
    assert "api_error" not in record.editor.details["outcomes"]
    assert len(list((tmp_path / "store" / "preferences").iterdir())) == 1  # the same pairs
