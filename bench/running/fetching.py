"""What a configuration reads from the Hugging Face hub, listed and brought into the hub's cache."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import hub
from bench.errors import UserError
from bench.grid import Grid
from bench.plugins.capabilities import DataSuite

if TYPE_CHECKING:
    from bench.config.run import RunConfig

# Weights as safetensors only: other formats are pickles, which run code when they are read.
_MODEL_FILES = ("*.safetensors", "*.json", "*.model", "*.txt", "*.jinja")
# Whatever a suite may be asked for (`DataSuite.data_files`).
_PARTS = (
    *("demonstrations", "preference", "ppo", "validation", "test", "unseen", "references"),
    *("pairs", "edits", "spans", "prefer", "edit", "gold", "probes"),
)


def needed(config: RunConfig, suite: Any) -> list[hub.HubRepo]:
    """The repositories of the hub that a run of this configuration reads, each once.

    Raises:
        UserError: the suite cannot say what it reads.
    """
    path = config.model.path or suite.model_path
    sources: list[Any] = []
    if not Path(path).exists():
        sources.append(hub.HubRepo(path, config.model.revision, files=_MODEL_FILES))
    for part in _PARTS if isinstance(suite, DataSuite) else ():
        sources += suite.data_files(part)
    # One repository may give several parts, each of other files.
    files: dict[hub.HubRepo, list[tuple[str, ...]]] = {}
    for source in sources:
        if isinstance(source, hub.HubRepo):
            files.setdefault(source, []).append(source.files)
    return [
        replace(repo, files=tuple(sorted({*chain(*several)})) if all(several) else ())
        for repo, several in files.items()
    ]


def listed(config: RunConfig, suite: Any) -> list[hub.Listing]:
    """What the hub has of them; nothing is downloaded.

    Raises:
        UserError: as `bench.hub.listing`, or a model has no safetensors.
    """
    found = [hub.listing(repo) for repo in needed(config, suite)]
    for one in found:
        weights = any(name.endswith(".safetensors") for name in one.sizes)
        if one.repo.kind == "model" and not weights:
            raise UserError(
                f"the model {one.repo.name} on the hub has no .safetensors: other formats of "
                "weights run code when they are read; name another with model.path"
            )
    return found


def listing_grid(listings: Sequence[hub.Listing]) -> Grid:
    """Each repository with its commit, size and licence."""
    rows = [
        (
            f"{one.repo.kind} {one.repo.name}",
            one.commit[:12],
            str(len(one.sizes)),
            f"{one.size / 1e6:,.1f}",
            one.licence or "not said",
        )
        for one in listings
    ]
    total = sum(one.size for one in listings)
    note = f"{total / 1e9:.2f} GB in all; what the cache has already is not downloaded again."
    return Grid(
        "From the hub", ["repository", "commit", "files", "MB", "licence"], rows, notes=[note]
    )


def fetch(listings: Sequence[hub.Listing], say: Callable[[str], None]) -> None:
    """Bring them into the hub's cache.

    Raises:
        UserError: as `bench.hub.download`.
    """
    for one in listings:
        folder = hub.download(one)
        say(f"{one.repo.name}: {folder}")
