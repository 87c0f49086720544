"""`bench export`: a run's policy as a folder for PEFT, and as a repository of a hub."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from peft import AutoPeftModelForCausalLM
from transformers import AutoTokenizer
from typer.testing import CliRunner

from bench.cli import app
from bench.config.run import ModelConfig
from bench.models.backbone import Backbone
from bench.models.rollout import Sampling, sample
from bench.pipeline.store import Store
from bench.records.files import Record, write_record
from bench.running.export import find
from bench.suites.testbed.suite import Testbed
from bench.training.optimisation import generator
from tests.hub import Hub
from tests.integration.test_run import config, run

REPO = Path(__file__).parents[2]
PROMPTS = ["Name a town.", "Where does Mara live?", "Describe the old house."]
Ran = tuple[Record, Path, Store]


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """A run whose policy says something else than its base: two steps of a large rate."""
    store, results = (Store(tmp_path_factory.mktemp("store")), tmp_path_factory.mktemp("results"))
    settings = config(
        "method=token_ppo", "ppo.steps=2", "ppo.lr=0.02", "evaluation.validation=last",
        "evaluation.validation_prompts=0",
    )  # fmt: skip
    record = run(settings, store, results)
    return record, results / "testbed" / record.run_id, store


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub() as server:
        yield server


def bench(*arguments: Any, **env: str) -> subprocess.CompletedProcess[str]:
    """In a process of its own: huggingface_hub reads its environment when it is imported."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        env=kept | env, cwd=REPO, capture_output=True, text=True, check=False,
    )  # fmt: skip


def greedy(model: Any, tokenizer: Any) -> list[list[int]]:
    """The library's own greedy tokens behind each prompt."""
    found = []
    for prompt in PROMPTS:
        text = Testbed.prompt_template.replace("{prompt}", prompt)
        ids = tokenizer(text, return_tensors="pt")["input_ids"]
        out = model.generate(input_ids=ids, do_sample=False, max_new_tokens=24)
        found.append(out[0, ids.shape[1] :].tolist())
    return found


