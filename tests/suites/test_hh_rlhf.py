"""hh_rlhf: two transcripts a row, of which the assistant's last turn is the response."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench.hub import HubRepo
from bench.plugins.capabilities import Edits, Pairs
from bench.suites.hh_rlhf import HHRLHF, HHRLHFOptions
from bench.testing import check_suite
from tests.suites.rows import word, write


def row(name: str, i: int, **sides: str) -> dict[str, str]:
    asked = f"\n\nHuman: Say {name} {i}.\n\nAssistant: Why?\n\nHuman: Go on.\n\nAssistant:"
    return {
        "chosen": f"{asked} It is {word(i)}.",
        "rejected": f"{asked} Hello there, {word(i)}.",
    } | sides


def write_files(folder: Path) -> dict[str, Any]:
    return {
        name: str(write(folder / f"{name}.jsonl.gz", (row(name, i) for i in range(n))))
        for name, n in (("train", 30), ("test", 40))
    }


def test_it_keeps_to_its_protocols(tmp_path: Path) -> None:
    found = HHRLHF(HHRLHFOptions(**write_files(tmp_path)))
    assert isinstance(found, Pairs)
    assert not isinstance(found, Edits)
    check_suite(found, n=4)
    assert found.own_files("pairs") == [tmp_path / "train.jsonl.gz", tmp_path / "test.jsonl.gz"]
    online = HHRLHF(HHRLHFOptions(subset="helpful-online"))
    assert online.data_files("pairs") == [HubRepo("Anthropic/hh-rlhf", None, "dataset")]


def test_the_last_turn_is_the_response_and_all_before_it_the_prompt(tmp_path: Path) -> None:
    found = HHRLHF(HHRLHFOptions(**write_files(tmp_path)))
    pair = min(found.pairs("preference", 99, 0), key=lambda pair: pair.prompt)
    assert pair.prompt == "Human: Say train 0.\n\nAssistant: Why?\n\nHuman: Go on."
    assert (pair.chosen, pair.rejected) == ("It is red.", "Hello there, red.")
    assert found.references(found.prompts("test", 1, 0))[0].startswith("It is ")


def test_rows_that_are_no_pair_are_counted(tmp_path: Path) -> None:
    options = write_files(tmp_path)
    ask = "\n\nHuman: A?\n\nAssistant:"
    rows = [
        row("train", 0),
        row("train", 0),
        row("train", 1, chosen=f"{ask} Yes.\n\nHuman: B?"),
        row("train", 2, chosen=f"{ask} Yes."),
        row("train", 3, chosen=f"{ask} ", rejected=f"{ask} No."),
        row("train", 4, chosen=f"{ask} No.", rejected=f"{ask} No."),
        row("train", 5, chosen="no transcript"),
    ]
    write(tmp_path / "train.jsonl.gz", rows)
    found = HHRLHF(HHRLHFOptions(**options))
    assert len(found.pairs("preference", 99, 0)) == 1
    assert found.notes()[0].partition("left out are ")[2] == (
        "2 that do not end with the assistant's turn, 1 whose transcripts are of different "
        "prompts, 1 with an empty turn, 1 whose responses are equal, 1 that come twice"
    )
