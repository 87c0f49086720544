"""The rules of a table: published runs keep them all, and each is broken once."""

import json
from pathlib import Path

import pytest

from bench.errors import UserError
from bench.records.files import (
    CURVES,
    ITEMS,
    RECORD,
    Record,
    Run,
    read_record,
    write_record,
)
from leaderboard.submission.findings import Finding
from leaderboard.submission.offer import Offer, one_row
from leaderboard.submission.overlap import Overlap
from leaderboard.submission.rules import review
from tests.leaderboard.offers import CLEAN, Edit, offered, segment_ppo, setting, table

__all__ = ["table"]
RULES = ["record", "one row", "code", "table", "new row", "evaluation", "seeds", "data", "budget"]
RULES += ["hyperparameters", "contamination", "licence"]


def found(new: Offer, table: Path, rule: str) -> Finding:
    """What one rule, and no other rule, has against an offer."""
    told = review(new, table)
    against = [one for one in told.findings if one.verdict != "ok"]
    assert {one.rule for one in against} == {rule}, against
    return against[0]


def test_a_published_row_keeps_every_rule(table: Path, tmp_path: Path) -> None:
    told = review(offered(tmp_path), table)
    assert told.verdict == "ok", told.findings
    assert told.having("ok") == RULES
    data = next(one for one in told.findings if one.rule == "data")
    assert data.text == "equal by hash: seeds 0, 1, 2, 3, 4"


def test_runs_that_are_in_the_table_already_are_none_of_its_rows(
    table: Path, tmp_path: Path
) -> None:
    own = [run for run in segment_ppo(tmp_path) if run.record.seed]
    (published,) = table.glob("testbed/sft-s0-*")
    told = review(Offer(own, frozenset(), CLEAN), tmp_path)
    assert told.having("refused") == ["new row", "seeds"]  # seed 0 alone is still a row there
    with pytest.raises(
        UserError, match="these runs are of testbed/segment_ppo and testbed/sft: name"
    ):
        one_row([*own, Run(read_record(published), published)])
    with pytest.raises(UserError, match="a submission is one row, these runs are of none"):
        one_row([])


def one_stage(which: str, **changes: object) -> Edit:
    """An edit of one stage of every record."""

    def edit(record: Record) -> dict[str, object]:
        stages = [
            stage.model_copy(update=changes if stage.name == which else {})
            for stage in record.stages
        ]
        return {"stages": stages}

    return edit


def judged_by_another(record: Record) -> dict[str, object]:
    return {"judge": record.judge.model_copy(update={"model": "another"})}


def of_seed_3(edit: Edit) -> Edit:
    return lambda record: edit(record) if record.seed == 3 else {}


def coded(**changes: object) -> Edit:
    return lambda record: {"code": record.code.model_copy(update=changes)}


