"""The main job on a few steps: run, reuse, resume, record, plug-in; real model, real stages."""

from __future__ import annotations

import json
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import AutoPeftModelForCausalLM, PeftModel
from transformers import AutoModelForCausalLM

from bench.config.loading import load_config
from bench.config.run import RunConfig
from bench.errors import UserError
from bench.pipeline import stage as pipeline
from bench.pipeline.progress import Progress
from bench.pipeline.sources import SOURCES, Sources
from bench.pipeline.stage import Context
from bench.pipeline.store import Store
from bench.plugins.registry import METHODS
from bench.records.files import Record, read_curves, read_items, read_record, read_samples
from bench.records.labels import run_id
from bench.running import recording, runner
from bench.running.plan import make_plan
from bench.stages import sft
from bench.stages.sft import load_sft
from bench.suites.testbed.suite import Testbed
from tests.plans import stages_of

SMALL = [
    "sft.steps=2",
    "sft.demonstrations=64",
    "sft.batch_size=8",
    "preferences.pairs=24",
    "preferences.held_out=8",
    "preferences.max_new_tokens=24",
    "reward_model.batch_size=8",
    "reward_model.normalisation_samples=16",
    "ppo.steps=4",
    "ppo.value_warmup_steps=1",
    "ppo.batch_size=8",
    "ppo.minibatch_size=4",
    "ppo.prompts=16",
    "ppo.max_new_tokens=24",
    "ppo.eval_every=2",
    "offline.batch_size=8",
    "offline.eval_every=2",
    "evaluation.validation_prompts=6",
    "evaluation.test_prompts=8",
    "evaluation.unseen_prompts=4",
    "evaluation.samples=2",
    "evaluation.max_new_tokens=24",
    "evaluation.probes=4",
]


def config(*overrides: str) -> RunConfig:
    return load_config("testbed", [*SMALL, *overrides])


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(tmp_path_factory.mktemp("store"))


def run(settings: RunConfig, store: Store, results: Path) -> Any:
    return runner.run(settings, store=store, results=results, progress=Progress())


@pytest.mark.parametrize("method", ["ppo_rlhf", "dpo"])
def test_a_checkpoint_at_matched_kl_is_judged_beside_the_chosen_one(
    store: Store, tmp_path: Path, method: str
) -> None:
    record = run(config(f"method={method}", "evaluation.matched_kl=1e-6"), store, tmp_path)
    items = [
        json.loads(line)
        for line in (tmp_path / "testbed" / record.run_id / "items.jsonl").read_text().splitlines()
    ]
    assert record.metrics["win_rate_matched"].n == record.metrics["win_rate"].n == 8
    assert record.metrics["kl_matched"].mean == pytest.approx(
        sum(row["kl_matched"] for row in items) / 8
    )


def test_without_a_kl_to_match_there_is_one_checkpoint(store: Store, tmp_path: Path) -> None:
    record = run(config("method=ppo_rlhf", "evaluation.matched_kl=null"), store, tmp_path)
    assert not [name for name in record.metrics if "matched" in name]


def test_a_run_leaves_a_whole_record(store: Store, tmp_path: Path) -> None:
    record = run(config("method=token_ppo"), store, tmp_path)
    folder = tmp_path / "testbed" / record.run_id
    assert read_record(folder) == record
    assert record.status == "ok"
    assert record.label.startswith("token_ppo [config ")  # of these sizes, not the preset's
    names = [stage.name for stage in record.stages]
    assert names.index("sft") < names.index("reward_model") < names.index("ppo")
    assert {"win_rate", "gold_score", "rm_accuracy.edited", "rm_localisation", "kl"} <= set(
        record.metrics
    )
    models = {"sft", "samples", "reward_model", "rm_evaluation", "ppo", "outputs", "judgement"}
    for stage in record.stages:
        assert stage.ran_on is not None
        assert stage.ran_on.threads == torch.get_num_threads()
        assert stage.ran_on.device
        assert stage.ran_on.packed is (True if stage.name in models else None)
    items = read_items(folder)
    assert len(items) == 8
    mean = sum(item.win_rate or 0.0 for item in items) / 8
    assert record.metrics["win_rate"].mean == pytest.approx(mean)
    sample = read_samples(folder)[0]
    assert len(sample.tokens) == len(sample.token_rewards) > 0
    assert "".join(sample.tokens).removesuffix("<|eos|>") == sample.output


