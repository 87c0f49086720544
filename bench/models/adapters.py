"""Putting a LoRA adapter on a model: which layers may carry one, and which weights are its own."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn

from bench.errors import UserError, unknown

if TYPE_CHECKING:
    from bench.config.run import LoRAConfig

FIELD = "lora.target_modules"
BYPASSED = ("dt_proj",)  # Mamba mixers (Jamba's too) multiply by its weight and never call it


def attach(model: Any, name: str, lora: LoRAConfig, *, outline: bool = False) -> PeftModel:
    """Put a new adapter on a bare model, or beside those of a PEFT model; its output is 0.

    Args:
        model: a causal language model.
        name: of the adapter.
        lora: its shape, and the layers that carry it.
        outline: the model is on the device "meta": so is the adapter, and nothing is computed.

    Raises:
        UserError: `lora.target_modules` names what the model lacks or cannot be trained here.
    """
    _refuse_embeddings(model, lora)
    config = LoraConfig(
        r=lora.r,
        lora_alpha=lora.alpha,
        lora_dropout=0.0,  # rollouts and updates must see the same policy
        target_modules=lora.target_modules,
        task_type="CAUSAL_LM",
    )
    try:
        if isinstance(model, PeftModel):
            model.add_adapter(name, config, low_cpu_mem_usage=outline)
        else:
            model = get_peft_model(model, config, adapter_name=name, low_cpu_mem_usage=outline)
    except ValueError as error:
        what = re.sub(r"\(\n.*\n\)", "", str(error), flags=re.DOTALL)  # a whole module's repr
        raise UserError(
            f"{FIELD}: {' '.join(what.split())[:200]}; its linear layers: "
            f"{', '.join(sorted(_linear_layers(model)))}"
        ) from error
    _refuse_bypassed(model, name)
    _refuse_missing(model, name, lora)
    if not adapter_parameters(model, name):
        raise UserError(f"{FIELD}={lora.target_modules}: no weight of the model would be trained")
    return model


def adapter_parameters(model: nn.Module, name: str) -> list[nn.Parameter]:
    """The weights of adapter `name`."""
    ours = (f"lora_A.{name}.", f"lora_B.{name}.")
    return [p for n, p in model.named_parameters() if any(part in n for part in ours)]


def _matches(path: str, target: str) -> bool:
    """Whether PEFT takes the module at `path` for `target`."""
    return path == target or path.endswith(f".{target}")


def _refuse_embeddings(model: Any, lora: LoRAConfig) -> None:
    """An embedding's adapter is no low-rank product of activations; a tied head's is two at once.

    PEFT names the former's weights otherwise (`lora_embedding_A`) and merges it otherwise; merging
    the latter would change the input embedding as well.
    """
    if isinstance(lora.target_modules, str):  # "all-linear" takes neither
        return
    base = model.get_base_model() if isinstance(model, PeftModel) else model
    embedding, head = base.get_input_embeddings(), base.get_output_embeddings()
    for path, module in base.named_modules():
        if not any(_matches(path, target) for target in lora.target_modules):
            continue
        if isinstance(module, nn.Embedding):
            raise UserError(f"{FIELD}: {path} is an embedding; adapters go on linear layers only")
        if module is head and head.weight is embedding.weight:
            raise UserError(
                f"{FIELD}: {path} shares its weight with the input embedding "
                "(tie_word_embeddings), which merging the adapter would change too; leave it out"
            )


def _refuse_bypassed(model: PeftModel, name: str) -> None:
    """An adapter on a layer that is never called changes nothing until it is merged."""
    for path, module in model.named_modules():
        if name in getattr(module, "lora_A", ()) and path.endswith(BYPASSED):
            others = sorted(_linear_layers(model) - set(BYPASSED))
            raise UserError(
                f"{FIELD}: the model reads the weight of {path.rpartition('.')[2]} around its "
                f"adapter; name the other layers: {', '.join(others)}"
            )


def _refuse_missing(model: PeftModel, name: str, lora: LoRAConfig) -> None:
    """Every name that was given must have found a layer; PEFT minds only if none did."""
    if isinstance(lora.target_modules, str):
        return
    found = [
        path for path, module in model.named_modules() if name in getattr(module, "lora_A", ())
    ]
    # PEFT takes a name off its list where it stands for a part of fused experts.
    asked = model.peft_config[name].target_modules & set(lora.target_modules)
    for target in sorted(asked):
        if not any(_matches(path, target) for path in found):
            raise UserError(f"{FIELD}: {unknown('layer', target, _linear_layers(model))}")


def _linear_layers(model: nn.Module) -> set[str]:
    """The last part of each linear layer's name, the head and PEFT's own layers left out."""
    kinds = ("Linear", "Conv1D")  # transformers' Conv1D is GPT-2's linear layer
    return {
        part
        for path, module in model.named_modules()
        if type(module).__name__ in kinds and "lora_" not in path
        for part in [path.removesuffix(".base_layer").rpartition(".")[2]]
        if part != "lm_head"
    }
