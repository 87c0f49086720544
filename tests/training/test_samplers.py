"""Rollouts by a vLLM server: what is asked, what comes back, and what is said where it goes wrong.

The server is ours (`tests.training.engine`), never a real vLLM.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import debug_launcher
from pydantic import ValidationError

from bench import doctor
from bench.config.loading import load_config
from bench.config.run import PPOConfig, RunConfig
from bench.doctor.engine import GAP
from bench.doctor.subject import Subject
from bench.errors import UserError
from bench.models import processes
from bench.models.backbone import Backbone
from bench.models.names import POLICY
from bench.models.rollout import Draw, Sampling, draw_responses
from bench.pipeline.store import Store
from bench.records.labels import label
from bench.stages.planning import Stages
from bench.suites.testbed.suite import Testbed
from bench.training import samplers
from bench.training.ppo import PPO, engine_gap, new_value
from bench.training.samplers import VLLMSampler
from tests.tiny import LORA, random_rows, stir, stop_often, tiny_backbone
from tests.training.engine import DRAW, LOAD, UNLOAD, Engine, refusal

PROMPTS = random_rows(6)[0]
SAMPLING = Sampling(12, temperature=0.9)
Patch = pytest.MonkeyPatch


def base(seed: int = 0) -> Backbone:
    """The SFT model; some of its responses end before they are cut."""
    backbone = tiny_backbone(seed)
    stop_often(backbone, 3.8)
    return backbone


@pytest.fixture
def engine() -> Iterator[Engine]:
    with Engine(base()) as running:
        yield running


def policy() -> Backbone:
    backbone = base()
    backbone.add_adapter(POLICY, LORA)
    stir(backbone, POLICY)
    return backbone


def client(engine: Engine, folder: Path | None = None) -> VLLMSampler:
    return VLLMSampler(policy(), engine.url + "/", None if folder is None else str(folder))


def drawn_by(sampler: VLLMSampler, seed: int = 0) -> list[Draw]:
    return sampler.draw(PROMPTS, POLICY, SAMPLING, torch.Generator().manual_seed(seed))


def asked(engine: Engine) -> dict[tuple[int, ...], dict[str, Any]]:
    """The completions that were asked for by their prompt, which are all different here."""
    return {tuple(body["prompt"]): body for body in engine.bodies(DRAW)}


def test_ids_go_in_and_the_policys_responses_come_out(engine: Engine) -> None:
    sampler = client(engine)
    drawn = drawn_by(sampler)
    requests = asked(engine)
    ended = set()
    for prompt, response in zip(PROMPTS, drawn, strict=True):
        body = requests[tuple(prompt)]
        assert body["max_tokens"] == 12
        assert (body["temperature"], body["top_p"], body["top_k"]) == (0.9, 1.0, 0)
        assert body["stop_token_ids"] == sampler.backbone.tokens.eos_ids
        rng = torch.Generator().manual_seed(body["seed"])
        wanted = draw_responses(sampler.backbone, POLICY, [prompt], SAMPLING, rng)[0]
        assert response.ids == wanted.ids
        assert response.logprobs == pytest.approx(wanted.logprobs, abs=1e-4)
        assert response.entropies == response.values == []
        ended.add(response.ids[-1] in sampler.backbone.tokens.eos_ids)
    assert ended == {True, False}


def test_a_seed_makes_the_same_requests_and_every_row_has_its_own(engine: Engine) -> None:
    sampler, seeds = client(engine), []
    for seed in (0, 0, 1):
        drawn_by(sampler, seed)
        seeds.append({prompt: body["seed"] for prompt, body in asked(engine).items()})
        engine.requests.clear()
    assert seeds[0] == seeds[1] != seeds[2]
    assert len(set(seeds[0].values())) == len(PROMPTS)


def test_a_version_has_a_name_of_its_own_and_the_one_before_is_dropped(
    engine: Engine, tmp_path: Path
) -> None:
    sampler = client(engine, tmp_path)
    for seed in (2, 3):
        drawn_by(sampler)
        served = engine.loaded[-1]
        theirs = engine.backbone.parameters(served)
        for mine, other in zip(sampler.backbone.parameters(POLICY), theirs, strict=True):
            torch.testing.assert_close(mine, other)
        stir(sampler.backbone, POLICY, seed)
    names = [body["lora_name"] for body in engine.bodies(LOAD)]
    assert len(set(names)) == 2
    assert [body["lora_name"] for body in engine.bodies(UNLOAD)] == names[:1]
    assert engine.loaded == names[1:]
    assert [path.name.startswith(names[1]) for path in tmp_path.iterdir()] == [True]
    drawn_by(client(engine))
    assert engine.loaded[-1] not in names  # of another run
    del sampler
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("reason", ["named", "not named"])
def test_an_eos_that_is_left_away_is_put_back(engine: Engine, reason: str) -> None:
    whole = [response.ids for response in drawn_by(client(engine))]
    with_eos = lambda choice: choice["finish_reason"] == "stop"

    def cut(choice: dict[str, Any]) -> dict[str, Any]:
        given = {"stop_reason": choice["stop_reason"] if reason == "named" else None}
        ids = choice["token_ids"]
        return choice | given | {"token_ids": ids[:-1] if with_eos(choice) else ids}

    engine.change = cut
    assert [response.ids for response in drawn_by(client(engine))] == whole


def test_what_is_not_known_of_a_token_is_not_taken_for_a_gap(engine: Engine) -> None:
    engine.change = lambda choice: choice | {"logprobs": {"token_logprobs": [None, -1.0]}}
    drawn = drawn_by(client(engine))
    for response in drawn:
        assert len(response.logprobs) == len(response.ids)
        assert math.isnan(response.logprobs[0])
        assert response.logprobs[1:2] in ([-1.0], [])
    nan = float("nan")
    theirs = torch.tensor([[nan, -1.0, -2.0], [nan, nan, 0.0]])
    ours = torch.tensor([[-9.0, -1.5, -2.0], [-9.0, -9.0, -7.0]])
    mask = torch.tensor([[True, True, True], [True, True, False]])
    assert engine_gap(theirs, ours, mask) == {"engine_gap": pytest.approx(0.25)}
    assert engine_gap(torch.full((1, 2), nan), ours[:1, :2], mask[:1, :2]) == {}


def trainer(url: str, seed: int = 0, **changes: Any) -> PPO:
    """PPO of four steps whose rate is high enough that an old adapter shows."""
    backbone = base()
    options = {"steps": 4, "batch_size": 6, "minibatch_size": 3, "max_new_tokens": 12}
    options |= {"lr": 0.05, "value_warmup_steps": 1, "eval_every": 10, "temperature": 0.9}
    config = PPOConfig(engine="vllm", engine_url=url, **options | changes)
    value = new_value(backbone, LORA, None, seed, config)
    pay = lambda rollout: (rollout.batch.responses < 300).float() * rollout.batch.mask
    words = ["red", "blue", "green", "old", "new", "warm"]
    return PPO(backbone, words, pay, value, config, LORA, seed)


@pytest.mark.parametrize("value_model", ["separate", "shared"])
def test_a_run_draws_from_the_policy_as_it_is_at_every_step(
    engine: Engine, value_model: str
) -> None:
    """Old log-probabilities are our own; the engine's differ by rounding, step for step."""
    ppo = trainer(engine.url, value_model=value_model)
    start = [p.detach().clone() for p in ppo.backbone.parameters(POLICY)]
    rows: list[dict[str, float]] = []
    ppo.run(dict, rows.append)
    assert [row["engine_gap"] < 1e-4 for row in rows[1:]] == [True] * 4
    assert all(row["entropy"] > 0.1 for row in rows[1:])
    assert not ppo.keeps_logprobs
    pairs = zip(start, ppo.backbone.parameters(POLICY), strict=True)
    assert max((old - new).abs().max() for old, new in pairs) > 0.01
    assert len(engine.bodies(LOAD)) == 5  # the value's warm-up is a rollout too


