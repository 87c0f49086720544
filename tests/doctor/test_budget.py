"""Memory by stage: the parts by hand, what does not fit, and the setting that helps."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import LlamaConfig

from bench.config.loading import load_config
from bench.config.run import (
    LoRAConfig,
    ModelConfig,
    PPOConfig,
    RewardModelConfig,
    RunConfig,
    SFTConfig,
)
from bench.doctor.budget import (
    GIB,
    PARTS,
    STAGES,
    Counter,
    Lengths,
    Uncountable,
    refusal,
    remedy,
)
from bench.doctor.footprint import Footprint
from bench.models import processes
from bench.running.plan import make_plan
from tests.tiny import LORA, tiny_backbone

LENGTHS = Lengths(
    dict.fromkeys(("preference", "ppo", "validation", "test", "unseen"), 20), (20, 40)
)
CPU = torch.device("cpu")
SMALL = RunConfig(lora=LORA, ppo=PPOConfig(value_model="separate"))


def counter(config: RunConfig = SMALL, settings: Any = None, lengths: Lengths = LENGTHS) -> Counter:
    return Counter(config, settings or tiny_backbone().model.config, lengths, CPU)


def with_(config: RunConfig = SMALL, **sections: dict[str, Any]) -> RunConfig:
    changed = {
        name: getattr(config, name).model_copy(update=fields) for name, fields in sections.items()
    }
    return config.model_copy(update=changed)


def test_weights_are_counted_by_hand() -> None:
    """r (d_in + d_out) weights a LoRA layer; 16 bytes a weight for full SFT."""
    weights = tiny_backbone().model.num_parameters()
    an_adapter = 4 * (2 * 4 * (4 * 64 + 3 * 96))  # q, k, v, o are 32 x 32; the MLP's are 32 x 64
    full = counter(with_(sft={"full": True})).stage("sft").parts
    assert [full[part] for part in ("base", "gradients", "optimiser")] == [
        4 * weights, 4 * weights, 8 * weights,
    ]  # fmt: skip
    frozen = counter(with_(sft={"full": False})).stage("sft").parts
    assert [frozen[part] for part in ("base", "adapters", "gradients", "optimiser")] == [
        4 * weights, an_adapter, an_adapter, 2 * an_adapter,
    ]  # fmt: skip
    # Policy and value, the best copy of both, and the reward model; two of them learn.
    ppo = counter(with_(ppo={"batch_size": 1, "minibatch_size": 64})).stage("ppo")
    assert ppo.doing == "an update"
    assert ppo.parts["adapters"] == 5 * an_adapter
    assert ppo.parts["optimiser"] == 4 * an_adapter


@pytest.mark.parametrize(
    ("method", "models"),
    [("gold_ppo", 0), ("token_ppo", 1), ("rto", 2), ("fine_grained_rlhf", 3), ("best_of_n", 0)],
)
def test_every_model_that_pays_is_counted(method: str, models: int) -> None:
    planned, _ = make_plan(load_config(method=method))
    assert planned.paying == models
    one, all_ = (
        Counter(SMALL, tiny_backbone().model.config, LENGTHS, CPU, paying=n).stage("ppo")
        for n in (1, models)
    )
    an_adapter = one.parts["adapters"] / 5
    assert all_.parts["adapters"] == (4 + models) * an_adapter


def test_rollouts_of_a_server_take_no_memory_here() -> None:
    wide = {"batch_size": 4096, "minibatch_size": 1}
    for engine, largest in (("ours", "decoding"), ("vllm", "scoring")):
        assert counter(with_(ppo=wide | {"engine": engine})).stage("ppo").doing == largest


def test_every_stage_is_counted_by_parts() -> None:
    for name in STAGES:
        count = counter().stage(name)
        assert set(count.parts) <= set(PARTS)
        assert count.parts["base"] > 0
        assert count.parts["activations"] > 0
        assert len(count.cells) == len(PARTS) + 1


@pytest.mark.parametrize("stage", ["sft", "reward_model", "offline"])
def test_a_batch_of_4096_is_no_pass(stage: str) -> None:
    """And a micro-batch of it is: the same batch, in parts."""
    there = 20 * counter(with_(**{stage: {"batch_size": 1}})).stage(stage).total
    many = counter(with_(**{stage: {"batch_size": 4096}}))
    count = many.stage(stage)
    assert count.total > there
    said = refusal(many, [count], there)
    assert said is not None
    assert f"{stage} (a step) needs about" in said
    size = int(said.rpartition(f"{stage}.microbatch_size=")[2])
    fits = counter(with_(**{stage: {"batch_size": 4096, "microbatch_size": size}}))
    assert fits.stage(stage).total <= 0.8 * there
    more = counter(with_(**{stage: {"batch_size": 4096, "microbatch_size": 2 * size}}))
    assert more.stage(stage).total > 0.8 * there


def test_the_cache_is_at_fault_where_it_is() -> None:
    """A rollout of 4,096: the micro-batch is small already, and no smaller one would help."""
    wide = with_(ppo={"batch_size": 4096, "minibatch_size": 2, "max_new_tokens": 60})
    count = counter(wide).stage("ppo")
    assert count.doing == "decoding"
    said = remedy(counter(wide), "ppo", count.total / 8)
    assert said.startswith("set ppo.rollout_batch_size=")
    assert "microbatch" not in said
    narrow = with_(ppo={"batch_size": 8, "minibatch_size": 512, "max_new_tokens": 60})
    count = counter(narrow).stage("ppo")
    assert count.doing == "an update"
    said = remedy(counter(narrow), "ppo", count.total / 8)
    assert said.startswith("set ppo.microbatch_size=")
    assert "rollout" not in said


def test_a_split_that_is_not_asked_for_is_not_counted() -> None:
    """Nothing can be decoded from no prompts: the count would give up."""
    few = with_(evaluation={"validation_prompts": 0, "unseen_prompts": 0})
    lengths = Lengths(dict(LENGTHS.prompts) | {"validation": 0, "unseen": 0}, (20, 40))
    for name in ("ppo", "outputs"):
        count, usual = counter(few, lengths=lengths).stage(name), counter().stage(name)
        assert 0 < count.total <= usual.total


def test_what_nothing_helps_is_said() -> None:
    said = remedy(counter(with_(model={"dtype": "bfloat16"})), "outputs", 1000)
    assert said.startswith("nothing that could be set is enough")
    assert "smaller model.path" in said


def test_what_cannot_go_without_numbers_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where tokens are sent to experts by what they say."""

    def routed(*args: Any, **options: Any) -> float:
        raise NotImplementedError("aten::nonzero is not there on the device meta")

    monkeypatch.setattr(Footprint, "scoring", routed)
    with pytest.raises(Uncountable, match=r"a llama model needs its weights for that .aten::nonz"):
        counter().stage("judgement")