def test_a_second_run_is_cached_and_equal(store: Store, tmp_path: Path) -> None:
    first = run(config("method=token_ppo"), store, tmp_path / "a")
    second = run(config("method=token_ppo"), store, tmp_path / "b")
    assert all(stage.cached for stage in second.stages)
    assert second.metrics == first.metrics


def test_a_run_from_nothing_has_the_same_metrics_byte_for_byte(tmp_path: Path) -> None:
    found = []
    for name in ("a", "b"):
        record = run(config("method=token_ppo", "ppo.steps=2"), Store(tmp_path / name), tmp_path)
        assert not any(stage.cached for stage in record.stages)
        metrics = {key: metric.model_dump() for key, metric in record.metrics.items()}
        found.append(json.dumps(metrics, sort_keys=True))
    assert found[0] == found[1]


def test_methods_and_seeds_share_what_they_share(store: Store) -> None:
    def keys(*overrides: str) -> dict[str, str]:
        return {s.name: s.key for s in stages_of(config(*overrides), store)}

    token = keys("method=token_ppo")
    edits = keys("method=fine_grained_ppo")
    rlhf = keys("method=ppo_rlhf")
    seed = keys("method=token_ppo", "seed=1")
    assert token["edits"] == edits["edits"] == rlhf["edits"]
    assert len({token["reward_model"], edits["reward_model"], rlhf["reward_model"]}) == 3
    shared = keys("method=token_ppo", "seed=1", "sft.seed=0")
    assert token["sft"] == rlhf["sft"] == shared["sft"] != seed["sft"]
    assert token["samples"] != seed["samples"]
    mean = keys("method=token_ppo", "reward.paid_at=end")
    assert mean["reward_model"] == token["reward_model"]
    assert mean["ppo"] != token["ppo"]
    assert keys("method=token_ppo", "reward.loss=eq4")["reward_model"] != token["reward_model"]


def test_rankings_train_a_reward_model_and_the_record_counts_them(
    store: Store, tmp_path: Path
) -> None:
    """24 rankings of three: at most 3 pairs each, and more than the 24 that one pair each gives."""
    record = run(
        config("method=ppo_rlhf", "preferences.responses=3", "ppo.steps=1"), store, tmp_path
    )
    (stage,) = [stage for stage in record.stages if stage.name == "reward_model"]
    assert 24 < stage.counts["pairs"] <= 72
    assert {"identical", "truncated"} <= set(stage.counts)
    assert "rm_accuracy.original" in record.metrics


WITHOUT_A_ROLLOUT = ("dpo", "tdpo", "figa", "rrhf")
WITHOUT_A_REWARD_MODEL = ("sft", "gold_ppo", "gold_token_ppo", *WITHOUT_A_ROLLOUT)


@pytest.mark.parametrize("method", [name for name in METHODS.names() if name != "token_ppo"])
def test_every_method_runs(method: str, store: Store, tmp_path: Path) -> None:
    record = run(config(f"method={method}", "ppo.steps=1"), store, tmp_path)
    assert record.status == "ok"
    assert ("rm_accuracy.original" in record.metrics) == (method not in WITHOUT_A_REWARD_MODEL)
    if method == "sft":
        assert record.metrics["kl"].mean == 0.0
    trained = record.policy_stage
    assert (trained is None) == (method in ("sft", "best_of_n"))
    if trained is not None:
        offline = (*WITHOUT_A_ROLLOUT, "expert_iteration")
        assert trained.name == ("offline" if method in offline else "ppo")
        assert [stage.role for stage in record.stages if stage.role] == ["policy"]


@pytest.mark.parametrize("method", WITHOUT_A_ROLLOUT)
def test_a_policy_without_a_rollout_is_measured_as_every_other(
    method: str, store: Store, tmp_path: Path
) -> None:
    """24 pairs, 8 a step: looked at before the first step, after 2 and after 3."""
    record = run(config(f"method={method}"), store, tmp_path)
    rows = read_curves(tmp_path / "testbed" / record.run_id)
    assert [row.step for row in rows] == [0, 1, 2, 3]
    looked = [row for row in rows if "validation_gold" in row.values]
    assert [row.step for row in looked] == [0, 2, 3]
    assert looked[0].values["validation_kl"] == 0.0  # the adapter gives 0
    assert all({"validation_length", "validation_kl"} <= set(row.values) for row in looked)
    assert {"loss", "accuracy", "lr", "tokens"} <= set(rows[1].values)
    stage = record.policy_stage
    assert stage is not None
    assert stage.steps == 3
    assert {"pairs", "identical", "truncated"} <= set(stage.counts)
    assert {"win_rate", "gold_score", "kl"} <= set(record.metrics)


