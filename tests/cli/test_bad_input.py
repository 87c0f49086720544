"""What a user may get wrong in data and models: one line that says where, and nothing is lost."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import constants
from typer.testing import CliRunner, Result

import bench
from bench.cli import app
from tests.hub import Hub
from tests.integration.test_file_suites import SMALL
from tests.suites.rows import write
from tests.suites.test_jsonl import question, write_files

ASSETS = Path(bench.__path__[0]) / "suites" / "testbed" / "assets"
FILES = {path.name: path.read_bytes() for path in ASSETS.iterdir()}


@pytest.fixture(autouse=True)
def a_place_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a finished stage of an earlier run, and with a key for the judge, who is never asked."""
    monkeypatch.setenv("BENCH_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("BENCH_RESULTS", str(tmp_path / "results"))
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-none")
    monkeypatch.setenv("NO_COLOR", "1")
    earlier = tmp_path / "store" / "sft" / "earlier"
    earlier.mkdir(parents=True)
    (earlier / "meta.json").write_text("{}")


@pytest.fixture
def hub(hub_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub that can be asked, with an empty cache."""
    with Hub() as running:
        url = "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "ENDPOINT", running.url)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", running.url + url)
        yield running


def run(config: Path, *overrides: str, dry_run: bool = False) -> Result:
    """A run on a user's own files, with a judge that is never asked."""
    own = [f"evaluation.{judge}=claude" for judge in ("judge", "validation_judge")]
    own.append(f"suite.config={config}")
    arguments = ["run", "--suite", "jsonl", "--method", "token_ppo", *["--dry-run"] * dry_run]
    arguments += [word for one in (*SMALL, *own, *overrides) for word in ("--set", one)]
    return CliRunner().invoke(app, arguments)


def refused(result: Result, folder: Path, *said: str) -> None:
    """In one line; nothing is computed or written, and what was there still is."""
    assert result.exit_code == 2, result.output
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert errors == result.stderr.splitlines()[-1:]
    for text in said:
        assert text in errors[0]
    assert "Traceback" not in result.output
    assert [path.parent.name for path in folder.glob("store/*/*/meta.json")] == ["earlier"]
    assert not list(folder.glob("results/**/record.json"))


def seventh(name: str, value: str | None) -> Callable[[Path], None]:
    """Changes a column of the seventh pair; None takes it away."""

    def change(folder: Path) -> None:
        file = folder / "pairs.jsonl"
        rows = [json.loads(line) for line in file.read_text().splitlines()]
        del rows[6][name]
        if value is not None:
            rows[6][name] = value
        write(file, rows)

    return change


def long_prompts(folder: Path) -> None:
    rows = [{"q": question(i) + " Go on." * 100 * (i % 2), "a": "No."} for i in range(90)]
    write(folder / "answers.json.gz", rows)


DATA = [
    (seventh("bad", None), "pairs.jsonl, line 7, field bad: there is no such column; there are q,"),
    (seventh("bad", ""), "pairs.jsonl, line 7, field bad: it is empty"),
    (seventh("good", " \n"), "pairs.jsonl, line 7, field good: it is empty"),
    (long_prompts, "it does not fit the model's 256 positions; lower"),
]


@pytest.mark.parametrize(("change", "said"), DATA)
def test_a_bad_row_ends_a_run_before_it_begins(
    change: Callable[[Path], None], said: str, tmp_path: Path
) -> None:
    config = write_files(tmp_path / "files")
    change(tmp_path / "files")
    refused(run(config), tmp_path, said)


def test_a_wrong_column_is_answered_with_those_that_are_there(tmp_path: Path) -> None:
    columns = {"prompt": "q", "chosen": "god", "rejected": "bad"}
    config = write_files(tmp_path / "files", pairs={"file": "pairs.jsonl", "columns": columns})
    near = "line 1, field god: there is no such column (did you mean 'good'?); there are q, good,"
    refused(run(config), tmp_path, near, "columns: {chosen: COLUMN}")


@pytest.mark.parametrize("table", ["demonstrations", "prompts", "pairs", "edits"])
@pytest.mark.parametrize("hub", ["lytang/LLM-AggreFact", None])
def test_what_may_not_be_trained_on_is_refused_with_the_reason(
    table: str, hub: str | None, tmp_path: Path
) -> None:
    given = {"file": "x/LLM-AggreFact.jsonl"} if hub is None else {"file": "a.jsonl", "hub": hub}
    config = write_files(tmp_path / "files", **{table: given})
    refused(run(config), tmp_path, "LLM-AggreFact: its licence forbids training", given["file"])


def divided(folder: Path, **tables: Any) -> Path:
    """A table a split, of questions that no two of them share unless `tables` says so."""
    for k, split in enumerate(("ppo", "validation", "test", "unseen")):
        rows = ({"prompt": question(i), "response": "No."} for i in range(20 * k, 20 * k + 20))
        write(folder / f"{split}.jsonl", rows)
    prompts = {split: f"{split}.jsonl" for split in ("ppo", "validation", "test", "unseen")}
    references = {"file": ["test.jsonl", "unseen.jsonl", "validation.jsonl"]}
    return write_files(folder, prompts=prompts | tables, references=references)


def test_what_may_not_be_trained_on_may_measure(tmp_path: Path) -> None:
    """And choose no checkpoint: which weights are kept is a result of training."""
    folder = tmp_path / "files"
    config = divided(folder, test="LLM-AggreFact.jsonl")
    shutil.copy(folder / "test.jsonl", folder / "LLM-AggreFact.jsonl")
    result = run(config, dry_run=True)
    assert result.exit_code == 0, result.output
    chosen = divided(folder, validation="LLM-AggreFact.jsonl")
    refused(run(chosen), tmp_path, "LLM-AggreFact.jsonl would be trained on, or choose a")
    both = divided(folder, test="LLM-AggreFact.jsonl", ppo="LLM-AggreFact.jsonl")
    refused(run(both), tmp_path, "its licence forbids training")


def test_an_instruction_in_two_splits_is_left_out_of_one_and_said(tmp_path: Path) -> None:
    folder = tmp_path / "files"
    config = divided(folder)
    write(folder / "ppo.jsonl", ({"prompt": question(i)} for i in (*range(20), 40, 60)))
    result = run(config, dry_run=True)
    assert result.exit_code == 0, result.output
    said = " ".join(result.stdout.split())
    assert "prompts of ppo: left out are 2 prompts that are evaluated in another split" in said


MODELS = [
    ("unknown", "org/none is no folder here, and of the model on the hub revision main is not in"),
    ("gated", "the model org/gated is gated: ask for access on its page of the hub"),
    ("gated, with a token", "the model org/gated is gated: ask for access on its page of the hub"),
    ("pickled", "the model org/pickled has no .safetensors: other formats of weights"),
]


@pytest.mark.parametrize(("what", "said"), MODELS)
def test_a_model_that_the_hub_does_not_give_is_one_line(
    what: str, said: str, hub: Hub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    hub.add("models", "org/gated", FILES)
    hub.gated.add("models/org/gated")
    weights = {"model.safetensors": "pytorch_model.bin"}
    hub.add("models", "org/pickled", {weights.get(k, k): v for k, v in FILES.items()})
    if what == "unknown":
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    elif "token" in what:
        monkeypatch.setenv("HF_TOKEN", "hf_of_nobody")
    name = {"unknown": "none"}.get(what, what.partition(",")[0])
    refused(run(write_files(tmp_path / "files"), f"model.path=org/{name}"), tmp_path, said)


@pytest.mark.parametrize("token", [None, "hf_of_nobody"])
def test_a_data_set_that_is_gated_is_one_line(
    token: str | None, hub: Hub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    hub.add("datasets", "org/pairs", {"a.jsonl": b"{}"})
    hub.gated.add("datasets/org/pairs")
    config = write_files(tmp_path / "files", pairs={"file": "a.jsonl", "hub": "org/pairs"})
    refused(run(config), tmp_path, "the dataset org/pairs on the hub is gated: ask for access")


def pickled(folder: Path) -> None:
    torch.save({}, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def with_code(folder: Path) -> None:
    """A family that the library lacks, whose code would leave a trace if it ran."""
    settings = json.loads((folder / "config.json").read_text())
    code = {"AutoConfig": "own.Own", "AutoModelForCausalLM": "own.OwnLM"}
    settings |= {"model_type": "own", "auto_map": code}
    (folder / "config.json").write_text(json.dumps(settings))
    trace = f"import pathlib\npathlib.Path({str(folder / 'ran')!r}).touch()\n"
    (folder / "own.py").write_text(f"{trace}from transformers import PretrainedConfig as Own\n")


FOLDERS = [
    (pickled, "has no .safetensors: other formats of weights run code when they are read"),
    (with_code, "needs code of its own (auto_map in its files), which is never run: name a"),
]


@pytest.mark.parametrize(("change", "said"), FOLDERS)
@pytest.mark.parametrize("answer", ["", "y\n"])
def test_a_model_that_would_run_code_is_refused_and_nobody_is_asked(
    change: Callable[[Path], None],
    said: str,
    answer: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The library asks at the terminal whether to run a model's code, unless it is told not to."""
    folder = tmp_path / "model"
    shutil.copytree(ASSETS, folder)
    change(folder)
    monkeypatch.setattr("builtins.input", lambda *_: answer.strip() or pytest.fail("asked"))
    refused(run(write_files(tmp_path / "files"), f"model.path={folder}"), tmp_path, said)
    assert not (folder / "ran").exists()