def test_old_logprobs_are_those_of_our_own_pass(engine: Engine) -> None:
    """Half a nat on the engine's is in the gap, and in no number that is learned from."""
    found = []
    for shift in (0.0, 0.5):
        engine.change = lambda choice, shift=shift: (
            choice
            | {
                "logprobs": {
                    "token_logprobs": [x - shift for x in choice["logprobs"]["token_logprobs"]]
                }
            }
        )
        ppo = trainer(engine.url)
        experience, metrics = ppo.experience(ppo.rollout(), 0.1)
        found.append((experience.logprobs, metrics.pop("engine_gap"), metrics))
    assert torch.equal(found[0][0], found[1][0])
    assert found[1][1] == pytest.approx(0.5, abs=1e-3)
    assert found[0][2] == found[1][2]


def test_an_old_adapter_is_a_gap(engine: Engine, monkeypatch: Patch) -> None:
    """As of a client that would use a name twice: the server's cache has the first version's."""
    ppo = trainer(engine.url)
    ppo.rollout()
    stir(ppo.backbone, POLICY)
    fresh = ppo.experience(ppo.rollout(), 0.1)[1]["engine_gap"]
    monkeypatch.setattr(ppo.sampler, "_versions", 0)
    stale = ppo.experience(ppo.rollout(), 0.1)[1]["engine_gap"]
    assert fresh < 1e-4 < 10 * GAP[torch.float32] < stale


