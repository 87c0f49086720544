"""What a name on the Hugging Face hub stands for: a revision such as "main" moves, a commit not."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatch
from functools import cache
from pathlib import Path
from typing import Any, Literal

from bench.errors import UserError

_TIMEOUT_S = 10.0
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class HubRepo:
    """A model or a data set on the hub.

    Attributes:
        name: as "organisation/name".
        revision: branch, tag or commit; None: "main".
        kind: which of the two.
        files: names or patterns of the files that are read, as "data/*.json"; none: all. The commit
            stands for the whole repository, so they are no part of what it is.
    """

    name: str
    revision: str | None = None
    kind: Literal["model", "dataset"] = "model"
    files: tuple[str, ...] = field(default=(), compare=False)


@cache
def commit(repo: HubRepo) -> str:
    """The commit that the revision stands for, throughout this process.

    The hub says it; where it cannot be asked, the cache's `refs`, as when the files are loaded.

    Raises:
        UserError: neither of them knows.
    """
    revision = repo.revision or "main"
    if _COMMIT.fullmatch(revision):
        return revision
    found, reason = _asked(repo, revision)
    found = found or _cached(repo, revision)
    if found is None:
        raise UserError(
            f"{repo.name} is no folder here, and of the {repo.kind} on the hub revision {revision} "
            f"is not in the cache ({reason}): download it, or name another"
        )
    return found


def _asked(repo: HubRepo, revision: str) -> tuple[str | None, str]:
    """The commit by the hub, and why it is not known."""
    from huggingface_hub import HfApi, constants

    if constants.is_offline_mode():
        return None, "HF_HUB_OFFLINE is set"
    try:
        info = HfApi().repo_info(
            repo.name, repo_type=repo.kind, revision=revision, timeout=_TIMEOUT_S
        )
    except Exception as error:  # noqa: BLE001 - whatever the client's HTTP library raises
        return None, f"the hub does not say it: {' '.join(str(error).split())[:200]}"
    return info.sha, "the hub names no commit"


def _cached(repo: HubRepo, revision: str) -> str | None:
    """The commit by the cache: of its snapshot, whether all files are there or not."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        folder = snapshot_download(
            repo.name,
            repo_type=repo.kind,
            revision=revision,
            local_files_only=True,
            allow_patterns="no file of it",
        )
    except (HFValidationError, LocalEntryNotFoundError):
        return None
    return Path(folder).name


@dataclass(frozen=True)
class Listing:
    """What the hub has of a repository, of the files that are read.

    Attributes:
        repo: the repository.
        commit: that its revision stands for.
        licence: as its card says; "" if it does not.
        sizes: bytes of each file.
    """

    repo: HubRepo
    commit: str
    licence: str
    sizes: Mapping[str, int]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(self.sizes.values())


def listing(repo: HubRepo) -> Listing:
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
            timeout=_TIMEOUT_S,
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
def _answered(repo: HubRepo) -> Iterator[None]:
    """Say in one line why the hub does not give a repository."""
    from huggingface_hub import constants, errors

    if constants.is_offline_mode():
        raise UserError("HF_HUB_OFFLINE is set: unset it to fetch from the hub")
    what = f"the {repo.kind} {repo.name}"
    try:
        yield
    except errors.GatedRepoError as error:  # a kind of RepositoryNotFoundError
        raise UserError(
            f"{what} is gated: ask for access on its page of the hub, then log in "
            "(`hf auth login`) or set HF_TOKEN"
        ) from error
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
