"""`bench rm`: any reward model, from the command line to the table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from bench.cli import app
from bench.pipeline.store import Store
from bench.records.files import read_record
from bench.records.reward_models import read_all
from tests.cli.test_json import document
from tests.integration.test_run import SMALL, config
from tests.integration.test_run import run as run_of
from tests.suites.test_qa_feedback import write_files
from tests.tiny import CHAT, tiny_classifier

FEW = ("--responses", "4", "--best-of", "4")
WORLD = tuple(word for one in SMALL for word in ("--set", one))


class Place:
    """A store, a folder of results, a classifier, and runs that ended behind the reward model."""

    def __init__(self, root: Path) -> None:
        self.root, self.store, self.results = root, Store(root / "store"), root / "results"
        self.scores = tiny_classifier(root / "scores", chat=CHAT)
        self.runs = {}
        for method in ("token_ppo", "ppo_rlhf", "sft"):
            settings = config(f"method={method}", "ppo.steps=1", "evaluation.validation=last")
            self.runs[method] = run_of(settings, self.store, self.results).run_id

    def rm(self, *words: object, few: tuple[str, ...] = FEW) -> Result:
        place = ["--store", self.store.root] if words else []
        results = [] if "--results" in words else ["--results", self.results]
        asked = ["rm", *words, *(few if words else ()), *place, *results]
        return CliRunner().invoke(app, [str(word) for word in asked])


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(tmp_path_factory.mktemp("rm"))


def refused(result: Result, *said: str) -> None:
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    line = result.stderr.splitlines()[-1]
    for part in said:
        assert part in line


@pytest.mark.slow
def test_a_classifier_and_a_run_are_rows_of_one_table(place: Place) -> None:
    """On the same pairs and the same draws; nothing is made twice."""
    first = place.rm(place.scores, *WORLD)
    assert first.exit_code == 0, first.output
    assert "draws for best of n: started" in first.stderr
    second = place.rm(place.runs["token_ppo"], "--format", "json")
    assert second.exit_code == 0, second.output
    assert "draws for best of n" not in second.stderr
    (table,) = document(second, "rm")["tables"]
    rows = {row["model"]["granularity"]: row for row in table["rows"]}
    brought, own = rows["sequence"], rows["token"]
    assert brought["model"]["kind"] == "sequence classifier"
    assert own["run"] == place.runs["token_ppo"]
    shared = {"rm_accuracy.original", "rm_accuracy.edited", "rm_accuracy.original_clean"}
    shared |= {"prefers_longer", "prefix_accuracy.25", "prefix_localisation", "probe.rude"}
    assert shared <= set(brought["metrics"]) & set(own["metrics"])
    assert "rm_localisation" in own["metrics"]  # of token outputs, which a classifier lacks
    assert "rm_localisation" not in brought["metrics"]
    for row in rows.values():
        steps = row["best_of_n"]
        assert [one["n"] for one in steps] == [1, 2, 4]
        assert steps[0]["gold"] == steps[0]["ceiling"]
        assert steps[0]["proxy"]["mean"] == pytest.approx(0, abs=1e-6)
        proxies = [one["proxy"]["mean"] for one in steps]
        assert proxies == sorted(proxies)
        assert all(one["gold"]["mean"] <= one["ceiling"]["mean"] + 1e-9 for one in steps)
    assert brought["best_of_n"][0]["gold"] == own["best_of_n"][0]["gold"]
    record = read_record(place.results / "testbed" / place.runs["token_ppo"])
    of_run = record.metrics["rm_accuracy.edited"].model_dump(mode="json")
    assert own["metrics"]["rm_accuracy.edited"] == of_run
    shown = place.rm()
    assert shown.exit_code == 0, shown.output
    assert "Reward models on testbed: 8 held-out pairs" in shown.stdout


@pytest.mark.slow
def test_the_folder_of_one_of_ours_says_what_its_run_says(place: Place, tmp_path: Path) -> None:
    """It finds its SFT model in the store, whatever the options would train."""
    record = read_record(place.results / "testbed" / place.runs["ppo_rlhf"])
    key = next(stage.key for stage in record.stages if stage.name == "reward_model")
    folder = place.store.root / "reward_model" / key
    run = place.results / "testbed" / record.run_id
    for words in ((run,), (folder, *WORLD, "--set", "sft.steps=1")):
        result = place.rm(*words, "--results", tmp_path)
        assert result.exit_code == 0, result.output
    own, brought = read_all(tmp_path, [])
    assert {own.model.kind, brought.model.kind} == {
        "trained by the run",
        "reward model of GrainBench",
    }
    probes = [name for name in own.metrics if name.startswith("probe.")]
    assert probes
    assert [own.metrics[name] for name in probes] == [brought.metrics[name] for name in probes]


@pytest.mark.slow
def test_a_suite_of_files_is_asked_without_gold_and_without_draws(
    place: Place, tmp_path: Path
) -> None:
    """People's spans say where the errors are; no SFT model is trained, and nothing drawn."""
    feedback = write_files(tmp_path)["feedback"]
    base = Path(__file__).parents[2] / "bench" / "suites" / "testbed" / "assets"
    sizes = [f"suite.feedback={feedback}", "preferences.pairs=20", "preferences.held_out=10"]
    sizes += [f"model.path={base}", "model.template=suite"]
    words = [word for one in sizes for word in ("--set", one)]
    result = place.rm(place.scores, "--suite", "qa_feedback", *words, "--results", tmp_path)
    assert result.exit_code == 0, result.output
    assert "SFT: started" not in result.stderr
    (record,) = read_all(tmp_path, [])
    assert record.best_of_n == []
    assert "draws" not in record.data
    assert "prefix_localisation" in record.metrics
    assert record.config["preset"] == "real-edits"
    assert str(tmp_path) not in str({k: record.config[k] for k in ("model", "reward_model")})


@pytest.mark.slow
def test_what_cannot_be_measured_is_one_line(place: Place, tmp_path: Path) -> None:
    token = place.runs["token_ppo"]
    refused(place.rm(place.runs["sft"]), "the method sft trains no reward model")
    refused(place.rm(token, "--seed", "3"), "its own held-out pairs of testbed: leave out")
    refused(place.rm("nosuch"), "unknown run 'nosuch'")
    refused(place.rm(tmp_path), "neither a reward_model folder of a store")
    refused(place.rm(place.scores, "--set", "reward_model.path=x"), "is the argument of `bench rm`")
    refused(place.rm(place.scores, "--format", "csv"), "choose table or json")
    refused(place.rm("--seed", "3"), "name a model or a run")
    empty = tmp_path / "empty"
    none = CliRunner().invoke(app, ["rm", "--results", str(empty)])
    refused(none, "no reward model was measured yet")
    several = tiny_classifier(tmp_path / "several", outputs=2)
    refused(place.rm(several), "2 outputs: a reward is one number")
    chat = tiny_classifier(tmp_path / "chat", chat="{{ messages[0].content }}")
    refused(place.rm(chat, *WORLD, "--set", "sft.steps=3"), "its chat template cannot show")
    folder = place.results / "testbed" / token
    gone: Any = CliRunner().invoke(app, ["rm", str(folder), "--store", str(tmp_path / "none")])
    refused(gone, "does not have its sft", f"bench rerun {folder}")