def test_the_entropy_is_that_of_the_drawn_tokens() -> None:
    """A mean of -log pi over draws; over many of them it is the mean entropy."""
    ppo = trainer("http://127.0.0.1:9", batch_size=96)
    ppo.config = ppo.config.model_copy(update={"engine": "ours"})
    ppo.sampler = samplers.OwnSampler(ppo.backbone)
    rollout = ppo.rollout()
    exact, estimated = (
        ppo.experience(known, 0.1)[1]["entropy"]
        for known in (rollout, replace(rollout, entropies=None))
    )
    assert estimated != exact
    assert estimated == pytest.approx(exact, rel=0.1)


def always(path: str, reply: Any) -> Callable[[str, int], Any]:
    return lambda asked, n: reply if asked == path else None


FLAGS = r"VLLM_ALLOW_RUNTIME_LORA_UPDATING=True .* --enable-lora --max-lora-rank 4 \(or more\)"
FAULTS = {
    "no route": (always(LOAD, (404, {"detail": "Not Found"})), rf"404 .*Not Found.*needs {FLAGS}"),
    "no LoRA": (always(LOAD, refusal(400, "LoRA is not enabled")), rf"LoRA is not.*{FLAGS}"),
    "no folder": (
        always(LOAD, refusal(404, "Loading lora x failed: No adapter found for /there")),
        r"to see the folder .*ppo\.engine_folder",
    ),
    "gone": (always(DRAW, refusal(404, "The model `x` does not exist.")), r"does not know .*again"),
    "refused": (always(DRAW, refusal(400, "too\nlong")), r"refused to draw \(400 too long\)"),
    "crashed": (always(DRAW, (500, "Internal Server Error")), r"\(500 Internal Server Error\)"),
    "no JSON": (always(DRAW, (200, "<html>")), r"without choices.*<html>"),
    "no choice": (always(DRAW, (200, {"choices": []})), r"without choices\[0\]\.token_ids"),
    "a list": (always(DRAW, (200, [])), r"without choices\[0\]\.token_ids"),
    "slow": (always(DRAW, 3.0), "no answer to /v1/completions in 1 s"),
    "cut": (always(DRAW, "cut"), r"no vLLM server can be reached .*docs/training\.md"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_one_clear_line(engine: Engine, monkeypatch: Patch, fault: str) -> None:
    monkeypatch.setattr(samplers, "PAUSE_S", 0.0)
    if fault == "slow":
        monkeypatch.setattr(samplers, "PATIENCE_S", 1.0)
    engine.faults, message = FAULTS[fault]
    with pytest.raises(UserError, match=message) as error:
        drawn_by(client(engine))
    assert "\n" not in str(error.value)
    assert str(error.value).startswith(f"ppo.engine_url={engine.url}: ")


CHOICES = {
    "no ids": ({"token_ids": None}, "return_token_ids"),
    "outside": ({"token_ids": [5, 10**6]}, r"has the id 1000000 and the tokenizer \d+ ids"),
    "negative": ({"token_ids": [-1]}, "has the id -1"),
    "empty": ({"token_ids": []}, "cut off after 0 of 12 .*max-model-len"),
    "aborted": ({"token_ids": [], "finish_reason": "abort"}, "0 tokens that ended by 'abort'"),
    "context": ({"token_ids": [5, 6]}, "cut off after 2 of 12 tokens"),
    "too long": ({"token_ids": [5] * 13}, "13 tokens that ended by 'length'"),
    "its own stop": (
        {"token_ids": [5, 6], "finish_reason": "stop", "stop_reason": 6},
        "stopped at 6, which ends none here: .*--generation-config vllm",
    ),
}


@pytest.mark.parametrize("case", CHOICES)
def test_a_response_that_cannot_be_trained_on_is_refused(engine: Engine, case: str) -> None:
    change, message = CHOICES[case]
    engine.change = lambda choice: choice | {"finish_reason": "length"} | change
    with pytest.raises(UserError, match=message):
        drawn_by(client(engine))


def test_a_rank_that_the_server_has_no_room_for() -> None:
    with Engine(base(), max_rank=2) as engine, pytest.raises(UserError, match=f"rank 4.*{FLAGS}"):
        drawn_by(client(engine))


def test_nobody_listens_or_nobody_may_write(engine: Engine, monkeypatch: Patch) -> None:
    monkeypatch.setattr(samplers, "PAUSE_S", 0.0)
    with pytest.raises(UserError, match=r"engine_folder=/not/there: .*cannot be written"):
        drawn_by(client(engine, Path("/not/there")))
    sampler = client(engine)
    sampler.url = "http://127.0.0.1:9"
    sampler.backbone.model.get_base_model().name_or_path = "sft/key/model"
    with pytest.raises(UserError, match=r"ConnectError.* model sft/key/model of the store"):
        drawn_by(sampler)


def test_a_connection_that_fails_now_and_then_changes_nothing(
    engine: Engine, monkeypatch: Patch
) -> None:
    """Also where the server has acted and its answer was lost: the adapter is there already."""
    monkeypatch.setattr(samplers, "PAUSE_S", 0.0)
    whole = drawn_by(client(engine))
    for fault in ("cut", "lost"):
        engine.faults = lambda path, n, fault=fault: fault if n % 3 == 1 else None
        engine._counts.clear()
        assert drawn_by(client(engine)) == whole


def test_requests_are_under_way_together_and_not_all_of_them(engine: Engine) -> None:
    engine.faults = always(DRAW, 0.05)
    two = Sampling(2, batch_size=2)
    client(engine).draw(PROMPTS, POLICY, two, torch.Generator())
    assert engine.most_at_once == 2


def work(out: str, url: str) -> None:
    torch.set_num_threads(1)
    processes.join()
    sampler = VLLMSampler(policy(), url, None)
    rng = torch.Generator().manual_seed(0)
    found = [sampler.draw(PROMPTS, POLICY, SAMPLING, rng) for _ in range(2)]
    kept = [[draw.ids for draw in drawn] for drawn in found], rng.get_state()
    torch.save(kept, Path(out) / f"{processes._here.rank}.pt")


@pytest.mark.slow
def test_of_several_processes_one_asks_and_all_have_it(engine: Engine, tmp_path: Path) -> None:
    debug_launcher(work, (str(tmp_path), engine.url), num_processes=2)
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    assert first[0] == second[0]
    assert torch.equal(first[1], second[1])
    assert len(engine.bodies(LOAD)) == 2
    assert len(engine.bodies(DRAW)) == 2 * len(PROMPTS)


def test_an_engine_is_in_the_key_and_its_address_is_not() -> None:
    usual = load_config("testbed")
    assert not {"engine", "engine_url", "engine_folder"} & usual.ppo.result_fields().keys()
    engines = [
        load_config("testbed", ["ppo.engine=vllm", f"ppo.engine_url={url}", *more])
        for url, more in (
            ("http://127.0.0.1:8000", ()),
            ("http://localhost:8001", ("ppo.engine_folder=/shared",)),
        )
    ]
    for config in engines:
        assert config.ppo.result_fields() == usual.ppo.result_fields() | {"engine": "vllm"}
        assert label(config) == "token_ppo ppo.engine=vllm"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "engine=vllm needs engine_url, as http://127.0.0.1:8000"),
        ({"engine_url": "127.0.0.1:8000"}, "engine_url"),
        (
            {"engine_url": "http://127.0.0.1:8000", "rollout_logprobs": "generation"},
            "set it to auto or forward",
        ),
    ],
)
def test_an_engine_that_cannot_be_asked_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=re.escape(message)):
        PPOConfig(engine="vllm", **given)


