"""Reference sets are told apart by hash."""

from __future__ import annotations

import pytest

from bench.errors import UserError
from bench.judging.alpaca_eval import Output, read
from bench.judging.references import KNOWN, _known_rows, identify, require_same
from tests.judges.data import LONG_REFERENCE, SHARED, SHORT_REFERENCE, needs_shared


def test_the_hash_is_of_the_set_alone() -> None:
    one = identify({"a": "1", "b": "2"}, "mine")
    assert one == identify({"b": "2", "a": "1"}, "mine")
    assert one.sha != identify({"a": "2", "b": "1"}, "mine").sha
    assert str(one) == f"mine [{one.sha[:8]}]"


def test_what_both_have_must_be_the_same() -> None:
    require_same({"a": "1", "b": "2"}, "x", {"a": "1", "c": "3"}, "y")
    with pytest.raises(UserError, match="1 of 2 instructions have another reference output") as e:
        require_same({"a": "1", "b": "2"}, "x.json", {"a": "1", "b": "3"}, "y.json")
    assert "x.json has a set of no known name" in str(e.value)


@needs_shared
def test_the_two_davinci003_sets() -> None:
    long, short = (
        {row.prompt: row.output for row in read(path, Output)}
        for path in (LONG_REFERENCE, SHORT_REFERENCE)
    )
    names = [identify(rows, "unknown").name for rows in (long, short)]
    assert names == list(KNOWN.values())
    assert "482 characters" in names[0]
    assert "308 characters" in names[1]
    for rows, mean in ((long, 482), (short, 308)):
        assert round(sum(map(len, rows.values())) / len(rows)) == mean


@needs_shared
def test_a_part_of_a_set_is_named_and_a_mixture_refused() -> None:
    long, short = (
        {row.prompt: row.output for row in read(path, Output)}
        for path in (LONG_REFERENCE, SHORT_REFERENCE)
    )
    for rows, characters in ((long, 482), (short, 308)):
        part = identify(dict(list(rows.items())[:100]), "text_davinci_003")
        assert part.name.startswith("100 of the 805 rows of ")
        assert f"{characters} characters" in part.name
    halves = {p: (long if i % 2 else short)[p] for i, p in enumerate(long)}
    with pytest.raises(UserError, match="mixed in mine, of 805 rows") as caught:
        identify(halves, "mine")
    assert "482 characters" in str(caught.value)
    assert "308 characters" in str(caught.value)
    both = {p: text for p, text in long.items() if short[p] == text}
    assert len(both) == 20
    assert identify(both, "either").name == "either"
    ours = dict.fromkeys(long, "ours") | dict(list(halves.items())[:100])
    assert identify(ours, "ours").name == "ours"
    assert identify({}, "none").name == "none"


def test_the_digests_are_of_the_known_sets() -> None:
    rows = _known_rows()
    assert list(rows) == list(KNOWN)
    assert [len(digests) for digests in rows.values()] == [805, 805]


@needs_shared
def test_alpacafarm_instructions_are_those_of_alpacaeval() -> None:
    """All 252 of them, once the input follows the instruction after a blank line."""
    farm = read(SHARED / "alpaca_farm/outputs_sft.json", Output)
    known = {row.prompt for row in read(SHORT_REFERENCE, Output)}
    assert len(farm) == 252
    assert all(row.prompt in known for row in farm)