SEVEN = {
    "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32,
    "num_attention_heads": 32, "vocab_size": 32000, "max_position_embeddings": 2048,
}  # fmt: skip


def paper(**ppo: Any) -> RunConfig:
    """The paper's sizes: LoRA r 16, prompts of 192 tokens, responses of 300."""
    sizes = {"batch_size": 512, "minibatch_size": 256, "microbatch_size": 8, "max_new_tokens": 300}
    return RunConfig(
        model=ModelConfig(dtype="bfloat16"),
        lora=LoRAConfig(r=16),
        sft=SFTConfig(full=False, batch_size=128, microbatch_size=8, max_length=512),
        reward_model=RewardModelConfig(batch_size=16, microbatch_size=4),
        ppo=PPOConfig(**(sizes | ppo)),
    )


@pytest.mark.slow
def test_llama_7b_on_80_gb() -> None:
    """What the rollout's cache takes by hand, 0.52 MB a token; and what fits once it is cut."""
    lengths = Lengths(dict.fromkeys(LENGTHS.prompts, 192), (192, 300))
    settings = LlamaConfig(**SEVEN)
    at_once = counter(paper(), settings, lengths)
    count = at_once.stage("ppo")
    assert count.doing == "decoding"
    assert count.parts["cache"] == 512 * 492 * 2 * 32 * 4096 * 2  # 132 GB
    assert count.parts["base"] == pytest.approx(13.5e9, rel=0.01)
    said = refusal(at_once, [count], 80e9)
    assert said is not None
    assert "ppo.rollout_batch_size=128" in said
    cut = counter(paper(rollout_batch_size=64), settings, lengths)
    assert cut.stage("ppo").total < 80e9
    again = paper(rollout_batch_size=64)
    again = with_(again, model={"gradient_checkpointing": True})
    layers = counter(again, settings, lengths).stage("reward_model").parts["activations"]
    assert layers < 8 * GIB


def test_a_share_of_the_base_is_counted_where_processes_have_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(processes, "world", lambda: 4)
    whole, share = counter(), counter(with_(model={"shard": True}))
    assert whole.base == whole.foot.base == 4 * share.base
    assert share.stage("samples").parts["base"] == share.base
    full, full_share = (
        counter(with_(model={"shard": x}, sft={"full": True})) for x in (False, True)
    )
    for part in ("base", "gradients", "optimiser"):
        assert full.stage("sft").parts[part] == 4 * full_share.stage("sft").parts[part]
