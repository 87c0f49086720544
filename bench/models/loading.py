"""Reading a base model and its tokenizer: whole, or its outline without weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from bench.errors import UserError
from bench.models.stateful import check_cache

if TYPE_CHECKING:
    from bench.config.run import ModelConfig


def load_model(path: str, config: ModelConfig, dtype: torch.dtype) -> Any:
    """The causal language model of a folder or the hub.

    Raises:
        UserError: it cannot be loaded, or cannot be sampled from here.
    """
    with _told(path):
        model = AutoModelForCausalLM.from_pretrained(path, dtype=dtype, **_revision(path, config))
    check_cache(model)
    return model


def load_outline(path: str, config: ModelConfig) -> Any:
    """The same model on the device "meta": every layer, no weight; takes under a second.

    Raises:
        UserError: its configuration cannot be read, or it cannot be sampled from here.
    """
    with _told(path), torch.device("meta"):
        settings = AutoConfig.from_pretrained(path, **_revision(path, config))
        model = AutoModelForCausalLM.from_config(settings)
    check_cache(model)
    return model


def load_tokenizer(path: str, config: ModelConfig) -> Any:
    """The tokenizer.

    Raises:
        UserError: it cannot be loaded.
    """
    with _told(path):
        return AutoTokenizer.from_pretrained(path, **_revision(path, config))


def _revision(path: str, config: ModelConfig) -> dict[str, Any]:
    return {} if Path(path).exists() else {"revision": config.revision}


@contextmanager
def _told(path: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:
        raise UserError(
            f"cannot load the model {path}: {str(error).splitlines()[0]} "
            "(model.path and sft.path take a folder, a hub id, a GGUF file or package:NAME)"
        ) from error
