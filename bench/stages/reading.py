"""What a stage reads beside its inputs: data of the suite, the base model; and what names it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import hub
from bench.files import FileState
from bench.plugins.capabilities import DataSuite

if TYPE_CHECKING:
    from bench.config.run import RunConfig


@dataclass(frozen=True)
class Reads:
    """Something that is read.

    Attributes:
        key: what identifies it, JSON-able; empty where nothing is read.
        files: those of it that are files here, which may change while a run goes on.
    """

    key: Any
    files: Mapping[Path, FileState] = field(default_factory=dict)


def read_by_suite(suite: Any, part: str) -> Reads:
    """The data of a part of the suite (`bench.plugins.capabilities.DataSuite`), by content.

    Raises:
        UserError: a file cannot be read, or what is on the hub is not known.
    """
    key: list[str] = []
    files: dict[Path, FileState] = {}
    for source in suite.data_files(part) if isinstance(suite, DataSuite) else ():
        if isinstance(source, hub.HubRepo):
            key.append(hub.commit(source))
            continue
        for name, file in _named_files(source):
            files[file] = FileState.of(file)
            key.append(f"{name}{files[file].sha}")
    return Reads(key, files)


def read_base(config: RunConfig, suite: Any) -> Reads:
    """The base model: hashes of its files, or where on the hub it is."""
    path = config.model.path or suite.model_path
    folder = Path(path)
    found = [f for f in sorted(folder.glob("*")) if f.is_file()] if folder.is_dir() else []
    files = {file: FileState.of(file) for file in found}
    hashes = {file.name: state.sha for file, state in files.items()}
    return Reads(hashes or {"hub": path, "revision": str(config.model.revision)}, files)


def pinned(config: RunConfig, suite: Any) -> RunConfig:
    """The configuration with the commits that models' revisions stand for, if they are on the hub.

    Raises:
        UserError: one is not known.
    """
    path, reward = config.model.path or suite.model_path, config.reward_model.path
    if reward is not None and (repo := hub.HubRepo.model(reward)) is not None:
        named = {"path": f"{repo.name}@{hub.commit(repo)}"}
        given = config.reward_model.model_copy(update=named)
        config = config.model_copy(update={"reward_model": given})
    if Path(path).exists():
        return config
    revision = hub.commit(hub.HubRepo(path, config.model.revision))
    model = config.model.model_copy(update={"revision": revision})
    return config.model_copy(update={"model": model})


def _named_files(path: Path) -> Iterator[tuple[str, Path]]:
    """A file, whose name decides nothing, or all files of a folder, with their names in it."""
    if not path.is_dir():
        yield "", path
        return
    for file in sorted(path.rglob("*")):
        if file.is_file():
            yield f"{file.relative_to(path).as_posix()} ", file
