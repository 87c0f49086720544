"""The base model as a folder or a hub id; of what is built or converted, its place in the store."""

from __future__ import annotations

import hashlib
import json
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.errors import UserError
from bench.files import FileState
from bench.hub import HubRepo
from bench.models import gguf
from bench.pipeline.built import MODEL, NAME, Built
from bench.pipeline.sources import SOURCES

if TYPE_CHECKING:
    from bench.config.run import RunConfig
    from bench.pipeline.store import Store


def with_base(config: RunConfig, suite: Any, store: Store) -> RunConfig:
    """The configuration with a base that every stage can read; as it is, where it can already.

    Where an SFT model is given (`sft.path`), it becomes `model.path`: nothing trains on another
    base or reads one. That the field is set still says that it is no base to be trained.

    What a GGUF file is converted to is kept in the store, whole or not at all, under the hash of
    the file and of what converts it. It is no stage of the run: nothing can be checked or keyed
    before it is there, and a stage's key holds the hashes of the files that it came to.

    Raises:
        UserError: the file cannot be found or read, the store cannot be written, or a base that a
            command builds is not there.
    """
    if config.sft.path is not None:
        config = _with_given_sft(config, config.sft.path)
    path = config.model.path or suite.model_path
    if (built := Built.named(path)) is not None:
        return _at(built.folder(store), config)
    file = gguf.gguf_file(path)
    if file is None:
        return config
    reader = gguf.reader_version(path)
    key = _key(file, reader)
    if store.find(NAME, key) is None:
        with store.building(NAME, key) as build:
            if build.artifact is None:
                store.warn(
                    f"{path}: converting the GGUF file to safetensors, once; takes about half a "
                    f"minute for 100 MB ({store.root / NAME / key})"
                )
                gguf.convert(file, build.path / MODEL)
    return _at(store.root / NAME / key / MODEL, config)


def _at(folder: Path, config: RunConfig) -> RunConfig:
    model = config.model.model_copy(update={"path": str(folder)})
    return config.model_copy(update={"model": model})


def _with_given_sft(config: RunConfig, path: str) -> RunConfig:
    if Path(path, "adapter_config.json").exists():
        raise UserError(
            f"sft.path={path}: the folder holds a PEFT adapter; give a whole model, as PEFT's "
            "merge_and_unload makes it"
        )
    repo = HubRepo.model(path)
    named = {"path": path} if repo is None else {"path": repo.name, "revision": repo.revision}
    return config.model_copy(update={"model": config.model.model_copy(update=named)})


def _key(file: Path, reader: str) -> str:
    parts = {
        "file": FileState.of(file).sha,
        "packages": {"gguf": reader, "transformers": metadata.version("transformers")},
        "code": SOURCES.digest((gguf.__name__,)),
    }
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:20]