def examined(config: RunConfig, store: Path) -> dict[str, doctor.Finding]:
    """What the doctor says of the engine, if anything, with the other checks left out."""
    others = doctor.checks(store).keys() - {"engine"}
    whom = Subject(config, tiny_backbone(), Testbed())
    found = doctor.examine(whom, store, lambda _: None, without=others)
    return {finding.name: finding for finding in found}


def run_config(url: str, **changes: Any) -> RunConfig:
    options = PPOConfig(engine="vllm", engine_url=url, max_new_tokens=8, **changes)
    return RunConfig(lora=LORA, ppo=options)


def test_the_doctor_holds_the_engine_against_our_own_model(tmp_path: Path) -> None:
    with Engine(tiny_backbone()) as same, Engine(tiny_backbone(seed=1)) as other:
        assert examined(run_config(same.url), tmp_path)["engine"].status == "pass"
        finding = examined(run_config(other.url), tmp_path)["engine"]
        assert finding.status == "FAIL"
        assert "--logprobs-mode" in finding.remedy
        same.change = lambda choice: choice | {"token_ids": [10**6]}
        assert "has the id 1000000" in examined(run_config(same.url), tmp_path)["engine"].measured
        same.change = lambda choice: choice | {"logprobs": None}
        assert examined(run_config(same.url), tmp_path)["engine"].status == "warn"
    assert examined(RunConfig(lora=LORA), tmp_path) == {}


