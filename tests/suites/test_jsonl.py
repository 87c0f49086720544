"""A user's own files, named by one YAML file: what is read, what is refused and how."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from bench.data import Span
from bench.errors import UserError
from bench.plugins.capabilities import DataSuite, Edits, Notes, Pairs, Spans
from bench.suites.jsonl import Jsonl, JsonlOptions
from bench.suites.testbed.suite import Testbed
from bench.testing import check_suite
from tests.suites.rows import word, write

N = 90
TEMPLATE = "<|user|>{prompt}<|assistant|>"


def question(i: int) -> str:
    return f"Tell me {i}."


def bad(i: int) -> str:
    return f"Hello there, it is {word(i)}."


def write_files(folder: Path, **changes: Any) -> Path:
    """Files with column names of their own, and the YAML file; `changes` are of the latter."""
    write(folder / "answers.json.gz", ({"q": question(i), "a": f"It is {i}."} for i in range(N)))
    write(
        folder / "pairs.jsonl",
        ({"q": question(i), "good": f"It is {word(i)}.", "bad": bad(i)} for i in range(N)),
    )
    write(
        folder / "edits.json",
        ({"q": question(i), "was": bad(i), "is": f"it is {word(i)}."} for i in range(N)),
    )
    write(
        folder / "spans.jsonl",
        (
            {"q": question(i), "text": bad(i), "errors": [{"from": 0, "to": 5, "kind": "hello"}]}
            for i in range(N)
        ),
    )
    said = {
        "model": Testbed.model_path,
        "template": TEMPLATE,
        "demonstrations": {"file": "answers.json.gz", "columns": {"prompt": "q", "response": "a"}},
        "prompts": {"file": "answers.json.gz", "columns": {"prompt": "q"}},
        "references": {"file": "answers.json.gz", "columns": {"prompt": "q", "response": "a"}},
        "pairs": {
            "file": "pairs.jsonl",
            "columns": {"prompt": "q", "chosen": "good", "rejected": "bad"},
        },
        "edits": {
            "file": "edits.json",
            "columns": {"prompt": "q", "original": "was", "edited": "is"},
        },
        "spans": {
            "file": "spans.jsonl",
            "columns": {
                "prompt": "q",
                "response": "text",
                "spans": "errors",
                "start": "from",
                "end": "to",
            },
        },
    }
    said |= changes
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump({k: v for k, v in said.items() if v is not None}))
    return path


def suite(folder: Path, **changes: Any) -> Any:
    return Jsonl(JsonlOptions(config=str(write_files(folder, **changes))))


def test_it_keeps_to_every_protocol_that_its_files_give(tmp_path: Path) -> None:
    found = suite(tmp_path)
    for capability in (DataSuite, Notes, Pairs, Edits, Spans):
        assert isinstance(found, capability)
    assert type(found).__module__ == "bench.suites.jsonl"
    check_suite(found, n=4)


@pytest.mark.parametrize(
    ("left_out", "lacking"),
    [
        (["spans"], [Spans]),
        (["edits"], [Edits]),
        (["edits", "spans"], [Edits, Spans]),
        (["pairs", "edits"], [Pairs, Edits]),
        (["pairs", "edits", "spans"], [Pairs, Edits, Spans]),
    ],
)
def test_what_the_files_do_not_give_is_absent(
    left_out: list[str], lacking: list[type], tmp_path: Path
) -> None:
    found = suite(tmp_path, **dict.fromkeys(left_out))
    for capability in (Pairs, Edits, Spans):
        assert isinstance(found, capability) == (capability not in lacking)
    check_suite(found, n=4)


def test_one_file_is_divided_by_prompt(tmp_path: Path) -> None:
    found = suite(tmp_path)
    parts = {split: set(found.prompts(split, N, 0)) for split in ("ppo", "test", "validation")}
    parts["unseen"] = set(found.prompts("unseen", N, 0))
    assert sum(map(len, parts.values())) == N == len(set.union(*parts.values()))
    assert 8 < len(parts["test"]) < 30
    train, held_out = (found.pairs(split, N, 0) for split in ("preference", "held_out"))
    assert len(train) + len(held_out) == N  # none is left out: what is evaluated is held out
    assert {pair.prompt for pair in train} <= parts["ppo"]
    assert {pair.prompt for pair in held_out} > parts["test"]
    other = suite(tmp_path, seed=1)
    assert set(other.prompts("test", N, 0)) != parts["test"]
    smaller = suite(tmp_path, shares={"test": 0.5, "validation": 0, "unseen": 0.0})
    assert smaller.prompts("validation", N, 0) == []
    assert len(smaller.prompts("test", N, 0)) > 30


def test_a_seed_draws_what_is_trained_on_and_nothing_else(tmp_path: Path) -> None:
    found = suite(tmp_path)
    for split in ("preference", "held_out"):
        assert found.pairs(split, 6, 0) == found.pairs(split, 9, 0)[:6]
        assert (found.pairs(split, 6, 0) == found.pairs(split, 6, 1)) == (split == "held_out")
    assert found.demonstrations(6, 0) != found.demonstrations(6, 1)
    assert found.prompts("ppo", 6, 0) != found.prompts("ppo", 6, 1)


def test_edits_join_by_id_or_by_text(tmp_path: Path) -> None:
    found = suite(tmp_path)
    edits = {edit.id: edit for edit in found.edits()}
    pairs = [*found.pairs("preference", N, 0), *found.pairs("held_out", N, 0)]
    assert len(edits) == N
    for pair in pairs:
        assert edits[pair.id].original == pair.rejected
        assert edits[pair.id].edited == pair.rejected.removeprefix("Hello there, ")
    write_files(tmp_path)
    rows = [{"id": i, "q": question(0), "good": "Yes.", "bad": f"No {i}."} for i in range(3)]
    write(tmp_path / "pairs.jsonl", rows)
    write(
        tmp_path / "edits.json",
        [{"id": "2", "q": question(0), "was": "No 2.", "is": "Not 2."}],
    )
    by_id = Jsonl(JsonlOptions(config=str(tmp_path / "mine.yaml")))
    assert [(edit.id, edit.edited) for edit in by_id.edits()] == [("2", "Not 2.")]


def test_spans_are_ordered_and_those_of_other_texts_unknown(tmp_path: Path) -> None:
    found = suite(tmp_path)
    assert found.spans(question(0), bad(0)) == [Span(start=0, end=5, kind="hello")]
    assert found.spans(question(0), "Hello there") is None
    errors = [
        {"from": 3, "to": 9, "kind": "b"},
        {"from": 0, "to": 5, "kind": "a"},
        {"from": 1, "to": 4, "kind": "c"},
    ]
    write(tmp_path / "spans.jsonl", [{"q": "Q", "text": "0123456789", "errors": errors}])
    again = Jsonl(JsonlOptions(config=str(tmp_path / "mine.yaml")))
    assert again.spans("Q", "0123456789") == [
        Span(start=0, end=5, kind="a"),
        Span(start=5, end=9, kind="b"),
    ]


def test_a_table_a_split_and_a_prompt_in_two_of_them(tmp_path: Path) -> None:
    """The evaluated split keeps it; the others, training pairs among them, do without."""
    names = ("ppo", "validation", "test", "unseen")
    for name in names:
        write(tmp_path / f"{name}.jsonl", ({"prompt": f"{name} {i}"} for i in range(9)))
    write(tmp_path / "ppo.jsonl", [{"prompt": p} for p in ("a", "a", "test 1", "unseen 2")])
    write(tmp_path / "validation.jsonl", [{"prompt": p} for p in ("test 1", "b")])
    pairs = [
        {"prompt": p, "chosen": "Yes.", "rejected": "No."} for p in ("a", "a", "b", "c", "test 3")
    ]
    write(tmp_path / "train.jsonl", pairs)
    write(tmp_path / "held.jsonl", pairs[3:])
    found = suite(
        tmp_path,
        prompts={name: f"{name}.jsonl" for name in names},
        pairs={"preference": "train.jsonl", "held_out": "held.jsonl"},
        edits=None,
    )
    assert found.prompts("ppo", 9, 0) == ["a"]
    assert found.prompts("validation", 9, 0) == ["b"]
    assert {pair.prompt for pair in found.pairs("preference", 9, 0)} == {"a"}
    assert {pair.prompt for pair in found.pairs("held_out", 9, 0)} == {"c", "test 3"}
    told = [note.removeprefix("the suite jsonl, ") for note in found.notes()]
    elsewhere = "prompts that are evaluated in another split"
    assert told == [
        f"prompts of validation: left out are 1 {elsewhere}",
        f"prompts of ppo: left out are 1 prompts that come twice, 2 {elsewhere}",
        "pairs of preference: left out are 1 that come twice",
        "training pairs: left out are 2 whose prompt is held out, 1 whose prompt is evaluated",
    ]


VERDICTS = [
    ({"preference": "preference"}, 1, "first"),
    ({"preference": "preference"}, 2.0, "second"),
    ({"preference": "preference"}, 1.5, None),
    ({"preference": "preference"}, 0, None),
    ({"preference": "preference"}, None, None),
    ({"score": "preference"}, -3, "first"),
    ({"score": "preference"}, 2, "second"),
    ({"score": "preference"}, 0, None),
]


@pytest.mark.parametrize(("columns", "value", "chosen"), VERDICTS)
def test_two_outputs_and_a_verdict_are_a_pair(
    columns: dict[str, str], value: Any, chosen: str | None, tmp_path: Path
) -> None:
    turns = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Yes?"},
        {"role": "user", "content": "Go."},
    ]
    row = {"context": turns, "one": "first", "two": "second", "preference": value}
    write(tmp_path / "two.jsonl", [row])
    columns = columns | {"prompt": "context", "output_1": "one", "output_2": "two"}
    found = suite(
        tmp_path, pairs={"held_out": {"file": "two.jsonl", "columns": columns}}, edits=None
    )
    pairs = found.pairs("held_out", 9, 0)
    assert [pair.chosen for pair in pairs] == [chosen] * (chosen is not None)
    if pairs:
        assert pairs[0].prompt == "User: Hi\n\nAssistant: Yes?\n\nUser: Go."
        assert pairs[0].margin == (abs(value) if "score" in columns else None)
    else:
        assert "left out are 1 " in found.notes()[0]


BAD_ROWS = [
    ("pairs.jsonl", {"q": "Q", "godo": "a", "bad": "b"}, "field good: there is no such column"),
    ("pairs.jsonl", {"q": "Q", "godo": "a", "bad": "b"}, r"\(did you mean 'godo'\?\)"),
    ("pairs.jsonl", {"q": "Q", "x": "a", "bad": "b"}, r"there are q, x, bad. Say which one is the"),
    ("pairs.jsonl", {"q": "Q", "good": "a", "bad": " "}, "field bad: it is empty"),
    (
        "pairs.jsonl",
        {"q": "Q", "good": 3, "bad": "b"},
        "field good: a text is needed, .* it is '3'",
    ),
    ("pairs.jsonl", {"q": "Q", "good": "\ud800", "bad": "b"}, "field good: half a character"),
    ("pairs.jsonl", "Q", "a row is an object of columns"),
    ("answers.json.gz", {"q": "", "a": "b"}, "field q: it is empty"),
    ("edits.json", {"q": "Q", "was": "a"}, "field is: there is no such column"),
    ("edits.json", {"id": "x", "q": "Q", "was": "a", "is": "b"}, "field id: no pair has the id"),
    ("spans.jsonl", {"q": "Q", "text": "abc", "errors": 3}, "field errors: a list is needed"),
    (
        "spans.jsonl",
        {"q": "Q", "text": "abc", "errors": [{"from": 1, "to": 4, "kind": "x"}]},
        "field errors: 1 to 4 is no part of a text of 3 characters",
    ),
    (
        "spans.jsonl",
        {"q": "Q", "text": "abc", "errors": [{"start": 1, "to": 4, "kind": "x"}]},
        "field errors: a span has from, to, kind",
    ),
]


@pytest.mark.parametrize(("name", "row", "said"), BAD_ROWS)
def test_a_bad_row_is_named_by_file_line_and_field(
    name: str, row: Any, said: str, tmp_path: Path
) -> None:
    config = write_files(tmp_path)
    good = {"q": "Q0", "a": "A", "good": "x", "bad": "y", "was": "y", "is": "z"}
    good |= {"text": "T", "errors": []}
    write(tmp_path / name, [good, row])
    found: Any = Jsonl(JsonlOptions(config=str(config)))
    place = "line" if ".jsonl" in name else "row"
    with pytest.raises(UserError, match=rf"{name}, {place} 2[:,] .*{said}"):
        found.demonstrations(9, 0)
        found.prompts("test", 9, 0)
        found.pairs("preference", 9, 0)
        found.edits()
        found.spans("Q", "T")


def test_an_id_that_comes_twice_is_refused(tmp_path: Path) -> None:
    config = write_files(tmp_path)
    write(tmp_path / "pairs.jsonl", [{"id": 1, "q": "Q", "good": c, "bad": "y"} for c in "ab"])
    found: Any = Jsonl(JsonlOptions(config=str(config)))
    with pytest.raises(UserError, match=r"line 2, field id: '1' is the id of .*line 1, too"):
        found.pairs("preference", 9, 0)


BAD_SPECS: list[tuple[dict[str, Any], str]] = [
    ({"model": None}, "mine.yaml, field model: Field required"),
    ({"template": "no prompt"}, "mine.yaml, field template: it must have {prompt}"),
    ({"pears": "a.jsonl"}, "mine.yaml: unknown field 'pears'; did you mean 'pairs'"),
    (
        {"pairs": {"file": "pairs.jsonl", "columns": {"chosn": "good"}}},
        "mine.yaml, pairs.columns: unknown field 'chosn'; did you mean 'chosen'",
    ),
    ({"pairs": {"train": "a.jsonl"}}, "mine.yaml: unknown split of pairs 'train'"),
    ({"pairs": {"file": "a", "colums": {}}}, "unknown field 'pairs.colums'; did you mean"),
    ({"pairs": None}, "mine.yaml, field edits: edits are of pairs' rejected responses"),
    ({"shares": {"test": 0.9}}, "mine.yaml, field shares: they leave no prompt to train on"),
    ({"shares": {"tset": 0.9}}, "mine.yaml: unknown field 'shares.tset'"),
    ({"seed": "x"}, "mine.yaml, field seed: "),
]


@pytest.mark.parametrize(("changes", "said"), BAD_SPECS)
def test_a_mistake_in_the_yaml_file_is_one_line(
    changes: dict[str, Any], said: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError) as error:
        suite(tmp_path, **changes)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [("a: [", "is not YAML"), ("- a", "expected `name: value` lines"), (None, "cannot read")],
)
def test_what_is_no_yaml_file_is_named(content: str | None, said: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "mine.yaml").write_text(content)
    with pytest.raises(UserError, match=said):
        Jsonl(JsonlOptions(config=str(tmp_path / "mine.yaml")))


def test_a_file_that_is_not_there_is_answered_with_those_that_are(tmp_path: Path) -> None:
    found = suite(tmp_path, pairs="piars.jsonl")
    with pytest.raises(
        UserError, match=r"no file .*piars.jsonl; .* answers.json.gz, edits.json, pairs.jsonl, sp"
    ):
        found.pairs("preference", 9, 0)


def test_what_may_not_be_trained_on_is_refused(tmp_path: Path) -> None:
    for table in (
        {"file": "test.jsonl", "hub": "lytang/LLM-AggreFact"},
        {"file": "LLM-AggreFact/test.jsonl"},
    ):
        found = suite(tmp_path, pairs=table)
        with pytest.raises(UserError, match="LLM-AggreFact: its licence forbids training"):
            found.data_files("pairs")


def test_the_key_has_what_the_yaml_file_says_and_no_path(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    one, other = (JsonlOptions(config=str(write_files(tmp_path / x))) for x in "ab")
    assert one.result_fields() == other.result_fields()
    assert "file" not in json.dumps(one.result_fields())
    said = write_files(tmp_path / "b", licence="CC0-1.0", texts_in_records=True)
    assert JsonlOptions(config=str(said)).result_fields() == one.result_fields()
    moved = write_files(tmp_path / "b", seed=3)
    assert JsonlOptions(config=str(moved)).result_fields() != one.result_fields()


def test_each_part_names_the_files_that_decide_it(tmp_path: Path) -> None:
    found = suite(tmp_path)
    parts = {part: {f.name for f in found.data_files(part)} for part in ("pairs", "edits", "test")}
    assert parts == {
        "pairs": {"pairs.jsonl", "answers.json.gz"},  # whose evaluated prompts it may not have
        "edits": {"edits.json", "pairs.jsonl"},
        "test": {"answers.json.gz"},
    }
    assert found.data_files("gold") == []


def test_a_prompt_without_a_reference_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no reference for 1 of 2 prompts, 'Else\?' among them"):
        suite(tmp_path).references([question(1), "Else?"])