def test_rto_and_dpo_share_the_stage_that_trains_by_dpo(store: Store) -> None:
    def keys(*overrides: str) -> dict[str, str]:
        return {s.name: s.key for s in stages_of(config(*overrides), store)}

    dpo, rto = keys("method=dpo"), keys("method=rto")
    assert dpo["offline"] == rto["offline"]
    assert keys("method=dpo", "reward.beta=0.2")["offline"] != dpo["offline"]
    assert keys("method=dpo", "offline.lr=1e-4")["offline"] != dpo["offline"]
    assert keys("method=dpo", "reward.data=edits")["offline"] != dpo["offline"]
    assert keys("method=dpo", "ppo.lr=1e-4") == dpo
    assert keys("method=rto", "reward.clip=0.5")["offline"] == rto["offline"]
    assert keys("method=rto", "reward.clip=0.5")["ppo"] != rto["ppo"]
    assert keys("method=ppo_rlhf", "offline.lr=1e-4") == keys("method=ppo_rlhf")


def test_rrhf_takes_rankings_and_dpo_the_first_two(store: Store, tmp_path: Path) -> None:
    for method, most in (("rrhf", 72), ("dpo", 24)):
        record = run(config(f"method={method}", "preferences.responses=3"), store, tmp_path)
        stage = record.policy_stage
        assert stage is not None
        assert most / 3 < stage.counts["pairs"] <= most