BROKEN = {
    "record": (lambda record: {"status": "diverged", "error": "NaN"}, "refused", "status is div"),
    "code: dirty": (coded(dirty=True), "refused", "ran with changes that the commit 8246a4d7"),
    "code: unknown": (coded(commit=None), "refused", "no commit is recorded"),
    "code: unknown method": (
        lambda record: {"method": "mine", "label": "mine"},
        "refused",
        "no package is recorded that has mine: install it",
    ),
    "code: of a package": (
        lambda record: {
            "method": "mine",
            "label": "mine",
            "packages": record.packages | {"my-package": "0.3"},
        },
        "differs",
        "the method is of my-package 0.3: say in the pull request where its source is",
    ),
    "one row: config": (of_seed_3(setting("ppo.lr", 1e-5)), "refused", "ppo.lr: 0.0008 and 1e-05"),
    "one row: label": (lambda record: {"label": "best"}, "refused", "'best' does not begin with"),
    "caveats": (of_seed_3(coded(commit="f" * 40)), "differs", "seeds of different code: commit"),
    "new row": (lambda r: {"method": "sft", "label": "sft"}, "refused", "the table has a row sft"),
    "evaluation": (setting("evaluation.samples", 4), "refused", "evaluation.samples=4 (the row"),
    "data: settings": (setting("preferences.flip", 0.0), "refused", "preferences.flip=0.0 (the ro"),
    "data: pairs": (
        one_stage("reward_model", counts={"pairs": 9000}, steps=94),
        "refused",
        "seed 0: 9,000 training pairs, of the rows at most 5,990",
    ),
    "budget: settings": (setting("ppo.steps", 120), "refused", "ppo.steps=120 (the rows: 60)"),
    "budget: less": (setting("ppo.steps", 30), "differs", "less than the rows had: ppo.steps=30"),
    "budget: steps": (one_stage("ppo", steps=61), "refused", "ppo took 61 steps, of the rows at m"),
    "budget: another algorithm": (
        one_stage("ppo", name="reinforce", steps=61),
        "refused",
        "reinforce took 61 steps, of the rows at most 60",
    ),
    "budget: tokens": (one_stage("ppo", tokens=10**6), "differs", "ppo took 1,000,000 tokens"),
    "hyperparameters": (setting("ppo.lr", 1e-5), "refused", "To declare it: --declare ppo.lr"),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_rule_is_named_with_the_reason(case: str, table: Path, tmp_path: Path) -> None:
    edit, verdict, text = BROKEN[case]
    against = found(offered(tmp_path, edit), table, case.partition(":")[0])
    assert against.verdict == verdict
    assert text in against.text
    assert str(tmp_path) not in against.text  # no path of this machine goes on


def test_what_is_not_judged_as_the_table_is_refused_or_opens_one(
    table: Path, tmp_path: Path
) -> None:
    against = found(offered(tmp_path / "a", judged_by_another), table, "table")
    assert against.verdict == "refused"
    assert "judge_model: another here, None there" in against.text
    other = offered(tmp_path / "b", lambda record: {"suite": "mine"})
    assert found(other, table, "table").text.startswith("no row of the suite mine is published")


def test_a_hyperparameter_may_differ_where_it_is_said(table: Path, tmp_path: Path) -> None:
    edit = setting("ppo.lr", 1e-5)
    declared = found(offered(tmp_path / "a", edit, "ppo.lr"), table, "hyperparameters")
    assert (declared.verdict, declared.text) == (
        "differs",
        "declared: ppo.lr=1e-05 (the rows: 0.0008)",
    )
    named = offered(tmp_path / "b", lambda r: edit(r) | {"label": "segment_ppo ppo.lr=1e-05"})
    assert found(named, table, "hyperparameters").verdict == "differs"
    against = found(
        offered(tmp_path / "c", setting("ppo.lr", 8e-4), "ppo.lr"), table, "hyperparameters"
    )
    assert (against.verdict, "that differs" in against.text) == ("refused", True)


def test_missing_seeds_are_named(table: Path, tmp_path: Path) -> None:
    runs = segment_ppo(tmp_path)
    some = Offer([run for run in runs if run.record.seed in (0, 4)], frozenset(), CLEAN)
    assert found(some, table, "seeds").text.endswith("missing: seeds 1, 2, 3")


def test_data_are_equal_by_hash_where_keys_are_of_other_code(table: Path, tmp_path: Path) -> None:
    """Of a published table whose records hold hashes."""

    def hashed(sha: str) -> Edit:
        return lambda record: {
            "stages": [
                stage.model_copy(update={"key": sha, "data_sha": f"{stage.name} {sha}"})
                for stage in record.stages
            ]
        }

    published = {"label": "segment_ppo loss=eq4", "finished_at": "2026-01-01T00:00:00+00:00"}
    segment_ppo(tmp_path / "table", lambda record: hashed("a")(record) | published)
    same = review(offered(tmp_path / "same", hashed("a")), tmp_path / "table")
    assert "equal by hash" in next(f for f in same.findings if f.rule == "data").text
    other = found(offered(tmp_path / "other", hashed("b")), tmp_path / "table", "data")
    assert other.verdict == "differs"
    assert "of seeds 0, 1, 2, 3, 4 are others than the published rows'" in other.text
    bare = lambda record: {
        "stages": [stage.model_copy(update={"data_sha": None}) for stage in record.stages]
    }
    segment_ppo(tmp_path / "bare", lambda record: bare(record) | published)
    untold = review(offered(tmp_path / "untold", hashed("b")), tmp_path / "bare")
    assert (
        "no published hash to compare" in next(f for f in untold.findings if f.rule == "data").text
    )


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda folder: (folder / ITEMS).unlink(), "items.jsonl: edited after the run"),
        (lambda folder: (folder / CURVES).write_text(""), "metrics.jsonl: edited after the run"),
        (lambda folder: swapped(folder, "seed", 9), "seed: edited after the run was written"),
        (lambda folder: swapped(folder, "digest", None), "digest"),
    ],
)
def test_a_record_that_was_edited_is_refused(edit, said: str, table: Path, tmp_path: Path) -> None:
    new = offered(tmp_path)
    edit(new.runs[2].folder)
    told = review(new, table)
    record = next(one for one in told.findings if one.rule == "record")
    assert record.verdict == "refused"
    assert said in record.text
    assert str(tmp_path) not in record.text


