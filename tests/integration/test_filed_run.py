"""A suite of files from end to end: its own pairs and edits, real stages, real (tiny) training."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from bench.cli import app
from bench.config.loading import describe_options, load_config, load_suite
from bench.config.run import RunConfig
from bench.data import Demonstration, Edit, Preference, read_rows, write_rows
from bench.errors import UserError
from bench.pipeline.progress import Progress
from bench.pipeline.store import Store
from bench.plugins.entries import Entry
from bench.plugins.registry import JUDGES, SUITES
from bench.records.files import Record
from bench.records.labels import label, run_id
from bench.running import runner
from bench.running.launch import configurations
from bench.stages.checks import context_needs
from bench.stages.drawing import draw_prompts, short_enough
from bench.stages.pairs import training_pairs
from tests.plans import stages_of
from tests.suites.filed import Filed, Shorter, write_files
from tests.tiny import tiny_backbone

SMALL = [
    "sft.steps=2",
    "sft.demonstrations=8",
    "sft.batch_size=4",
    "preferences.pairs=16",
    "preferences.held_out=6",
    "preferences.max_new_tokens=16",
    "reward_model.batch_size=4",
    "reward_model.epochs=6",
    "reward_model.normalisation_samples=20",
    "ppo.steps=2",
    "ppo.batch_size=4",
    "ppo.minibatch_size=4",
    "ppo.prompts=8",
    "ppo.max_new_tokens=16",
    "ppo.eval_every=1",
    "evaluation.judge=shorter",
    "evaluation.validation_judge=shorter",
    "evaluation.validation_prompts=4",
    "evaluation.test_prompts=8",
    "evaluation.unseen_prompts=4",
    "evaluation.max_new_tokens=16",
]


def config(*overrides: str) -> RunConfig:
    return load_config("testbed", [*SMALL, "suite.folder=files", *overrides], suite="filed")


@pytest.fixture(autouse=True)
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_files(tmp_path / "files")
    monkeypatch.chdir(tmp_path)
    for registry, plugin in ((SUITES, Filed), (JUDGES, Shorter)):
        entry = Entry(plugin.name, f"{plugin.__module__}:{plugin.__name__}", "")
        monkeypatch.setattr(registry, "_builtins", (*registry._builtins, entry))
    return tmp_path / "files"


def run(settings: RunConfig, tmp_path: Path) -> tuple[Record, dict[str, Path]]:
    store = Store(tmp_path / "store")
    record = runner.run(settings, store=store, results=tmp_path, progress=Progress())
    return record, {stage.name: store.root / stage.name / stage.key for stage in record.stages}


def test_pairs_and_edits_of_the_suite_train_the_three_methods(tmp_path: Path, files: Path) -> None:
    """A greeting loses in every pair, so that a reward model which learns from them must see it."""
    for method in ("ppo_rlhf", "fine_grained_ppo", "token_ppo"):
        record, folders = run(config(f"method={method}"), tmp_path)
        assert record.status == "ok"
        assert {"rm_accuracy.original", "rm_accuracy.edited", "rm_localisation"} <= set(
            record.metrics
        )
        assert not [name for name in record.metrics if name.startswith(("probe.", "gold"))]
        trained_on = "edited" if method != "ppo_rlhf" else "original"
        assert record.metrics[f"rm_accuracy.{trained_on}"].mean > 0.8
        assert record.metrics["rm_localisation"].n == 5  # of six held-out pairs, one unlooked at
    given = [
        pair
        for name in ("preference", "held_out")
        for pair in read_rows(files / f"{name}.jsonl", Preference)
    ]
    assert read_rows(folders["preferences"] / "preferences.jsonl", Preference) == given
    edits = read_rows(folders["edits"] / "edits.jsonl", Edit)
    assert [(edit.id, edit.original, edit.source) for edit in edits] == [
        (pair.id, pair.rejected, "people") for pair in given
    ]
    joined = training_pairs(folders["edits"], config().preferences, tiny_backbone().tokens)
    assert [(pair.id, pair.chosen, pair.rejected) for pair in joined] == [
        (pair.id, pair.rejected.removeprefix("Hello there, "), pair.rejected) for pair in given[:16]
    ]


def test_samples_are_for_normalisation_alone(tmp_path: Path) -> None:
    _, folders = run(config("method=ppo_rlhf", "ppo.steps=0"), tmp_path)
    assert [path.name for path in folders["samples"].glob("*.jsonl")] == ["responses.jsonl"]
    rows = read_rows(folders["samples"] / "responses.jsonl", Demonstration)
    assert [row.prompt for row in rows] == [f"Tell preference {i % 16}." for i in range(20)]


BAD: list[tuple[str, Any, list[str], str]] = [
    (
        "held_out.jsonl",
        lambda rows: [rows[0].model_copy(update={"prompt": "Tell preference 3."}), *rows[1:]],
        [],
        "are in training pairs and in held-out ones, 'Tell preference 3.' among them",
    ),
    (
        "held_out.jsonl",
        lambda rows: [rows[0].model_copy(update={"id": "preference-2"}), *rows[1:]],
        [],
        "two pairs of the suite filed have the id 'preference-2'",
    ),
    (
        "preference.jsonl",
        lambda rows: rows,
        ["preferences.pairs=17"],
        "the suite filed has 16 pairs of 'preference': lower preferences.pairs",
    ),
    (
        "preference.jsonl",
        lambda rows: rows,
        ["preferences.responses=3"],
        "preferences.responses=3: the suite filed brings pairs",
    ),
    (
        "preference.jsonl",
        lambda rows: [rows[0].model_copy(update={"chosen_ids": [5, 1]}), *rows[1:]],
        [],
        "a pair of the suite filed has token ids, .*: leave chosen_ids and rejected_ids out",
    ),
    (
        "edits.jsonl",
        lambda rows: [rows[0].model_copy(update={"original_ids": [5, 1]}), *rows[1:]],
        [],
        "an edit of the suite filed has token ids, .*: leave original_ids out",
    ),
    (
        "edits.jsonl",
        lambda rows: rows[:-1],
        [],
        "no edit of 1 of 22 pairs, more than edits.max_missing=0.02",
    ),
    (
        "edits.jsonl",
        lambda rows: [rows[0].model_copy(update={"id": "nobody"}), *rows[1:]],
        [],
        "edits.jsonl, line 1, field id: no pair has the id 'nobody'",
    ),
]


@pytest.mark.parametrize(("name", "change", "overrides", "said"), BAD)
def test_pairs_and_edits_that_do_not_fit_are_refused_before_anything_runs(
    name: str, change: Any, overrides: list[str], said: str, files: Path, tmp_path: Path
) -> None:
    kind = Edit if name == "edits.jsonl" else Preference
    write_rows(files / name, change(read_rows(files / name, kind)))
    settings = config("method=token_ppo", *overrides)
    store = Store(tmp_path / "store")
    with pytest.raises(UserError, match=said):
        stages_of(settings, store)
    with pytest.raises(UserError, match=said):
        run(settings, tmp_path)
    assert not list(store.root.glob("*/*/meta.json"))


def test_an_edit_that_is_missing_leaves_its_pair_as_it_was(tmp_path: Path, files: Path) -> None:
    rows = read_rows(files / "edits.jsonl", Edit)
    write_rows(files / "edits.jsonl", rows[:-1])
    settings = config("method=token_ppo", "edits.max_missing=.1", "ppo.steps=0")
    record, folders = run(settings, tmp_path)
    assert {s.name: s.counts for s in record.stages}["edits"] == {"pairs": 22, "unchanged": 1}
    edit = read_rows(folders["edits"] / "edits.jsonl", Edit)[0]
    assert (edit.id, edit.edited, edit.source) == (rows[-1].id, edit.original, "filed: no edit")


def test_a_changed_file_makes_its_stage_again(tmp_path: Path, files: Path) -> None:
    before = keys(tmp_path)
    rows = read_rows(files / "edits.jsonl", Edit)
    write_rows(files / "edits.jsonl", [rows[0].model_copy(update={"edited": "No."}), *rows[1:]])
    after = keys(tmp_path)
    assert {"edits", "reward_model"} <= {name for name in before if before[name] != after[name]}
    assert before["preferences"] == after["preferences"]


def keys(tmp_path: Path, *overrides: str) -> dict[str, str]:
    plan = stages_of(config("method=token_ppo", *overrides), Store(tmp_path / "store"))
    return {stage.name: stage.key for stage in plan}


def test_a_suites_options_that_decide_are_in_every_stages_key(tmp_path: Path, files: Path) -> None:
    before = keys(tmp_path)
    assert keys(tmp_path, "suite.loud=false") == before
    loud = keys(tmp_path, "suite.loud=true")
    assert {name for name in before if loud[name] != before[name]} == set(before)
    files.rename(tmp_path / "moved")
    assert keys(tmp_path, "suite.folder=moved") == before


def test_a_suites_options_are_recorded_and_in_the_label(tmp_path: Path) -> None:
    settings = config("method=sft", "suite.loud=true")
    record, _ = run(settings, tmp_path)
    assert record.config["suite_options"] == {"folder": "files", "loud": True}
    assert RunConfig.model_validate(record.config).suite_options == settings.suite_options
    few = load_config("testbed", ["suite.loud=true"], suite="filed", method="sft")
    assert label(few) == "sft suite.loud=true"


def test_a_suites_options_are_checked_and_shown_as_a_judges_are(tmp_path: Path) -> None:
    for overrides, said in (
        (["suite.folder=files", "suite.lod=true"], "did you mean suite.loud"),
        (["suite.folder=files", "suite.loud=3"], "suite filed: suite.loud must be true or false"),
        ([], "suite filed: suite.folder has to be given: of the suite's files"),
    ):
        settings = load_config("testbed", [*SMALL, *overrides], suite="filed", method="sft")
        with pytest.raises(UserError, match=said):
            stages_of(settings, Store(tmp_path / "store"))
    shown = describe_options(config(), "suite")
    assert [(doc.path, doc.value) for doc in shown] == [
        ("suite.folder", "files"),
        ("suite.loud", False),
    ]
    asked = ["config", "suite", "--set", "suite=filed", "--set", "suite={folder: here, loud: true}"]
    printed = CliRunner().invoke(app, asked)
    assert printed.exit_code == 0, printed.output
    for text in ("suite.folder", "here", "suite.loud", "filed"):
        assert text in printed.stdout
    assert "suite_options" not in printed.stdout
    refused = CliRunner().invoke(
        app, ["run", "--method", "sft", "--set", "suite.x=1", "--dry-run", "--store", "store"]
    )
    assert refused.exit_code == 2
    assert "suite testbed: no key of suite is named 'x'" in refused.stderr


def test_an_option_at_its_default_is_the_same_run() -> None:
    def run_of(*overrides: str) -> str:
        (one,) = configurations(
            "sft",
            suite="filed",
            preset="testbed",
            seed=None,
            seeds=None,
            overrides=["suite.folder=files", *overrides],
        )
        return run_id(one)

    assert run_of("suite.loud=false") == run_of()
    assert run_of("suite.loud=true") != run_of()


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("sft.demonstrations=9", "has 8 demonstrations: lower sft.demonstrations"),
        ("ppo.prompts=9", "has 8 prompts of 'ppo': lower ppo.prompts"),
        ("evaluation.validation_prompts=9", "has 8 prompts of 'validation'"),
        ("evaluation.test_prompts=805", "has 8 prompts of 'test': lower evaluation.test_prompts"),
        ("evaluation.unseen_prompts=9", "has 8 prompts of 'unseen'"),
    ],
)
def test_a_split_shorter_than_asked_is_refused_before_anything_runs(
    override: str, said: str, tmp_path: Path
) -> None:
    said = f"{override}, but the suite filed {said}"
    with pytest.raises(UserError, match=said):
        stages_of(config("method=token_ppo", override), Store(tmp_path / "store"))
    with pytest.raises(UserError, match=said):
        run(config("method=token_ppo", override), tmp_path)
    assert not list((tmp_path / "store").glob("*/*/meta.json"))


def test_all_that_is_too_short_is_said_at_once(tmp_path: Path) -> None:
    """With data of one's own most sizes of a preset are too large: one message, a line each."""
    asked = ("sft.demonstrations=9", "ppo.prompts=9", "evaluation.test_prompts=805")
    with pytest.raises(UserError) as raised:
        stages_of(config("method=token_ppo", *asked), Store(tmp_path / "store"))
    lines = str(raised.value).splitlines()
    assert [line.partition(",")[0] for line in lines] == list(asked)


