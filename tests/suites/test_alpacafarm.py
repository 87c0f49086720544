"""AlpacaFarm in the exact shape of the hub's files: from there, or local ones instead."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench.errors import UserError
from bench.hub import HubRepo
from bench.plugins.capabilities import Edits, Pairs
from bench.suites.alpacafarm import FILES, PREFERENCES, AlpacaFarm, AlpacaFarmOptions
from bench.testing import check_suite
from tests.hub import NEW, cache
from tests.suites.rows import word, write

HUB = HubRepo("tatsu-lab/alpaca_farm", None, "dataset")


def instruction(name: str, i: int) -> dict[str, str]:
    return {"instruction": f"Say {name} {i}.", "input": word(i) if i % 2 else ""}


def instructions(name: str, n: int = 30) -> list[dict[str, str]]:
    return [instruction(name, i) | {"output": f"It is {word(i)}."} for i in range(n)]


def compared(i: int, preference: int = 2) -> dict[str, Any]:
    outputs = {"output_1": f"Hello there, {word(i)}.", "output_2": f"It is {word(i)} {i}."}
    return instruction("pair", i) | outputs | {"preference": preference, "raw_preference": 1}


def files() -> dict[str, list[Any]]:
    rows: dict[str, list[Any]] = {file: instructions(name) for name, file in FILES.items()}
    extra = {"generator": "text_davinci_003", "dataset": "helpful_base"}
    rows[FILES["evaluation"]] = [row | extra for row in rows[FILES["evaluation"]]]
    return rows | {file: [compared(i) for i in range(60)] for file in PREFERENCES.values()}


def write_files(folder: Path) -> dict[str, Any]:
    """Options with a local path for each file."""
    for name, rows in files().items():
        write(folder / name, rows)
    local = {name: str(folder / file) for name, file in FILES.items()}
    return local | {"preferences": str(folder / PREFERENCES["human"]), "held_out": 0.3}


def local(folder: Path, **options: Any) -> AlpacaFarm:
    return AlpacaFarm(AlpacaFarmOptions(**(write_files(folder) | options)))


@pytest.fixture
def hub(hub_cache: Path) -> Path:
    """The data set's snapshot in a cache, and no network."""
    cache(hub_cache, "datasets--tatsu-lab--alpaca_farm", {"main": NEW})
    folder = hub_cache / "datasets--tatsu-lab--alpaca_farm" / "snapshots" / NEW
    for name, rows in files().items():
        write(folder / name, rows)
    return folder


def test_it_keeps_to_its_protocols(tmp_path: Path) -> None:
    found = local(tmp_path)
    assert isinstance(found, Pairs)
    assert not isinstance(found, Edits)
    check_suite(found, n=6)


def test_the_files_of_the_hub_are_read_at_their_commit(hub: Path) -> None:
    found = AlpacaFarm(AlpacaFarmOptions(held_out=0.3))
    check_suite(found, n=6)
    assert found.data_files("demonstrations") == [HUB]  # all parts are of one commit
    with_input = [prompt for prompt in found.prompts("test", 99, 0) if "\n\n" in prompt]
    assert len(with_input) == 15
    assert f"Say evaluation 1.\n\n{word(1)}" in with_input


