"""Where pairs and edits come from, how much edits change, and what is left out of them."""

from __future__ import annotations

import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bench.config.loading import load_config
from bench.config.run import EditConfig, RunConfig
from bench.data import Edit, read_rows
from bench.errors import UserError
from bench.plugins.entries import Entry
from bench.plugins.registry import SUITES
from bench.running.plan import make_plan
from bench.stages.chosen import uses_edits_of, uses_pairs_of
from bench.stages.edits import write_edits
from bench.suites.testbed.suite import Testbed
from tests.suites.filed import Filed, write_files


def edit(original: str, edited: str) -> Edit:
    return Edit(prompt="Go.", original=original, edited=edited, source="people")


NINE = "a b c d e f g h i"
ROWS = [
    edit(NINE, "a b c d e f g h x"),  # 1 of 9
    edit(NINE, "z y x w v f g h i"),  # 5 of 9
    edit("Yes.", "No."),  # 1 of 2
    edit("Never.", "Never."),  # nothing
    edit("Yes, it is.", "No"),  # 5 of 5, the comma and the full stop among them
]


@pytest.mark.parametrize(
    ("options", "too_much", "mean", "median"),
    [
        ({}, [], (1 / 9 + 5 / 9 + 1 / 2 + 1) / 4, (1 / 2 + 5 / 9) / 2),
        (
            {"max_changed": 0.3, "always_allowed": 4},
            [1, 4],
            (1 / 9 + 1 / 2) / 2,
            (1 / 9 + 1 / 2) / 2,
        ),
        ({"max_changed": 0.3, "always_allowed": 0}, [1, 2, 4], 1 / 9, 1 / 9),
        ({"max_changed": 0.6, "always_allowed": 0}, [4], (1 / 9 + 5 / 9 + 1 / 2) / 3, 1 / 2),
        ({"max_changed": 0.6, "always_allowed": 5}, [], (1 / 9 + 5 / 9 + 1 / 2 + 1) / 4, 19 / 36),
    ],
)
def test_an_edit_that_changes_too_much_is_left_out_and_counted(
    options: dict[str, Any], too_much: list[int], mean: float, median: float, tmp_path: Path
) -> None:
    """A response then stays as it was; a short one may change a few words whatever their share."""
    stats = write_edits(tmp_path, ROWS, EditConfig(**options))
    kept = read_rows(tmp_path / "edits.jsonl", Edit)
    assert [i for i, row in enumerate(kept) if row.edited != ROWS[i].edited] == too_much
    assert all(kept[i].edited == ROWS[i].original for i in too_much)
    assert stats["changed"] == {
        "mean": pytest.approx(mean),
        "median": pytest.approx(median),
        "n": 4 - len(too_much),
    }
    counts = {"pairs": 5, "unchanged": 1 + len(too_much)}
    counts |= {"changed_too_much": len(too_much)} if options else {}
    assert {name: n for name, n in stats.items() if name != "changed"} == counts


def test_where_no_edit_changes_anything_there_is_no_share(tmp_path: Path) -> None:
    assert write_edits(tmp_path, ROWS[3:4], EditConfig()) == {"pairs": 1, "unchanged": 1}


class Everything(Filed):
    """Own pairs and edits, an annotator and a program that edits."""

    name = "everything"

    def prefer(self, prompt: str, first: str, second: str, rng: random.Random, flip: float) -> int:
        return 0

    def edit(self, prompt: str, response: str, rng: random.Random, miss: float) -> str:
        return response


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_files(tmp_path / "files")
    monkeypatch.chdir(tmp_path)
    Path("none.json").write_text("[]")
    own = [
        Entry("everything", f"{__name__}:Everything", ""),
        Entry("filed", "tests.suites.filed:Filed", ""),
    ]
    monkeypatch.setattr(SUITES, "_builtins", (*SUITES._builtins, *own))


def settings(suite: str, *overrides: str) -> RunConfig:
    judged = [
        "evaluation.judge=replay",
        "judge.annotations=none.json",
        "evaluation.validation=last",
    ]
    folder = [] if suite == "testbed" else ["suite.folder=files"]
    given = [*judged, *folder, *overrides]
    return load_config("testbed", given, suite=suite, method="token_ppo")


def made_by(suite: str, *overrides: str) -> tuple[str, str]:
    """Who makes pairs and edits, by the plan's own lines."""
    plan, _ = make_plan(settings(suite, *overrides))
    lines = {stage.name: stage.summary for stage in plan.stages}
    sampled = lines["preferences"].endswith("of the labels flipped")
    return "sampled" if sampled else "files", lines["edits"]


@pytest.mark.parametrize(
    ("suite", "overrides", "pairs", "edits"),
    [
        ("testbed", [], "sampled", "10% of the errors overlooked"),
        (
            "testbed",
            ["preferences.source=sampled", "edits.source=suite"],
            "sampled",
            "10% of the e",
        ),
        ("testbed", ["edits.source=claude"], "sampled", "by claude"),
        ("filed", [], "files", "edits of the suite"),
        (
            "filed",
            ["preferences.source=files", "edits.source=files"],
            "files",
            "edits of the suite",
        ),
        ("filed", ["edits.source=claude"], "files", "by claude"),
        ("everything", [], "files", "edits of the suite"),
        ("everything", ["edits.source=suite"], "files", "10% of the errors overlooked"),
        ("everything", ["preferences.source=sampled"], "sampled", "10% of the errors overlooked"),
    ],
)
def test_pairs_and_edits_come_from_where_the_configuration_says(
    suite: str, overrides: list[str], pairs: str, edits: str, files: None
) -> None:
    found = made_by(suite, *overrides)
    assert found[0] == pairs
    assert found[1].startswith(edits)


@pytest.mark.parametrize(
    ("suite", "overrides", "said"),
    [
        (
            "testbed",
            ["preferences.source=files"],
            "preferences.source=files needs preference pairs",
        ),
        ("filed", ["preferences.source=sampled"], "preferences.source=sampled needs an annotator"),
        ("testbed", ["edits.source=files"], "edits.source=files needs edits"),
        ("filed", ["edits.source=suite"], "edits.source=suite needs an editor of its own"),
        (
            "everything",
            ["preferences.source=sampled", "edits.source=files"],
            "edits.source=files: they join the pairs that the suite has, and these are sampled",
        ),
        ("filed", ["edits.source=clade"], "unknown editor 'clade'; did you mean 'claude'"),
    ],
)
def test_a_source_that_a_suite_has_not_is_one_line(
    suite: str, overrides: list[str], said: str, files: None
) -> None:
    with pytest.raises(UserError, match=said):
        make_plan(settings(suite, *overrides))


def test_what_decides_the_edits_is_in_their_key(files: None) -> None:
    def key(*overrides: str) -> str:
        plan, _ = make_plan(settings("filed", *overrides))
        return next(stage.key for stage in plan.stages if stage.name == "edits")

    changed = [
        "edits.max_changed=0.5",
        "edits.always_allowed=3",
        "edits.max_missing=0.1",
        "edits.source=claude",
    ]
    assert len({key(), *(key(one) for one in changed)}) == len(changed) + 1
    assert key("edits.source=files") == key()


def test_auto_is_what_a_suite_has() -> None:
    config, bare = load_config(), SimpleNamespace(name="bare")
    assert not uses_pairs_of(bare, config)
    assert not uses_edits_of(Testbed(Testbed.Options()), config)
    own: Any = SimpleNamespace(name="own", pairs=lambda split, n, seed: [], edits=list)
    assert uses_pairs_of(own, config)
    assert uses_edits_of(own, config)
