"""A file of a suite: here, or of a data set on the Hugging Face hub at the commit of its key."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from bench.errors import UserError
from bench.hub import HubRepo, fetched

# Whose licence says that no model may be trained on it.
NOT_FOR_TRAINING = {"llm-aggrefact": "lytang/LLM-AggreFact"}
_ENDINGS = (".json", ".jsonl", ".json.gz", ".jsonl.gz")


@dataclass(frozen=True)
class Source:
    """Where a table is.

    Attributes:
        file: a path; of a data set on the hub, the file's name in it.
        repo: the data set; None: the file is here.
        folder: where a relative path begins.
        measures: nothing is trained on it and no checkpoint is chosen by it, so that a licence
            which forbids training allows it.
    """

    file: str
    repo: HubRepo | None = None
    folder: Path = Path()
    measures: bool = False

    def __post_init__(self) -> None:
        if self.measures:
            return
        named = f"{self.repo.name if self.repo else ''}/{self.file}".lower()
        for part, data_set in NOT_FOR_TRAINING.items():
            if part in named:
                raise UserError(
                    f"{data_set}: its licence forbids training, and {self.file} would be trained "
                    "on, or choose a checkpoint: choose another data set; what only measures "
                    "(test and unseen prompts, references, spans, held-out pairs: tables of "
                    "their own in the suite jsonl) may be of it"
                )

    @property
    def read(self) -> Path | HubRepo:
        """What is read, for `DataSuite.data_files`."""
        if self.repo is not None:
            return replace(self.repo, files=(self.file,))
        return self.folder / self.file

    def path(self) -> Path:
        """The file on this machine, downloaded if need be.

        Raises:
            UserError: it is not there, which says what is.
        """
        if self.repo is not None:
            return fetched(self.repo, self.file)
        path = self.folder / self.file
        if path.is_file():
            return path
        there = sorted(p.name for p in path.parent.glob("*") if p.name.endswith(_ENDINGS))
        listed = ", ".join(there) or "no .json or .jsonl file"
        raise UserError(f"there is no file {path}; in its folder there is {listed}")


def hub_or_here(given: str | None, name: str, repo: HubRepo) -> Source:
    """The file that a user names instead of the one that a data set has; else that one."""
    if given is None:
        return Source(name, repo)
    # A name that is no path here may be another file of the data set.
    here = Path(given).exists() or Path(given).is_absolute() or given.startswith(".")
    return Source(given) if here else Source(given, repo)