def test_an_interrupted_policy_without_a_rollout_goes_on_from_its_checkpoint(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bench.training.offline import Offline

    settings = config("method=tdpo", "seed=4")
    step, steps = Offline.step, []

    def counted(self: Offline, groups: Any) -> dict[str, float]:
        steps.append(self.descent.done)
        if steps == [0, 1, 2]:
            raise KeyboardInterrupt
        return step(self, groups)

    monkeypatch.setattr(Offline, "step", counted)
    with pytest.raises(KeyboardInterrupt):
        run(settings, store, tmp_path / "a")
    resumed = run(settings, store, tmp_path / "a")
    assert steps == [0, 1, 2, 2]
    whole = run(settings, Store(tmp_path / "fresh"), tmp_path / "b")
    assert resumed.metrics == whole.metrics
    curves = [read_curves(tmp_path / one / "testbed" / whole.run_id) for one in ("a", "b")]
    found = [[row.values | {"seconds": None} for row in rows] for rows in curves]
    assert found[0] == found[1]


def test_an_interrupted_ppo_goes_on_from_its_checkpoint(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C after the validation of step 2: the run that follows ends as if uninterrupted."""
    from bench.training.ppo import PPO

    settings = config("method=token_ppo", "seed=3")
    step = PPO.step

    def interrupted(self: PPO) -> dict[str, float]:
        if self.done == 2:
            raise KeyboardInterrupt
        return step(self)

    steps: list[int] = []

    def counted(self: PPO) -> dict[str, float]:
        steps.append(self.done)
        return step(self)

    monkeypatch.setattr(PPO, "step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(settings, store, tmp_path / "a")
    monkeypatch.setattr(PPO, "step", counted)
    resumed = run(settings, store, tmp_path / "a")
    assert steps == [2, 3]
    monkeypatch.setattr(PPO, "step", step)
    whole = run(settings, Store(tmp_path / "fresh"), tmp_path / "b")
    assert resumed.metrics == whole.metrics


def test_a_diverged_run_leaves_a_record_that_says_so(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from methods.gold_ppo import GoldPPO

    rewards = GoldPPO.rewards

    def broken(self: GoldPPO, scores: Any, *args: Any, **kwargs: Any) -> Any:
        return rewards(self, scores * float("nan"), *args, **kwargs)

    monkeypatch.setattr(GoldPPO, "rewards", broken)
    record = run(config("method=gold_ppo", "seed=9"), store, tmp_path)
    assert record.status == "diverged"
    assert "NaN" in (record.error or "") or "nan" in (record.error or "")
    assert read_record(tmp_path / "testbed" / record.run_id).status == "diverged"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("method=tokn_ppo", "did you mean 'token_ppo'"),
        ("suite=testbet", "did you mean 'testbed'"),
        ("evaluation.judge=gld", "did you mean 'gold'"),
        ("reward.los=eq4", "loss"),
        ("reward.loss=eq5", "eq3"),
    ],
)
def test_what_is_not_there_is_named_before_anything_runs(
    override: str, message: str, store: Store
) -> None:
    with pytest.raises(UserError, match=message):
        stages_of(config("method=token_ppo", override), store)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("lora.target_modules=[embed_tokens]", "is an embedding"),
        ("lora.target_modules=[q_proj, lm_head]", "shares its weight"),
        ("lora.target_modules=[q_proj, v_prj]", "did you mean 'v_proj'"),
        ("model.path=/no/such/model", "is no folder here"),
        ("ppo.max_new_tokens=250", "lower ppo.max_new_tokens, or cut .*prompt_max_tokens=6"),
        ("evaluation.max_new_tokens=250", "the (validation|test|unseen) split"),
        ("model.prompt_max_tokens=1", "the prompt template alone is longer"),
    ],
)
def test_a_model_that_cannot_run_is_refused_before_sft(
    override: str, message: str, tmp_path: Path
) -> None:
    settings, store = config("method=token_ppo", override), Store(tmp_path / "store")
    with pytest.raises(UserError, match=message):
        stages_of(settings, store)
    with pytest.raises(UserError, match=message):
        run(settings, store, tmp_path / "results")
    assert not list((tmp_path / "store").glob("*/*"))
    assert not (tmp_path / "results").exists()


def test_cut_prompts_and_dropped_demonstrations_are_counted(store: Store, tmp_path: Path) -> None:
    settings = config("method=sft", "model.prompt_max_tokens=12", "sft.max_length=40")
    record = run(settings, store, tmp_path)
    counts = {stage.name: stage.counts for stage in record.stages}
    assert 0 < counts["sft"]["dropped"] < 64
    assert counts["sft"]["cut_prompts"] > 0
    assert 0 < counts["outputs"]["cut_prompts"] <= 12


@pytest.mark.parametrize("full", [True, False])
def test_saved_adapters_load_in_plain_peft_on_the_base_that_they_name(
    full: bool, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The README's user: no GrainBench, two artifacts, and the numbers of the run."""
    settings = config("method=token_ppo", f"sft.full={full}", "sft.lr=0.01", "ppo.steps=2")
    record = run(settings, store, tmp_path)
    keys = {stage.name: stage.key for stage in record.stages}
    context = Context(settings, Testbed(), Progress(), tmp_path)
    backbone = load_sft(context, store.root / "sft" / keys["sft"])
    ids = torch.tensor([backbone.tokens.prompt("Name a town.")])
    monkeypatch.chdir(store.root)
    for folder in (f"reward_model/{keys['reward_model']}/adapter", f"ppo/{keys['ppo']}/policy"):
        settled = json.loads((store.root / folder / "adapter_config.json").read_text())
        assert settled["base_model_name_or_path"] == f"sft/{keys['sft']}/model"
        base = AutoModelForCausalLM.from_pretrained(settled["base_model_name_or_path"])
        plain = PeftModel.from_pretrained(base, folder)
        auto = AutoPeftModelForCausalLM.from_pretrained(folder)
        backbone.add_adapter("ours", folder=store.root / folder)
        with torch.no_grad(), backbone.using("ours") as model:
            expected = model(input_ids=ids).logits
            for loaded in (plain, auto):
                torch.testing.assert_close(loaded(input_ids=ids).logits, expected)
            with backbone.using(None) as reference:
                moved = not torch.allclose(reference(input_ids=ids).logits, expected, atol=1e-3)
        assert moved or folder.startswith("ppo")  # the best policy may be the one it began with


def test_a_given_sft_model_takes_the_place_of_one_that_is_trained(
    store: Store, tmp_path: Path
) -> None:
    """The same weights, the same numbers to the last bit; nothing of SFT's own is looked at."""
    trained = run(config("method=token_ppo"), store, tmp_path)
    keys = {stage.name: stage.key for stage in trained.stages}
    mine = tmp_path / "mine"
    shutil.copytree(store.root / "sft" / keys["sft"] / "model", mine)
    override, more = f"sft.path={mine}", "sft.demonstrations=1000000"  # the testbed has fewer
    settings = config("method=token_ppo", override, more, "model.path=/no/such/base")
    record = run(settings, store, tmp_path)
    assert record.metrics == trained.metrics
    (sft_stage,) = [stage for stage in record.stages if stage.name == "sft"]
    assert sft_stage.steps is None
    (planned,) = [s for s in stages_of(config("method=sft", override), store) if s.name == "sft"]
    assert (planned.key, planned.cached) == (sft_stage.key, True)
    (mine / "model.safetensors").write_bytes(b"others")
    (other,) = [s for s in stages_of(config("method=sft", override), store) if s.name == "sft"]
    assert (other.key != sft_stage.key, other.cached) == (True, False)


def test_an_adapter_is_no_sft_model(store: Store, tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(UserError, match=r"sft\.path=.*: the folder holds a PEFT adapter"):
        stages_of(config("method=sft", f"sft.path={tmp_path}"), store)


def test_an_interruption_is_written_down_and_never_over_a_finished_record(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = config("method=sft", "seed=5")
    monkeypatch.setattr(runner, "execute", _interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(settings, store, tmp_path)
    folder = tmp_path / "testbed" / run_id(settings)
    assert read_record(folder).status == "interrupted"
    monkeypatch.undo()
    assert run(settings, store, tmp_path).status == "ok"
    monkeypatch.setattr(runner, "execute", _interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(settings, store, tmp_path)
    assert read_record(folder).status == "ok"


def test_an_interruption_while_the_record_is_written_waits_for_it(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So ends a process whose peer was killed: its sums fail, then torch's agent sends SIGTERM."""
    settings = config("method=sft", "seed=7")
    write = recording.write_record

    def interrupted_write(record: Record, folder: Path) -> None:
        signal.raise_signal(signal.SIGINT)
        write(record, folder)

    monkeypatch.setattr(runner, "execute", _failing)
    monkeypatch.setattr(recording, "write_record", interrupted_write)
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        run(settings, store, tmp_path)
    assert read_record(tmp_path / "testbed" / run_id(settings)).status == "failed"
    assert signal.getsignal(signal.SIGINT) is before


def _failing(*arguments: Any) -> Any:
    raise RuntimeError("Connection closed by peer")


def _interrupted(*arguments: Any) -> Any:
    raise KeyboardInterrupt


def test_all_code_of_a_run_is_loaded_and_the_checkout_named_before_its_first_stage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where it was read at the end, an edit of the first minute ran and the record did not say."""
    settings = config("method=sft", "seed=6", "sft.steps=1")
    planned, _ = make_plan(settings)
    roots = planned.judgement.roots
    before = {"commit": "c" * 40, "dirty": False, "diff_sha": None}
    monkeypatch.setattr(recording, "code_state", lambda: before)
    monkeypatch.delitem(
        sys.modules, "bench.stages.judgement", raising=False
    )  # as in a fresh process

    def first_stage(*arguments: Any) -> Any:
        assert SOURCES.modules(roots).keys() <= sys.modules.keys()
        monkeypatch.setattr(recording, "code_state", lambda: {**before, "dirty": True})
        raise KeyboardInterrupt

    monkeypatch.setattr(runner, "execute", first_stage)
    with pytest.raises(KeyboardInterrupt):
        run(settings, Store(tmp_path / "store"), tmp_path)
    record = read_record(tmp_path / "testbed" / run_id(settings))
    assert record.code.model_dump(exclude={"method_sha"}) == before


def test_code_that_changes_while_a_run_goes_on_ends_it_and_keeps_what_is_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`bench/stages/outputs.py` is edited while SFT runs."""
    edited = False
    outputs = Path(runner.__file__).parents[1] / "stages" / "outputs.py"

    def read(file: Path) -> bytes:
        return file.read_bytes() + (b"X = 1\n" if edited and file == outputs else b"")

    build = sft.build_sft

    def building(*arguments: Any) -> Any:
        nonlocal edited
        edited = True
        return build(*arguments)

    monkeypatch.setattr(sft, "build_sft", building)
    for module in (pipeline, runner):
        monkeypatch.setattr(module, "SOURCES", Sources(read))
    store = Store(tmp_path / "store")
    with pytest.raises(UserError, match=r"outputs.py changed since the run began") as error:
        run(config("method=sft", "seed=6", "sft.steps=1"), store, tmp_path)
    assert error.value.exit_code == 1
    assert [path.name for path in store.root.glob("*/*/meta.json")] == ["meta.json"]
    (record,) = [read_record(path) for path in tmp_path.glob("testbed/*")]
    assert (record.status, [stage.name for stage in record.stages]) == ("failed", ["sft"])
    assert "outputs.py" in (record.error or "")
