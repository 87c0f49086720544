"""Which kernels attention takes: for packed bfloat16 FlashAttention's, and nowhere the reference.

PyTorch's reference kernel ("math") is what remains where no fast one takes the mask, the precision
or keys with fewer heads than the queries. It is correct and says nothing, so it is forbidden here.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import LlamaForCausalLM

from bench.doctor.findings import tolerance
from bench.models.backbone import Backbone
from bench.models.layout import LayOut, Padded
from bench.models.names import POLICY
from bench.models.rollout import Sampling, draw_responses
from bench.models.tokens import Tokens
from benchmarks.gpu.sections import Row, held
from benchmarks.gpu.setting import Setting
from benchmarks.work import LORA, Work, llama_config, prompts, word_tokenizer

FAST = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.CUDNN_ATTENTION]
# Heads as wide as LLaMA-7B's. Some prompts are shared and lengths differ, as in a real batch.
WORK = Work(hidden=512, layers=2, heads=4, ffn=512, vocabulary=512, prompts=6, response_tokens=9)
GROUPS = 2  # query heads to one head of keys


def attention(setting: Setting) -> Iterator[Row]:
    """Grouped queries, forward, backward and decoding, in both precisions."""
    for dtype in (torch.bfloat16, torch.float32):
        backbone = _grouped(setting.device, dtype)
        name = str(dtype).removeprefix("torch.")
        own = backbone.lay_out
        kernel = own.keywords["kernel"].__name__ if isinstance(own, partial) else "padded"
        wanted = "Rows"
        if setting.device.type == "cuda" and dtype == torch.bfloat16:
            wanted = "Varlen"
        yield held(f"kernel of packed batches, {name}", kernel, wanted, kernel == wanted)
        ways: dict[str, LayOut] = {"packed": own, "padded": Padded}
        gradients = []
        for way, lay_out in ways.items():
            backbone.lay_out = lay_out
            yield _without_math(f"{way} forward and backward, {name}", partial(_learn, backbone))
            _learn(backbone)  # once more, if the reference kernel was needed
            gradients.append(_gradients(backbone))
        apart = float((gradients[0] - gradients[1]).norm() / gradients[1].norm())
        most = tolerance(dtype).relative
        yield held(
            f"gradients, packed against padded, {name}",
            f"{apart:.1e} of their norm",
            f"≤ {most:g}",
            apart <= most,
            relative=apart,
        )
        yield _without_math(f"decoding, {name}", partial(_decode, backbone))


def _grouped(device: torch.device, dtype: torch.dtype) -> Backbone:
    torch.manual_seed(0)
    settings = llama_config(WORK)
    settings.num_key_value_heads = WORK.heads // GROUPS
    model = LlamaForCausalLM(settings).to(dtype)
    backbone = Backbone(model, Tokens(word_tokenizer(WORK), "{prompt}"), device)
    backbone.add_adapter(POLICY, LORA)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():  # an adapter that is 0 has half of its gradients 0
        for weight in backbone.parameters(POLICY):
            weight.copy_(torch.randn(weight.shape, generator=generator) * 0.05)
    return backbone


def _learn(backbone: Backbone) -> None:
    ids = [backbone.tokens.prompt(text) for text in prompts(WORK)]
    responses = [[5 + i] * (3 + i) for i in range(len(ids))]
    batch = backbone.tokens.join([*ids[:-1], ids[0]], responses).to(backbone.device)
    for weight in backbone.parameters(POLICY):
        weight.grad = None
    backbone.logprobs(batch, POLICY).sum().backward()


def _gradients(backbone: Backbone) -> torch.Tensor:
    """The adapter's gradients, end to end."""
    weights = backbone.parameters(POLICY)
    return torch.cat([w.grad.float().flatten() for w in weights if w.grad is not None])


def _decode(backbone: Backbone) -> None:
    ids = [backbone.tokens.prompt(text) for text in prompts(WORK)]
    generator = torch.Generator().manual_seed(0)
    draw_responses(backbone, POLICY, ids, Sampling(WORK.response_tokens), generator)


def _without_math(what: str, work: partial[None]) -> Row:
    goal = "never the reference kernel"
    try:
        with sdpa_kernel(FAST):
            work()
    except RuntimeError as error:
        return held(what, " ".join(str(error).split())[:200], goal, ok=False)
    return held(what, "fast kernels alone", goal, ok=True)
