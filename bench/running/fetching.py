"""What a configuration reads from the Hugging Face hub, listed and brought into the hub's cache."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import hub
from bench.errors import UserError
from bench.grid import Grid
from bench.models import gguf
from bench.pipeline.built import Built
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


@dataclass(frozen=True)
class Listing:
    """What the hub has of a repository, of the files that are read.

    Attributes:
        repo: the repository.
        commit: that its revision stands for.
        licence: as its card says; "" if it does not.
        sizes: bytes of each file.
    """

    repo: hub.HubRepo
    commit: str
    licence: str
    sizes: Mapping[str, int]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(self.sizes.values())


def needed(config: RunConfig, suite: Any) -> list[hub.HubRepo]:
    """The repositories of the hub that a run of this configuration reads, each once.

    Raises:
        UserError: the suite cannot say what it reads, or a package that is to bring the model is
            not installed.
    """
    base = _base(config, suite)
    reward = config.reward_model.path and hub.HubRepo.model(config.reward_model.path)
    sources: list[Any] = [replace(repo, files=_MODEL_FILES) for repo in (base, reward) if repo]
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


def _base(config: RunConfig, suite: Any) -> hub.HubRepo | None:
    """The base model, or the SFT model that takes its place; None: it is here."""
    path = config.sft.path or config.model.path or suite.model_path
    if gguf.gguf_file(path) is not None or Built.named(path) is not None:
        return None
    if config.sft.path is not None:
        return hub.HubRepo.model(path)
    return None if Path(path).exists() else hub.HubRepo(path, config.model.revision)


def listed(config: RunConfig, suite: Any) -> list[Listing]:
    """What the hub has of them; nothing is downloaded.

    Raises:
        UserError: as `listing`, or a model has no safetensors.
    """
    found = [listing(repo) for repo in needed(config, suite)]
    for one in found:
        if one.repo.kind == "model":
            hub.check_safetensors(f"the model {one.repo.name} on the hub", one.sizes)
    return found


def listing_grid(listings: Sequence[Listing]) -> Grid:
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


def fetch(listings: Sequence[Listing], say: Callable[[str], None]) -> None:
    """Bring them into the hub's cache.

    Raises:
        UserError: as `download`.
    """
    for one in listings:
        folder = download(one)
        say(f"{one.repo.name}: {folder}")


def listing(repo: hub.HubRepo) -> Listing:
    """Ask the hub what a repository holds; nothing is downloaded.

    Raises:
        UserError: the hub cannot be asked, has no such repository or revision, does not open it to
            whoever asks, or it has none of the files.
    """
    from huggingface_hub import HfApi

    with _answered(repo):
        info: Any = HfApi().repo_info(
            repo.name,
            repo_type=repo.kind,
            revision=repo.revision or "main",
            files_metadata=True,
            timeout=hub.TIMEOUT_S,
        )
    there: dict[str, int] = {file.rfilename: file.size or 0 for file in info.siblings or []}
    sizes = {
        name: size
        for name, size in there.items()
        if not repo.files or any(_matches(name, pattern) for pattern in repo.files)
    }
    named = {pattern for pattern in repo.files if not set(pattern) & set("*?[")}
    if missing := sorted(named - set(there)):
        raise UserError(
            f"the {repo.kind} {repo.name} on the hub has no file {' or '.join(missing)}; it has "
            f"{', '.join(sorted(there)[:12]) or 'none'}"
        )
    card = info.card_data
    licence = (getattr(card, "license_name", None) or card.license or "") if card else ""
    return Listing(repo, info.sha, str(licence), sizes)


def download(found: Listing) -> Path:
    """Bring the files of a listing into the hub's cache, if they are not there, and say where.

    Raises:
        UserError: as `listing`, or its revision stands for another commit by now.
    """
    from huggingface_hub import snapshot_download

    repo = found.repo
    with _answered(repo):
        # By its revision and not the commit: the cache then knows offline what the name stands for.
        folder = snapshot_download(
            repo.name,
            repo_type=repo.kind,
            revision=repo.revision or "main",
            allow_patterns=sorted(found.sizes),
        )
    if Path(folder).name != found.commit:
        raise UserError(
            f"{repo.name} changed on the hub while it was downloaded: run the same command again"
        )
    return Path(folder)


def _matches(name: str, pattern: str) -> bool:
    """Whether a file's name is of a pattern; "*" stays within a folder."""
    return fnmatch(name, pattern) and name.count("/") == pattern.count("/")


@contextmanager
def _answered(repo: hub.HubRepo) -> Iterator[None]:
    """Say in one line why the hub does not give a repository."""
    from huggingface_hub import constants, errors

    if constants.is_offline_mode():
        raise UserError("HF_HUB_OFFLINE is set: unset it to fetch from the hub")
    what = f"the {repo.kind} {repo.name}"
    try:
        yield
    except errors.GatedRepoError as error:  # a kind of RepositoryNotFoundError
        raise hub.gated(what) from error
    except errors.RevisionNotFoundError as error:
        raise UserError(f"{what} on the hub has no revision {repo.revision!r}") from error
    except (errors.RepositoryNotFoundError, errors.HFValidationError) as error:
        raise UserError(
            f"the hub has no {repo.kind} {repo.name}, or it is private: check its name, or log in "
            "(`hf auth login`)"
        ) from error
    except UserError:
        raise
    except Exception as error:  # whatever the client's HTTP library raises
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"the hub did not give {what}: {reason}; try again", exit_code=1) from error