def swapped(folder: Path, field: str, value: object) -> None:
    body = json.loads((folder / RECORD).read_text())
    body.pop(field) if value is None else body.update({field: value})
    (folder / RECORD).write_text(json.dumps(body))


def test_two_runs_of_a_seed_are_refused(table: Path, tmp_path: Path) -> None:
    new = offered(tmp_path)
    new.runs.append(new.runs[0])
    assert "2 runs of seed 0" in found(new, table, "record").text


def test_instructions_must_be_the_tables(table: Path, tmp_path: Path) -> None:
    new = offered(tmp_path)
    run = new.runs[1]
    first, *others = (run.folder / ITEMS).read_text().splitlines()
    another = json.dumps(json.loads(first) | {"prompt_sha": "0" * 16})
    (run.folder / ITEMS).write_text("\n".join([another, *others]) + "\n")
    write_record(run.record, run.folder)
    against = found(new, table, "evaluation")
    assert against.verdict == "refused"
    assert "255 of its 256 instructions are among the table's 256" in against.text


def test_evaluation_prompts_in_training_are_refused_unless_all_rows_have_them(
    table: Path, tmp_path: Path
) -> None:
    seen = Overlap(training=100, evaluation=10, exact=1, normalised=2, ngrams=3)
    texts = CLEAN.model_copy(update={"overlap": seen})
    same = found(offered(tmp_path / "a", texts=texts), table, "contamination")
    assert same.verdict == "differs"
    assert same.text.startswith("2 of 10 evaluation prompts are training prompts (1 letter by")
    assert same.text.endswith("as for the published rows")
    edit = setting("preferences.flip", 0.0)
    told = review(offered(tmp_path / "b", edit, texts=texts), table)
    assert told.having("refused") == ["data", "contamination"]
    own = [one.verdict for one in told.findings if one.rule == "contamination"]
    assert own == ["refused", "differs"]  # the duplicates, and the shared sequences


def test_texts_that_their_licence_keeps_back_are_refused(table: Path, tmp_path: Path) -> None:
    kept_back = CLEAN.model_copy(update={"may_be_shown": False, "licence": "CC BY-NC 4.0"})
    against = found(offered(tmp_path, texts=kept_back), table, "licence")
    assert against.verdict == "refused"
    assert "may not be passed on (the suite's licence: CC BY-NC 4.0)" in against.text


def test_what_nobody_could_check_is_said(table: Path, tmp_path: Path) -> None:
    new = offered(tmp_path)
    unchecked = Offer(new.runs, new.declared, new.texts, "there is no file data.jsonl")
    against = found(unchecked, table, "contamination")
    assert against.text == "by the submitter's word: there is no file data.jsonl"
