"""What a record's run drew from its suite is drawn again from the record alone."""

import subprocess
import sys
from pathlib import Path

import pytest

from bench.config.loading import load_config
from bench.errors import UserError
from bench.records.files import PUBLISHED, Record, read_items, read_record
from bench.records.schema import prompt_sha
from bench.running.drawn import drawn
from tests.suites.test_jsonl import write_files


@pytest.fixture
def folder() -> Path:
    return next((PUBLISHED / "testbed").glob("token_ppo-s0-*"))


def with_config(record: Record, **sections: object) -> Record:
    return record.model_copy(update={"config": record.config | sections})


def test_the_instructions_are_those_that_were_judged(folder: Path) -> None:
    found = drawn([read_record(folder)])
    judged = {item.prompt_sha for item in read_items(folder)}
    assert judged <= {prompt_sha(prompt) for prompt in found.evaluation}
    assert len(found.evaluation) == 256 + 128
    assert found.may_show_texts


def test_demonstrations_pairs_and_ppo_are_trained_on(folder: Path) -> None:
    record = read_record(folder)
    all_of_it = drawn([record]).training
    config = record.config
    without = {
        "sft": with_config(record, sft=config["sft"] | {"steps": 0}),
        "pairs": with_config(record, preferences=config["preferences"] | {"pairs": 1}),
        "ppo": with_config(record, ppo=config["ppo"] | {"prompts": 1}),
    }
    for changed in without.values():
        assert drawn([changed]).training < all_of_it
    again = record.model_copy(update={"config": config | {"seed": 1}})
    assert drawn([record, again]).training > all_of_it


def of_files(config: Path) -> Record:
    """A record of a small run on a user's own files."""
    sizes = ["sft.demonstrations=8", "preferences.pairs=8", "preferences.held_out=4"]
    sizes += ["ppo.prompts=4", "evaluation.test_prompts=8", "evaluation.unseen_prompts=0"]
    settings = load_config("testbed", [*sizes, f"suite.config={config}"], suite="jsonl")
    record = read_record(next((PUBLISHED / "testbed").glob("token_ppo-s0-*")))
    return with_config(record, **settings.model_dump(mode="json"))


def test_a_licence_that_keeps_texts_back_is_said(tmp_path: Path) -> None:
    found = drawn([of_files(write_files(tmp_path, licence="CC BY-NC 4.0"))])
    assert (found.licence, found.may_show_texts) == ("CC BY-NC 4.0", False)
    assert drawn([of_files(write_files(tmp_path, texts_in_records=True))]).may_show_texts


def test_of_files_the_pairs_own_prompts_are_trained_on(tmp_path: Path) -> None:
    found = drawn([of_files(write_files(tmp_path))])
    assert len(found.evaluation) == 8
    assert 12 <= len(found.training) <= 24
    assert found.training.isdisjoint(found.evaluation)


def test_files_that_are_not_here_are_named(tmp_path: Path) -> None:
    record = of_files(write_files(tmp_path))
    (tmp_path / "pairs.jsonl").unlink()
    with pytest.raises(UserError, match=r"pairs\.jsonl"):
        drawn([record])


def test_no_torch_is_needed(folder: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from bench.records.files import read_record\n"
        "from bench.running.drawn import drawn\n"
        f"drawn([read_record(Path({str(folder)!r}))])\n"
        "assert not {'torch', 'transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