def test_the_folder_gives_the_policys_own_greedy_tokens(
    ran: Ran, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record, folder, store = ran
    out = tmp_path / "out"
    said = CliRunner().invoke(
        app, ["export", str(folder), "--out", str(out), "--store", str(store.root)]
    )
    assert said.exit_code == 0, said.output
    found = find(folder, store)
    backbone = Backbone.load(str(found.sft), ModelConfig(device="cpu"), Testbed.prompt_template)
    backbone.add_adapter("policy", folder=found.policy)
    ids = [backbone.tokens.prompt(prompt) for prompt in PROMPTS]
    rng = generator("greedy", 0)
    expected = sample(backbone, "policy", ids, Sampling(24, 0.0), rng)
    assert expected != sample(backbone, None, ids, Sampling(24, 0.0), rng)
    monkeypatch.chdir(tmp_path)  # from anywhere
    model = AutoPeftModelForCausalLM.from_pretrained(str(out)).eval()
    assert greedy(model, AutoTokenizer.from_pretrained(str(out))) == expected

    card = (out / "README.md").read_text()
    _, header, body = card.split("---\n", 2)
    assert yaml.safe_load(header)["library_name"] == "peft"
    assert "base_model" not in yaml.safe_load(header)
    for text in ("a reward a token", "arXiv:2406.02756", record.judge.name, "win_rate", "Licence"):
        assert text in body
    assert f"[{100 * record.metrics['win_rate'].ci95[0]:.1f}" in body  # type: ignore[index]
    assert str(store.root) not in card
    assert str(tmp_path) not in card
    assert json.loads((out / "record.json").read_text())["run_id"] == record.run_id
    again = CliRunner().invoke(
        app, ["export", str(folder), "--out", str(out), "--store", str(store.root)]
    )
    assert (again.exit_code, "the folder is not empty" in again.stderr) == (2, True)


def test_it_is_uploaded_and_loads_from_the_hub(ran: Ran, hub: Hub, tmp_path: Path) -> None:
    _, folder, store = ran
    out = tmp_path / "out"
    env = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home"), "HF_TOKEN": hub.writer}
    ask = ["export", folder, "--out", out, "--store", store.root, "--push-to-hub", "me/policy"]
    said = bench("-m", "bench", *ask, "--licence", "apache-2.0", **env)
    assert said.returncode == 0, said.stderr
    policy, base = (hub.repositories[f"models/me/{name}"] for name in ("policy", "policy-sft"))
    named = json.loads(policy["adapter_config.json"])["base_model_name_or_path"]
    assert named == "me/policy-sft"
    assert {"README.md", "record.json", "adapter_model.safetensors", "tokenizer.json"} <= set(
        policy
    )
    assert {"README.md", "config.json", "model.safetensors"} <= set(base)
    assert not [name for name in policy if name.startswith("sft/") or name == "samples.jsonl"]
    header = yaml.safe_load(policy["README.md"].decode().split("---\n")[1])
    assert (header["base_model"], header["license"]) == ("me/policy-sft", "apache-2.0")
    assert str(tmp_path).encode() not in b"".join(policy.values())
    loading = (
        "from peft import AutoPeftModelForCausalLM as M\n"
        "print(type(M.from_pretrained('me/policy')).__name__)"
    )
    loaded = bench("-c", loading, **env)
    assert loaded.stdout.strip() == "PeftModelForCausalLM", loaded.stderr


@pytest.mark.parametrize(
    ("token", "endpoint", "message"),
    [
        (None, None, "there is no token of the hub: log in"),
        ("hf_nobody", None, r"the hub does not know the token (401)"),
        (Hub.reader, None, "the token may not write there (403)"),
        (Hub.writer, "http://127.0.0.1:9", "the hub cannot be reached"),
    ],
)
def test_what_the_hub_does_not_take_is_one_line(
    token: str | None, endpoint: str | None, message: str, ran: Ran, hub: Hub, tmp_path: Path
) -> None:
    _, folder, store = ran
    env = {"HF_ENDPOINT": endpoint or hub.url, "HF_HOME": str(tmp_path / "home")}
    env |= {"HF_TOKEN": token} if token else {}
    ask = ["export", folder, "--out", tmp_path / "out", "--store", store.root]
    said = bench("-m", "bench", *ask, "--push-to-hub", "me/policy", **env)
    assert said.returncode in (1, 2)
    assert message in said.stderr
    assert said.stderr.count("\n") == 1
    assert hub.repositories == {}
    assert (tmp_path / "out" / "README.md").exists() == (token is not None)


def test_of_two_adapters_the_policy_is_the_one_that_was_judged(ran: Ran, tmp_path: Path) -> None:
    """RTO's plan trains DPO's policy before its own."""
    _, _, store = ran
    record = run(config("method=rto", "ppo.steps=1"), store, tmp_path)
    found = find(tmp_path / "testbed" / record.run_id, store)
    stage = record.policy_stage
    assert stage is not None
    assert found.policy == store.root / "ppo" / stage.key / "policy"


def test_a_run_that_has_no_policy_is_one_line(ran: Ran, tmp_path: Path) -> None:
    _, folder, store = ran
    ask = ["export", str(folder), "--out", str(tmp_path / "out"), "--store"]
    said = CliRunner().invoke(app, [*ask, str(tmp_path / "other")])
    assert (said.exit_code, "does not have its stages" in said.stderr) == (2, True)
    for method in ("sft", "best_of_n"):
        sft = run(config(f"method={method}"), store, tmp_path)
        ask[1] = str(tmp_path / "testbed" / sft.run_id)
        said = CliRunner().invoke(app, [*ask, str(store.root)])
        assert f"the method {method} trains no policy" in said.stderr
    write_record(sft.model_copy(update={"status": "partial"}), tmp_path / "part")
    said = CliRunner().invoke(app, [ask[0], str(tmp_path / "part"), *ask[2:], str(store.root)])
    assert "its status is partial, there is no policy" in said.stderr
