"""The editor `human`: what people said, in the statuses of every editor."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.config.loading import load_config, plugin_options
from bench.errors import UserError
from bench.plugins.registry import EDITORS
from bench.studio.editor import HumanEditor
from tests.studio.studies import ORIGINAL, edited, pairs, study
from tests.studio.test_export import BLUE, answers


def options(path: Path) -> HumanEditor.Options:
    return HumanEditor.Options(db=str(path))


def test_statuses_of_each_response(tmp_path: Path) -> None:
    made = study(tmp_path, pairs(5), "edit")
    made.set(overlap=2)
    said = {
        "pair0": edited(BLUE),
        "pair1": {"kind": "nothing_to_mend"},
        "pair2": {"kind": "cannot_be_mended"},
    }
    answers(made, "ana", "edit", said)
    answers(made, "ben", "edit", {"pair0": edited("The sky is grey today")})
    lines: list[str] = []
    editor = HumanEditor(options(tmp_path / "study.db"), say=lines.append)
    editor.ready()
    asked = [(row["prompt"], row["rejected"]) for row in pairs(5)]
    results = editor.edit([*asked, ("another", ORIGINAL)])
    assert [(one.status, one.edited) for one in results] == [
        ("ok", BLUE),
        ("rejected_unchanged", None),
        ("refusal", None),
        ("refusal", None),
        ("refusal", None),
        ("api_error", None),
    ]
    assert all(bool(one.reason) == (one.status != "ok") for one in results)
    assert results[0].changes is not None
    assert results[0].changes.tokens == 1
    assert lines == [f"1 of 6 responses are not edited in {tmp_path / 'study.db'}"]
    assert editor.source == "human (2 people)"
    about = editor.about()
    assert (about["cost_usd"], about["people"]) == (0.0, 2)
    assert about["outcomes"] == {"api_error": 1, "ok": 1, "refusal": 3, "rejected_unchanged": 1}


def test_what_nobody_has_answered_is_missing(tmp_path: Path) -> None:
    study(tmp_path, pairs(1), "edit")
    editor = HumanEditor(options(tmp_path / "study.db"))
    [result] = editor.edit([(pairs(1)[0]["prompt"], ORIGINAL)])
    assert (result.status, result.reason) == ("api_error", "nobody has edited it yet")


def test_a_key_follows_what_people_said_and_a_stage_uses_what_its_key_holds(tmp_path: Path) -> None:
    made = study(tmp_path, pairs(2), "edit")
    before = options(tmp_path / "study.db")
    made.database.backup(tmp_path / "copy.db")
    assert options(tmp_path / "copy.db").result_fields() == before.result_fields()
    answers(made, "ana", "edit", {"pair0": edited(BLUE)})
    after = options(tmp_path / "study.db")
    assert after.result_fields() != before.result_fields()
    asked = [(pairs(1)[0]["prompt"], ORIGINAL)]
    assert HumanEditor(before).edit(asked)[0].status == "api_error"
    assert HumanEditor(after).edit(asked)[0].edited == BLUE


def test_it_is_chosen_by_name_and_its_mistakes_are_lines(tmp_path: Path) -> None:
    assert EDITORS.get("human") is HumanEditor
    with pytest.raises(UserError, match=r"editor human: editor\.db has to be given: file of a"):
        plugin_options(load_config(overrides=["edits.source=human"]), "editor")
    given = ["edits.source=human", f"editor.db={tmp_path / 'none.db'}"]
    with pytest.raises(UserError, match=r"there is no study .*none\.db"):
        plugin_options(load_config(overrides=given), "editor")
