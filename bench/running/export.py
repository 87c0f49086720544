"""A finished run's policy as a folder that others can load, and as a repository of the hub.

    adapter_config.json, adapter_model.safetensors   the policy, a plain PEFT adapter
    tokenizer files                                  the base's
    README.md                                        the model card
    record.json                                      the run's record, with numbers and no texts
    sft/                                             what the adapter stands on, if SFT made it

What a run made is found in the store by the keys in its record: of old code, too.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import hub
from bench.errors import UserError
from bench.files import write_atomically
from bench.grid import Grid
from bench.models.names import CONSTANTS
from bench.records.files import RECORD, Record, read_record
from bench.running.card import base_card, policy_card

if TYPE_CHECKING:
    from bench.pipeline.store import Store

SFT = "sft"  # the folder of the base, and the end of its repository's name
_ADAPTER = ("adapter_config.json", "adapter_model.safetensors")
_WEIGHTS = "*.safetensors*"  # and the index of those in several files


@dataclass(frozen=True)
class Export:
    """What is exported.

    Attributes:
        record: of the run.
        folder: the run's own.
        policy: folder of the adapter in the store.
        sft: folder of the model that it stands on, likewise.
        base: that model on the hub and its commit, where it is as it was there.
        granularity: of what the policy was paid; None: no reward model paid it.
    """

    record: Record
    folder: Path
    policy: Path
    sft: Path
    base: tuple[str, str] | None
    granularity: str | None


def find(folder: Path, store: Store) -> Export:
    """What of a run is exported, by its record and from the store.

    Raises:
        UserError: the run did not end well, trained no policy, or the store has it no more.
    """
    record = read_record(folder)
    if record.status != "ok":
        raise UserError(f"{record.run_id}: its status is {record.status}, there is no policy")
    keys = {stage.name: stage.key for stage in record.stages}
    if record.policy_stage is None:
        raise UserError(
            f"{record.run_id}: the method {record.method} trains no policy: its model is "
            f"{store.root / 'sft' / keys['sft'] / 'model'}"
        )
    found = {name: store.find(name, key) for name, key in keys.items()}
    sft, trained = found.get("sft"), found.get(record.policy_stage.name)
    if sft is None or trained is None:
        raise UserError(
            f"{record.run_id}: the store {store.root} does not have its stages: give the one in "
            "which they are with --store, or run it again (`python -m bench rerun RUN --store DIR`)"
        )
    reward = found.get("reward_model")
    granularity = None if reward is None else _json(reward.path / CONSTANTS)["granularity"]
    base = _on_the_hub(record)
    return Export(record, folder, trained.path / "policy", sft.path / "model", base, granularity)


def write(found: Export, out: Path, numbers: Grid, licence: str | None, repo: str | None) -> None:
    """Write the folder.

    PEFT finds a base by one name, which cannot be relative to the adapter: it is the hub's, or the
    folder's place as it is written. The card has no path of this machine.

    Args:
        found: what is exported.
        out: the folder; it is made, and must be empty if it is there.
        numbers: the run's metrics, for the card.
        licence: as the hub spells it; None: the card says that nobody said it.
        repo: the repository of the hub that it is for; None: none.

    Raises:
        UserError: it cannot be written, or holds something.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        if any(out.iterdir()):
            raise UserError(f"--out {out}: the folder is not empty; name another")
        if found.base is None:
            shutil.copytree(found.sft, out / SFT)
            write_atomically(out / SFT / "README.md", base_card(found.record, licence))
        # The tokenizer, and not the base's config.json: beside an adapter it would tell the
        # transformers library that the base's weights are here as well.
        shutil.copytree(found.sft, out, ignore=shutil.ignore_patterns(_WEIGHTS, "*config.json"),
                        dirs_exist_ok=True)  # fmt: skip
        shutil.copy(found.sft / "tokenizer_config.json", out)
        for name in _ADAPTER:
            shutil.copyfile(found.policy / name, out / name)
        shutil.copyfile(found.folder / RECORD, out / RECORD)
    except OSError as error:
        raise UserError(f"cannot write --out {out}: {error.strerror}", exit_code=1) from error
    local = str((out / SFT).resolve())
    sft, commit = found.base or (None if repo is None else f"{repo}-{SFT}", None)
    settings = _json(out / _ADAPTER[0])
    settings |= {"base_model_name_or_path": sft or local, "revision": commit}
    write_atomically(out / _ADAPTER[0], json.dumps(settings, indent=2) + "\n")
    write_atomically(out / "README.md", policy_card(found, numbers, licence, sft, repo))


def check_push(repo: str) -> None:
    """Find out before anything is written that nothing can be uploaded.

    Raises:
        UserError: the name is none of the hub's, the hub is not to be asked, or there is no token.
    """
    from huggingface_hub import constants, get_token
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils._validators import validate_repo_id

    try:
        validate_repo_id(f"{repo}-{SFT}")
    except HFValidationError as error:
        raise UserError(f"--push-to-hub {repo}: {' '.join(str(error).split())}") from error
    if constants.is_offline_mode():
        raise UserError("HF_HUB_OFFLINE is set: unset it to upload to the hub")
    if get_token() is None:
        raise UserError(
            f"--push-to-hub {repo}: there is no token of the hub: log in (`hf auth login`) or set "
            "HF_TOKEN to one that may write"
        )


def push(out: Path, repo: str, say: Callable[[str], None]) -> None:
    """Upload the folder, and its base as a repository of its own, which is there first.

    Raises:
        UserError: the hub does not let us, or cannot be reached.
    """
    from huggingface_hub import HfApi

    parts = {repo: out}
    if (out / SFT).is_dir():
        parts = {f"{repo}-{SFT}": out / SFT} | parts
    for name, folder in parts.items():
        with _answered(name):
            api = HfApi()
            api.create_repo(name, exist_ok=True)
            api.upload_folder(
                repo_id=name,
                folder_path=folder,
                ignore_patterns=f"{SFT}/*",
                commit_message="GrainBench export",
            )
        say(f"uploaded {name}")


@contextmanager
def _answered(repo: str) -> Iterator[None]:
    """Say in one line why the hub does not take a repository."""
    from huggingface_hub.errors import HfHubHTTPError

    try:
        yield
    except HfHubHTTPError as error:
        status = getattr(error.response, "status_code", None)
        if status == 401:
            why = "the hub does not know the token (401): log in again (`hf auth login`)"
        elif status == 403:
            why = f"the token may not write there (403): take one with write access to {repo}"
        else:
            why = " ".join(str(error).split())[:200]
        raise UserError(
            f"--push-to-hub {repo}: {why}; what was exported is kept", exit_code=1
        ) from error
    except Exception as error:  # whatever the client's HTTP library raises, an invalid card too
        why = " ".join(str(error).split())[:200]
        raise UserError(
            f"--push-to-hub {repo}: the hub cannot be reached, or did not take it: {why}; what was "
            "exported is kept",
            exit_code=1,
        ) from error


def _on_the_hub(record: Record) -> tuple[str, str] | None:
    """The base's id and commit where the adapter stands on it as it is on the hub."""
    sft, model = record.config.get("sft", {}), record.config.get("model", {})
    if (given := record.brought.get("sft")) is not None:
        repo = hub.HubRepo.model(sft["path"])
        return (repo.name, given.commit) if repo is not None and given.commit else None
    if sft.get("steps") == 0 and record.model_commit is not None:
        return model["path"], record.model_commit
    return None


def _json(file: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return found
