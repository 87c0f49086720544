"""The command that builds the bases: what it refuses, and where a larger one is found again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer, LlamaForCausalLM

from bench.config.loading import load_config
from bench.pipeline.built import MODEL, NAME, Built
from bench.pipeline.progress import Progress
from bench.pipeline.store import Store
from bench.records.files import read_record
from bench.records.labels import base_name
from bench.running import runner
from bench.suites.testbed import base, pretraining
from bench.suites.testbed.suite import Testbed
from tests.integration.test_run import SMALL

LARGER = {"testbed-m": 5e6, "testbed-l": 25e6}


def command(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr("sys.argv", ["base", *arguments])
    base.main()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["--size", "testbed-m", "--documents", "9"],
            "the preset testbed-m has 110000; give --out",
        ),
        (["--size", "xl"], "invalid choice: 'xl' (choose from "),
        (["--documents", "0"], "--documents must be at least 1"),
        (["--size", "testbed-l", "--device", "gpu"], "model.device: gpu is not usable here"),
    ],
)
def test_a_mistake_is_answered_before_anything_is_written(
    arguments: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as ended:
        command(monkeypatch, *arguments, "--store", str(tmp_path))
    assert ended.value.code == 2
    assert said in capsys.readouterr().err
    assert not list(tmp_path.glob(f"{NAME}/*"))


@pytest.mark.slow
def test_a_folder_of_ones_own_has_the_size_the_tokenizer_and_float32(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = str(tmp_path / "mine")
    command(monkeypatch, "--size", "testbed-m", "--documents", "64", "--out", out)
    model = LlamaForCausalLM.from_pretrained(out)
    assert (model.num_parameters(), str(model.dtype)) == (5_008_640, "torch.float32")
    shipped = AutoTokenizer.from_pretrained(Testbed.model_path)
    assert AutoTokenizer.from_pretrained(out).get_vocab() == shipped.get_vocab()


@pytest.mark.slow
def test_a_base_without_out_is_where_its_preset_looks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And is built once: the second command says where it is."""
    monkeypatch.setattr(base, "DOCUMENTS", 64)
    monkeypatch.setattr(base.build, "__defaults__", (64, "auto"))
    for _ in range(2):
        command(monkeypatch, "--size", "testbed-m", "--store", str(tmp_path))
    built = Built.named(str(load_config("testbed-m").model.path))
    assert built is not None
    folder = built.folder(Store(tmp_path))
    said = capsys.readouterr().out
    assert said.count("parameters on cpu") == 1
    assert said.count(f"testbed-m: {folder}\n") == 2
    assert (folder / "model.safetensors").is_file()


@pytest.mark.parametrize("name", LARGER)
def test_the_sizes_are_what_they_are_called(name: str) -> None:
    tokenizer: Any = AutoTokenizer.from_pretrained(Testbed.model_path)
    model = pretraining.new_model(tokenizer, pretraining.SIZES[name])
    assert model.num_parameters() == pytest.approx(LARGER[name], rel=0.2)


@pytest.mark.long
@pytest.mark.parametrize("name", LARGER)
def test_a_run_on_a_larger_base_comes_to_its_record(name: str, tmp_path: Path) -> None:
    """On one that saw three batches of the web."""
    store = Store(tmp_path / "store")
    with Built(base.COMMAND, name).building(store) as made:
        base.build(name, made.path / MODEL, documents=3 * pretraining.BATCH)
    config = load_config(name, SMALL, method="token_ppo")
    record = runner.run(config, store=store, results=tmp_path, progress=Progress())
    assert (record.status, record.error) == ("ok", None)
    assert read_record(tmp_path / "testbed" / record.run_id) == record
    assert base_name(record.config) == name
    assert {"win_rate", "gold_score", "rm_localisation", "kl"} <= set(record.metrics)
