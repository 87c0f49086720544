"""What a name on the Hugging Face hub stands for: a revision such as "main" moves, a commit not."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Literal

from bench.errors import UserError

TIMEOUT_S = 10.0
_COMMIT = re.compile(r"[0-9a-f]{40}")


class NotFetched(UserError):
    """Something of the hub is not in the cache and cannot be had now; a command can bring it."""


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

    @classmethod
    def model(cls, path: str) -> HubRepo | None:
        """The model that a field names as "ID" or "ID@REVISION"; None: it names a folder here."""
        if Path(path).exists():
            return None
        name, _, revision = path.partition("@")
        return cls(name, revision or None)


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
        raise NotFetched(
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
            repo.name, repo_type=repo.kind, revision=revision, timeout=TIMEOUT_S
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


def fetched(repo: HubRepo, file: str) -> Path:
    """A file of the repository at the commit that its revision stands for, downloaded once.

    Raises:
        UserError: it is not there (which says what is), access to it has to be asked for, or there
            is no network and it is not in the cache.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
    )

    where = f"the {repo.kind} {repo.name} on the hub"
    sha = commit(repo)
    try:
        return Path(hf_hub_download(repo.name, file, repo_type=repo.kind, revision=sha))
    except GatedRepoError as error:
        raise gated(where) from error
    except LocalEntryNotFoundError as error:
        listed = ", ".join(_cached_files(repo, sha)) or "none"
        raise NotFetched(
            f"{file} of {where} is not in the cache and cannot be downloaded now; of its files the "
            f"cache has {listed}"
        ) from error
    except EntryNotFoundError as error:
        raise UserError(
            f"{where} has no file {file}; it has {', '.join(_listed(repo, sha))}"
        ) from error
    except (HfHubHTTPError, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"cannot download {file} of {where}: {reason}") from error


def listed(repo: HubRepo) -> list[str] | None:
    """The names of all files of a repository; None: the hub cannot be asked."""
    try:
        return _listed(repo, commit(repo))
    except Exception:  # noqa: BLE001 - whatever the client's HTTP library raises, offline too
        return None


def files(repo: HubRepo) -> list[str]:
    """The same; where the hub cannot be asked, those that the cache has.

    Raises:
        UserError: its commit is not known.
    """
    sha, found = commit(repo), listed(repo)
    return _cached_files(repo, sha) if found is None else found


def gated(what: str) -> UserError:
    """What to say of a model or data set of the hub that is not open to everybody."""
    return UserError(
        f"{what} is gated: ask for access on its page of the hub, then log in (`hf auth login`) or "
        "set HF_TOKEN"
    )


def check_safetensors(
    what: str, files: Iterable[str], mend: str = "name another with model.path"
) -> None:
    """Refuse a model whose weights cannot be read without running what is in them.

    Args:
        what: the model, for the message.
        files: names of its files.
        mend: what a user can do.

    Raises:
        UserError: none of them is a safetensors file.
    """
    if not any(name.endswith(".safetensors") for name in files):
        raise UserError(
            f"{what} has no .safetensors: other formats of weights run code when they are read; "
            f"{mend}"
        )


def _listed(repo: HubRepo, sha: str) -> list[str]:
    from huggingface_hub import HfApi

    return HfApi().list_repo_files(repo.name, repo_type=repo.kind, revision=sha)


def _cached_files(repo: HubRepo, sha: str) -> list[str]:
    """Names of the files of a commit that are in the cache."""
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    name = repo_folder_name(repo_id=repo.name, repo_type=repo.kind)
    folder = Path(constants.HF_HUB_CACHE) / name / "snapshots" / sha
    return sorted(f.relative_to(folder).as_posix() for f in folder.rglob("*") if f.is_file())
