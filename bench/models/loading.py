"""Reading a base model and its tokenizer: whole, or its outline without weights.

A model from somewhere else is data, and is read as data: no Python of its folder is ever run, and
its weights are safetensors, since a pickle is a program, too.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from huggingface_hub.errors import GatedRepoError
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from bench.errors import UserError
from bench.hub import HubRepo, check_safetensors, gated, listed
from bench.models.stateful import check_cache

if TYPE_CHECKING:
    from bench.config.run import ModelConfig


def load_model(path: str, config: ModelConfig, dtype: torch.dtype) -> Any:
    """The causal language model of a folder or the hub.

    Raises:
        UserError: it cannot be loaded, or cannot be sampled from here.
    """
    check_weights(path, config)
    with _told(path):
        model = AutoModelForCausalLM.from_pretrained(
            path, dtype=dtype, use_safetensors=True, **_source(path, config)
        )
    check_cache(model)
    return model


def load_outline(path: str, config: ModelConfig) -> Any:
    """The same model on the device "meta": every layer, no weight; takes under a second.

    Raises:
        UserError: its configuration cannot be read, or it cannot be sampled from here.
    """
    with _told(path), torch.device("meta"):
        settings = AutoConfig.from_pretrained(path, **_source(path, config))
        model = AutoModelForCausalLM.from_config(settings, trust_remote_code=False)
    check_cache(model)
    return model


def load_tokenizer(path: str, config: ModelConfig) -> Any:
    """The tokenizer.

    Raises:
        UserError: it cannot be loaded.
    """
    with _told(path):
        return AutoTokenizer.from_pretrained(path, **_source(path, config))


def check_weights(path: str, config: ModelConfig) -> None:
    """Refuse a model that has no weights as safetensors, as far as that is known before loading.

    Raises:
        UserError: its folder has none, or the hub has none of it.
    """
    folder = Path(path)
    if folder.exists():
        names: list[str] | None = [file.name for file in folder.glob("*")]
    else:
        names = listed(HubRepo(path, config.revision))
    if names is not None:
        check_safetensors(f"the model {path}", names)


def _source(path: str, config: ModelConfig) -> dict[str, Any]:
    """Arguments of every `from_pretrained`.

    `trust_remote_code` is said everywhere: where it is not, the library asks at the terminal, and
    runs the code of whoever made the model if the answer is "y".
    """
    revision = {} if Path(path).exists() else {"revision": config.revision}
    return {"trust_remote_code": False, **revision}


@contextmanager
def _told(path: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:
        if isinstance(error.__cause__, GatedRepoError):
            raise gated(f"the model {path}") from error
        if "trust_remote_code" in str(error):
            raise UserError(
                f"the model {path} needs code of its own (auto_map in its files), which is never "
                "run: name a model of a family that transformers has with model.path"
            ) from error
        raise UserError(
            f"cannot load the model {path}: {str(error).splitlines()[0]} "
            "(model.path and sft.path take a folder, a hub id, a GGUF file or package:NAME)"
        ) from error
