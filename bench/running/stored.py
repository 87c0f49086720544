"""What a finished run left in the store; and how it comes there, where it is not."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.errors import UserError
from bench.records.files import Record, read_record
from bench.running.plan import Plan, make_plan
from bench.running.rerun import config_of, recorded_config, run_command
from bench.stages.pairs import PREFERENCES

if TYPE_CHECKING:
    from typing import Any

    from bench.pipeline.stage import Stage
    from bench.pipeline.store import Artifact, Store


def pairs_file(folder: Path, store: Store) -> Path:
    """The file of a run's own pairs, `bench.data.Preference` a row: those of old code, too.

    Args:
        folder: of its record.
        store: which still has them.

    Raises:
        UserError: there is no record, the run made no pairs, or the store has them no more.
    """
    return file_of(read_record(folder), "preferences", PREFERENCES, "pairs", store)


def file_of(record: Record, stage: str, name: str, what: str, store: Store) -> Path:
    """A file that a stage of a run left, by the key in its record: of old code, too.

    Args:
        record: of the run.
        stage: that made it.
        name: the file's.
        what: is in it, for the message.
        store: which still has it.

    Raises:
        UserError: the run has no such stage, or the store has the file no more.
    """
    keys = [done.key for done in record.stages if done.name == stage]
    if not keys:
        raise UserError(f"{record.run_id}: this run made no {what}")
    found = store.find(stage, keys[0])
    file = None if found is None else found.path / name
    if file is None or not file.exists():
        raise UserError(
            f"{record.run_id}: the store {store.root} does not have its {what}: give the one in "
            "which they are with --store"
        )
    return file


@dataclass(frozen=True)
class FinishedRun:
    """A run as today's code would make it."""

    folder: Path
    record: Record
    plan: Plan
    suite: Any

    @classmethod
    def read(cls, folder: Path, store: Store) -> FinishedRun:
        """Of a record's folder.

        Raises:
            UserError: it cannot be read, or is none of today's.
        """
        record = read_record(folder)
        plan, suite = make_plan(recorded_config(record)[0], store)
        return cls(folder, record, plan, suite)

    def check_stored(self, needed: Iterable[Stage], store: Store) -> None:
        """Refuse to train here what belongs to the run.

        Raises:
            UserError: the store lacks some of it; says how it is made.
        """
        needed = list(needed)
        if gone := [s.name for s in needed if store.find(s.name, s.key) is None]:
            raise UserError(
                f"{self.record.run_id}: the store {store.root} does not have its "
                f"{', '.join(gone)} as today's code makes them: "
                f"{self._how_to_make({stage.name for stage in needed}, store)}"
            )

    def _how_to_make(self, names: set[str], store: Store) -> str:
        """What brings such stages into the store; `rerun` would end where the run ended."""
        record = self.record
        made = {stage.name for stage in record.stages}
        if record.status == "diverged":
            made -= {self.plan.policy.name}
        if record.status == "ok" or (record.status in ("partial", "diverged") and names <= made):
            return (
                "give the store in which they are with --store, or make them: "
                f"python -m bench rerun {self.folder} --store {store.root}"
            )
        if record.status == "diverged":
            return "it diverged and has no policy to measure, give a run that did not"
        results = self.folder.absolute().parent.parent
        command = run_command(config_of(record), store=store.root, results=results)
        ended = f"its status is {record.status}"
        if record.status == "partial":
            ended = f"it ended behind {record.until}"
        return f"{ended}, run it to its end: {command}"


def stored(stage: Stage, store: Store) -> Artifact:
    """A stage's artifact, which was checked to be there.

    Raises:
        UserError: somebody deleted it meanwhile.
    """
    found = store.find(stage.name, stage.key)
    if found is None:
        raise UserError(f"the store {store.root} no longer has the {stage.name} of the run")
    return found