def test_the_doctors_other_checks_do_not_ask_the_engine() -> None:
    with Engine(tiny_backbone()) as engine:
        whom = Subject(run_config(engine.url), tiny_backbone(), Testbed())
        whom.trainer().rollout()
        assert not engine.requests


def test_the_doctor_takes_the_sft_model_where_the_store_has_it(
    tmp_path: Path, monkeypatch: Patch
) -> None:
    """The server has that model, and not the base that SFT starts from."""
    loaded: list[str] = []
    load = lambda cls, path, *rest: loaded.append(path) or tiny_backbone()
    monkeypatch.setattr(Backbone, "load", classmethod(load))
    address = "ppo.engine_url=http://127.0.0.1:9"
    config, store = load_config("testbed", ["ppo.engine=vllm", address]), Store(tmp_path)
    doctor.load_subject(config, store)
    stage = Stages(config, Testbed()).sft()
    with store.building(stage.name, stage.key) as build:
        (build.path / "model").mkdir()
        (build.path / "model" / "config.json").write_text("{}")
    doctor.load_subject(config, store)
    doctor.load_subject(load_config("testbed"), store)
    base = str(Testbed.model_path)
    assert [str(path) for path in loaded] == [
        base,
        str(tmp_path / "sft" / stage.key / "model"),
        base,
    ]
