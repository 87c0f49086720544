"""How long a sequence may be, and that what is longer is refused in a line."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import (
    BloomConfig,
    Gemma3TextConfig,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    OPTConfig,
    Phi3Config,
)

from bench.data import Preference
from bench.errors import UserError
from bench.models.backbone import Backbone
from bench.models.context import batch_rope, context_length
from bench.models.layout import Padded
from bench.models.rollout import Sampling, sample
from bench.training.comparisons import tokenise
from tests.tiny import tiny_backbone

DYNAMIC = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0}
LENGTHS = {"max_position_embeddings": 256, "original_max_position_embeddings": 64}
LONG = {"rope_type": "longrope", "short_factor": [1.0] * 4, "long_factor": [4.0] * 4} | LENGTHS
SMALL: dict[str, Any] = {"hidden_size": 32, "num_attention_heads": 4, "num_hidden_layers": 2}


@pytest.mark.parametrize(
    ("config", "context", "rope"),
    [
        (LlamaConfig(max_position_embeddings=128), 128, None),
        (GPT2Config(n_positions=96), 96, None),
        (OPTConfig(max_position_embeddings=48), 48, None),
        (BloomConfig(), None, None),
        (Gemma3TextConfig(max_position_embeddings=80), 80, None),
        (LlamaConfig(max_position_embeddings=128, rope_parameters=DYNAMIC), 128, "dynamic"),
        (Phi3Config(**SMALL, **LENGTHS, rope_parameters=LONG), 64, "longrope"),
    ],
)
def test_the_context_is_what_the_configuration_says(
    config: Any, context: int | None, rope: str | None
) -> None:
    assert context_length(config) == context
    assert batch_rope(config) == rope


def test_behind_the_limit_a_dynamic_rope_changes_a_row_beside_a_long_one() -> None:
    """What the limit is for: 40 tokens beside 40 are what they were, beside 200 they are not."""
    torch.manual_seed(0)
    config = LlamaConfig(
        **SMALL, vocab_size=300, intermediate_size=64, max_position_embeddings=64,
        rope_parameters=DYNAMIC, initializer_range=0.2,
    )  # fmt: skip
    model = LlamaForCausalLM(config).eval()
    ids = torch.arange(40).unsqueeze(0)
    with torch.no_grad():
        alone = model(input_ids=ids).logits[0]
        for width, same in ((64, True), (200, False)):
            rows = torch.nn.functional.pad(ids, (0, width - 40)).repeat(2, 1)
            beside = model(input_ids=rows).logits[0, :40]
            assert torch.allclose(beside, alone, atol=1e-4) is same


@pytest.fixture(params=["rotary", "learned"])
def short(request: pytest.FixtureRequest) -> Backbone:
    """32 positions: a rotary embedding goes on behind them, a learned one has no row."""
    tokens = tiny_backbone().tokens
    if request.param == "rotary":
        config = tiny_backbone().model.config
        config.max_position_embeddings = 32
        return Backbone(LlamaForCausalLM(config), tokens, torch.device("cpu"))
    config = GPT2Config(vocab_size=1024, n_embd=32, n_layer=2, n_head=4, n_positions=32)
    return Backbone(GPT2LMHeadModel(config), tokens, torch.device("cpu"))


@pytest.mark.parametrize("packs", [True, False])
def test_a_sequence_beyond_the_context_is_refused(short: Backbone, packs: bool) -> None:
    if not packs:
        short.lay_out = Padded
    fits = short.tokens.join([[7] * 20, [7]], [[8] * 12, [8] * 31])
    assert fits.ids.shape[1] > 32  # padding takes no position
    assert torch.isfinite(short.logprobs(fits, None)).all()
    long = short.tokens.join([[7] * 20], [[8] * 13])
    for compute in (short.logprobs, short.hidden, short.logits):
        with pytest.raises(UserError, match=r"33 tokens does not fit .* 32 positions"):
            compute(long, None)


def test_a_rollout_that_may_leave_the_context_is_refused(short: Backbone) -> None:
    prompts = [[7] * 20, [7]]
    rng = torch.Generator()
    assert len(sample(short, None, prompts, Sampling(12), rng)) == 2
    with pytest.raises(UserError, match="33 tokens"):
        sample(short, None, prompts, Sampling(13), rng)


def test_what_is_scored_is_cut_to_the_context_as_in_training(short: Backbone) -> None:
    """It has not ended where it is cut, so no EOS stands there."""
    text = "The capital of Australia is Canberra, and its currency is the dollar. " * 3
    long, red = short.tokens.response(text), short.tokens.response("Red.")
    batch = short.batch_of([("Go.", long), ("Go.", red)])
    kept = 32 - len(short.tokens.prompt("Go."))
    assert batch.lengths.tolist() == [kept, len(red)]
    assert batch.responses[0].tolist() == long[:kept]
    pair = Preference(prompt="Go.", chosen=text, rejected="Red.")
    (group,), counts = tokenise(short.tokens, [pair], short.within(512))
    assert group.responses == [long[:kept], red]
    assert counts["truncated"] == 1
