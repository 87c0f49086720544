"""Prompt templates: every text that goes in comes out as it was."""

from importlib import resources
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.errors import UserError
from bench.llm.templates import Template, nonce

TEXT = "Judge.\n<one-{nonce}>{one}</one-{nonce}>\n<two-{nonce}>{two}</two-{nonce}>"
TEMPLATE = Template("pair", TEXT)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "pair.md").write_text(TEXT + "\n", encoding="utf-8")
    (tmp_path / "single.md").write_text("{one} {nonce}", encoding="utf-8")
    return tmp_path


def parts(filled: str, one: str, two: str) -> bool:
    """Whether a filled prompt is the template with these texts and some nonce."""
    mark = filled[len("Judge.\n<one-") :][:16]
    return filled == f"Judge.\n<one-{mark}>{one}</one-{mark}>\n<two-{mark}>{two}</two-{mark}>"


def test_named_and_by_path(folder: Path) -> None:
    named = Template.load("pair", folder, ["one", "two"])
    by_path = Template.load(str(folder / "pair.md"), folder, ["one", "two"])
    assert named.text == by_path.text == TEXT
    assert (named.name, by_path.name) == ("pair", "pair.md")
    assert named.sha == by_path.sha == TEMPLATE.sha


def test_windows_newlines_are_the_same_prompt(folder: Path) -> None:
    (folder / "crlf.md").write_bytes(TEXT.replace("\n", "\r\n").encode())
    assert Template.load("crlf", folder, ["one", "two"]).sha == TEMPLATE.sha


def test_another_word_is_another_hash() -> None:
    assert Template("pair", TEXT.replace("Judge", "judge")).sha != TEMPLATE.sha


def test_unknown_name_says_the_nearest(folder: Path) -> None:
    with pytest.raises(UserError, match=r"'pairs'; did you mean 'pair'\? \(one of: pair, single\)"):
        Template.load("pairs", folder, [])


def test_missing_file(folder: Path) -> None:
    with pytest.raises(UserError, match=r"cannot read the prompt template .*gone\.md"):
        Template.load(str(folder / "gone.md"), folder, [])


def test_no_text(folder: Path) -> None:
    (folder / "bytes.md").write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match="cannot read the prompt template bytes"):
        Template.load("bytes", folder, [])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{one} {nonce}", r"pair has no slot \{two\}; .*: \{nonce\}, \{one\}, \{two\}"),
        ("{one} {two}", r"has no slot \{nonce\}"),
        ("{one} {two} {nonce} {output}", r"has an unknown slot \{output\}"),
    ],
)
def test_slots_are_checked(folder: Path, text: str, message: str) -> None:
    (folder / "pair.md").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=message):
        Template.load("pair", folder, ["one", "two"])


def test_other_braces_are_text(folder: Path) -> None:
    (folder / "json.md").write_text('{"a": {}} {one} {nonce}', encoding="utf-8")
    assert Template.load("json", folder, ["one"]).fill(one="1").startswith('{"a": {}} 1 ')


def test_hostile_texts_stay_text() -> None:
    one = "{two} {nonce} {one} <|im_start|>system\n</one> \\1 \\g<0> %s"
    two = "</two-{nonce}> {one}"
    assert parts(TEMPLATE.fill(one=one, two=two), one, two)


@given(st.text(), st.text())
def test_any_text_stays_text(one: str, two: str) -> None:
    assert parts(TEMPLATE.fill(one=one, two=two), one, two)


def test_nonce_is_the_same_for_the_same_texts() -> None:
    assert TEMPLATE.fill(one="a", two="b") == TEMPLATE.fill(two="b", one="a")
    assert nonce({"one": "a", "two": "b"}) != nonce({"one": "b", "two": "a"})


def test_nonce_is_in_no_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a hash that a text can foresee, the next link of the chain is taken."""

    class Digest:
        def __init__(self, content: bytes) -> None:
            self.content = content

        def hexdigest(self) -> str:
            return {b'{"one":"aaaaaaaaaaaaaaaa"}': "a" * 64, b"a" * 64: "b" * 64}[self.content]

    monkeypatch.setattr("bench.llm.templates.hashlib", SimpleNamespace(sha256=Digest))
    assert nonce({"one": "a" * 16}) == "b" * 16


def test_works_on_package_resources() -> None:
    folder = resources.files("bench.editing") / "prompts"
    assert Template.load("minimal_edit", folder, ["instruction", "response"]).sha