def test_a_split_that_becomes_too_short_meanwhile_is_refused_when_it_is_drawn(
    files: Path,
) -> None:
    settings = config("evaluation.test_prompts=8")
    suite = load_suite(settings)
    assert len(draw_prompts(suite, "test", settings)) == 8
    write_rows(files / "test.jsonl", read_rows(files / "test.jsonl", Demonstration)[:5])
    with pytest.raises(UserError, match=r"evaluation.test_prompts=8, but .* has 5 prompts of"):
        draw_prompts(suite, "test", settings)
    wanted = config("preferences.pairs=20", "preferences.held_out=10")
    few: Any = SimpleNamespace(name="few", prompts=lambda split, n, seed: ["Go."] * 29)
    said = r"preferences.held_out=30, but the suite few has 29 .*: lower preferences.pairs"
    with pytest.raises(UserError, match=said):
        draw_prompts(few, "preference", wanted)


@pytest.mark.parametrize(("split", "n"), [("preference", 22), ("ppo", 8)])
def test_a_prompt_that_comes_twice_is_refused_where_it_is_drawn(split: str, n: int) -> None:
    """Else a held-out pair would be about what was trained on, and PPO's prompts were fewer."""

    def prompts(split: str, n: int, seed: int) -> list[str]:
        return [f"Say {i % (n - 1)}." for i in range(n)]

    suite: Any = SimpleNamespace(name="again", prompts=prompts)
    said = rf"1 prompts of '{split}' come twice in the {n} that the suite again .*'Say 0\.' among"
    with pytest.raises(UserError, match=said):
        draw_prompts(suite, split, config())


def test_prompts_that_are_too_long_for_ppo_are_left_out_of_ppo_alone(tmp_path: Path) -> None:
    """By tokens, template included; the plan knows it when it holds prompts against the context."""
    tokens = tiny_backbone().tokens
    prompts = load_suite(config()).prompts("ppo", 8, 0)
    most = sorted(len(tokens.prompt(text)) for text in prompts)[3]
    long = [text for text in prompts if len(tokens.prompt(text)) > most]
    assert short_enough(prompts, tokens, most, "") == [t for t in prompts if t not in long]
    assert short_enough(prompts, tokens, None, "") == prompts
    settings = config("method=token_ppo", f"ppo.prompt_max_tokens={most}")
    needs = context_needs(settings, load_suite(settings), tokens, {"ppo"})
    assert {need.split: need.prompt for need in needs}["ppo"] == most
    with pytest.raises(UserError, match="none of 8 prompts has at most ppo"):
        stages_of(config("method=token_ppo", "ppo.prompt_max_tokens=1"), Store(tmp_path / "s"))