def test_a_local_file_stands_for_any_of_them(hub: Path, tmp_path: Path) -> None:
    own = write(tmp_path / "own" / "val.json", instructions("mine", 9))
    options = AlpacaFarmOptions(val=str(own), sft="alpaca_instructions/val.json")
    found = AlpacaFarm(options)
    both = found.prompts("validation", 99, 0) + found.prompts("unseen", 99, 0)
    assert len(both) == 9
    assert all("mine" in prompt for prompt in both)
    assert all("val" in prompt for prompt, _ in found.demonstrations(99, 0))
    assert found.data_files("test") == [HUB]
    assert set(found.data_files("validation")) == {own, HUB}
    assert options.result_fields()["val"] is None
    assert options.result_fields()["sft"] == "alpaca_instructions/val.json"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            {"val": "alpaca_instructions/vla.json"},
            "vla.json of the dataset .* has .*val.json",
        ),
        ({"val": "/nowhere/val.json"}, "there is no file /nowhere/val.json"),
        ({"preferences": "hunam"}, "hunam of the dataset tatsu-lab/alpaca_farm on the hub is not"),
        ({"repo": "org/other"}, "org/other is no folder here, and of the dataset on the hub"),
        ({"repo": "lytang/LLM-AggreFact"}, "LLM-AggreFact: its licence forbids training"),
    ],
)
def test_what_is_missing_is_answered_with_what_is_there(
    options: dict[str, Any], said: str, hub: Path
) -> None:
    found = AlpacaFarm(AlpacaFarmOptions(**options))
    with pytest.raises(UserError, match=said):
        found.prompts("validation", 9, 0)
        found.pairs("preference", 9, 0)


def test_an_instruction_in_two_splits_stays_with_the_evaluated_one(tmp_path: Path) -> None:
    options = write_files(tmp_path)
    shared = instructions("evaluation")[:2]
    for name in ("sft", "unlabeled", "val"):
        write(tmp_path / FILES[name], [*instructions(name), *shared])
    pairs = [compared(i) for i in range(60)]
    doubled = [*pairs, shared[0] | {"output_1": "a", "output_2": "b", "preference": 1}]
    write(tmp_path / PREFERENCES["human"], doubled)
    found = AlpacaFarm(AlpacaFarmOptions(**options))
    test = set(found.prompts("test", 99, 0))
    assert len(test) == 30
    for split in ("validation", "unseen", "ppo"):
        assert not test & set(found.prompts(split, 99, 0))
    assert not test & {prompt for prompt, _ in found.demonstrations(99, 0)}
    assert not test & {pair.prompt for pair in found.pairs("preference", 99, 0)}
    told = " ".join(found.notes())
    assert "prompts of ppo: left out are 2 prompts that are evaluated in another split" in told
    assert "demonstrations: left out are 2 whose prompt is evaluated" in told


def test_rows_that_are_no_pair_are_counted(tmp_path: Path) -> None:
    options = write_files(tmp_path)
    rows = [compared(0), compared(0), compared(1, 0), compared(2) | {"output_1": " "}]
    rows += [compared(3) | {"output_1": "x", "output_2": "x"}, compared(4) | {"preference": None}]
    write(tmp_path / PREFERENCES["human"], rows)
    found = AlpacaFarm(AlpacaFarmOptions(**options))
    pairs = found.pairs("preference", 9, 0) + found.pairs("held_out", 9, 0)
    assert [pair.chosen for pair in pairs] == ["It is red 0."]
    assert found.notes()[-1].partition("pairs: ")[2] == (
        "left out are 1 ties, 1 with an empty response, 1 whose responses are equal, "
        "1 without a verdict, 1 that come twice"
    )


def test_noise_turns_training_labels_round_and_no_others(tmp_path: Path) -> None:
    clean, noisy = (local(tmp_path, noise=noise) for noise in (0.0, 0.4))
    kept = {pair.id: pair for pair in clean.pairs("preference", 99, 0)}
    turned = [pair for pair in noisy.pairs("preference", 99, 0) if pair != kept[pair.id]]
    assert 0.2 < len(turned) / len(kept) < 0.6
    assert all(pair.chosen == kept[pair.id].rejected for pair in turned)
    assert noisy.pairs("held_out", 99, 0) == clean.pairs("held_out", 99, 0)


def test_a_preference_that_is_none_is_named(tmp_path: Path) -> None:
    options = write_files(tmp_path)
    write(tmp_path / PREFERENCES["human"], [compared(0), compared(1, 3)])
    with pytest.raises(UserError, match="row 2, field preference: 3 is no preference"):
        AlpacaFarm(AlpacaFarmOptions(**options)).pairs("preference", 9, 0)
