"""Curves for experiment trackers, while they grow: `run --track`, through accelerate's classes.

A run of the harness is one run of a tracker, by the name of the record's folder. The stage's name
stands before each metric ("ppo/kl"), and steps are those of the stage's own `metrics.jsonl`. A
stage that was stored before is logged from what it kept. A note beside the record says how many
rows of each stage were logged: a run that goes on logs those that are missing, and none twice.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING, Any

from bench.errors import UserError, unknown
from bench.files import write_atomically
from bench.models import processes

if TYPE_CHECKING:
    from accelerate.tracking import GeneralTracker

    from bench.pipeline.curve import Listener, Row

PROJECT = "grainbench"


@dataclass(frozen=True)
class Subject:
    """The run that is tracked.

    Attributes:
        name: of the record's folder.
        key: of the stage that makes the policy. Code that changed makes it another, and the curves
            go to a new run of the tracker.
        folder: of the record.
        stages: their names.
        config: by dotted name; what is no number, text or boolean as JSON.
    """

    name: str
    key: str
    folder: Path
    stages: Sequence[str]
    config: dict[str, Any]

    @property
    def id(self) -> str:
        """The same for the same curves, however often the run is begun."""
        return f"{self.name}-{self.key[:8]}"


def _tensorboard(subject: Subject, known: str | None) -> GeneralTracker:
    from accelerate.tracking import TensorBoardTracker

    return TensorBoardTracker(subject.key[:8], subject.folder / "tensorboard")


def _wandb(subject: Subject, known: str | None) -> GeneralTracker:
    from accelerate.tracking import WandBTracker

    # It would wrap the streams that progress is shown on.
    settings = {"console": "off"}
    return WandBTracker(
        PROJECT, name=subject.name, id=known or subject.id, resume="allow", settings=settings
    )


def _mlflow(subject: Subject, known: str | None) -> GeneralTracker:
    from accelerate.tracking import MLflowTracker

    return MLflowTracker(PROJECT, run_name=subject.name, run_id=known)


def _trackio(subject: Subject, known: str | None) -> GeneralTracker:
    from accelerate.tracking import TrackioTracker

    resume = "allow" if known else "never"
    return TrackioTracker(PROJECT, name=subject.name, resume=resume, config=subject.config)


@dataclass(frozen=True)
class Kind:
    """What differs between trackers.

    Attributes:
        make: the tracker, not started; of the subject and of its id where it was begun before.
        id: of a started tracker's run, where the tracker chooses it.
        one_axis: its steps may only grow, over all stages; each stage's own is then a metric, which
            the stage's others are drawn over.
    """

    make: Callable[[Subject, str | None], GeneralTracker]
    id: Callable[[Any], str] | None = None
    one_axis: bool = False


# By the name of the package, which is also the extra that brings it.
TRACKERS = {
    "tensorboard": Kind(_tensorboard),
    "wandb": Kind(_wandb, one_axis=True),
    "mlflow": Kind(_mlflow, id=lambda run: run.info.run_id),
    "trackio": Kind(_trackio),
}


def check_trackers(named: str | None) -> list[str]:
    """The trackers of `--track`, as "a,b".

    Raises:
        UserError: one is unknown, or its package is not installed.
    """
    names = [name.strip() for name in (named or "").split(",")] if named is not None else []
    for name in names:
        if name not in TRACKERS:
            raise UserError(f"--track: {unknown('tracker', name, TRACKERS)}")
        found = importlib.util.find_spec(name)
        if found is None or found.origin is None:  # or the folder that wandb leaves behind
            how = f"pip install -c constraints.txt -e '.[{name}]'"
            raise UserError(f"--track {name}: the package {name} is not installed; `{how}`")
    return list(dict.fromkeys(names))


@contextlib.contextmanager
def tracked(
    names: Sequence[str], subject: Subject, say: Callable[[str], None], *, quiet: bool = False
) -> Iterator[Listener]:
    """Log curves for as long as the block runs; of several processes the first one does.

    Args:
        names: of trackers.
        subject: what is tracked.
        say: receives one line of a tracker that fails. The run goes on without it.
        quiet: drop what trackers print of themselves; else it goes to standard error.

    Yields:
        What is to hear of rows.
    """
    mine = names if processes.is_first() else []
    followers = [_Follower(name, subject, say, quiet) for name in mine]

    def listen(stage: str, rows: Sequence[Row]) -> None:
        for follower in followers:
            follower.follow(stage, rows)

    try:
        for follower in followers:
            follower.begin()
        yield listen
    finally:
        for follower in followers:
            follower.end()


class _Follower:
    """One tracker, and what it was told."""

    def __init__(
        self, name: str, subject: Subject, say: Callable[[str], None], quiet: bool
    ) -> None:
        self.name, self.kind, self.subject = name, TRACKERS[name], subject
        self.say, self.quiet = say, quiet
        self.tracker: GeneralTracker | None = None
        self.has_failed = False
        self.seen: dict[str, int] = {}
        self.note = subject.folder / f"tracked-{name}.json"
        # "id": of the tracker's own run; "rows": logged, by stage; "whole": it missed none so far.
        self.state: dict[str, Any] = {"subject": subject.id, "id": None, "rows": {}, "whole": False}
        with contextlib.suppress(OSError, ValueError):
            before = json.loads(self.note.read_text())
            if isinstance(before, dict) and before.get("subject") == subject.id:
                self.state |= before

    def begin(self) -> None:
        """Start now, so that a mistake is seen at once, unless there is nothing left to log."""
        if not self.state["whole"]:
            self._guarded(self._start)

    def follow(self, stage: str, rows: Sequence[Row]) -> None:
        """Log those rows of a stage that were not logged yet."""
        for row in rows[self.seen.get(stage, 0) :]:
            self.seen[stage] = self.seen.get(stage, 0) + 1
            if self.seen[stage] > self.state["rows"].get(stage, 0):
                self._guarded(self._log, stage, row)

    def end(self) -> None:
        """Close the tracker's run; another attempt of the harness's run opens it again."""
        if self.tracker is not None:
            self._guarded(self.tracker.finish)
        if self.tracker is not None:
            self._guarded(self._write, whole=True)

    def _start(self) -> None:
        from accelerate import PartialState

        PartialState()  # which accelerate's trackers ask whether they are in the first process
        known = self.state["id"]
        self.tracker = self.kind.make(self.subject, known)
        self.tracker.start()
        if self.kind.one_axis:
            for stage in self.subject.stages:
                self.tracker.tracker.define_metric(f"{stage}/*", step_metric=f"{stage}/step")
        if known is None:
            self.tracker.store_init_configuration(self.subject.config)
        own = self.kind.id
        self._write(id=self.subject.id if own is None else own(self.tracker.tracker), whole=False)

    def _log(self, stage: str, row: Row) -> None:
        if self.tracker is None:
            self._start()
        assert self.tracker is not None
        step = int(row["step"])
        values = {f"{stage}/{name}": value for name, value in row.items() if name != "step"}
        if self.kind.one_axis:
            values[f"{stage}/step"], step = step, sum(self.seen.values())
        self.tracker.log(values, step=step)
        self._write(rows=self.state["rows"] | {stage: self.seen[stage]})

    def _write(self, **changes: Any) -> None:
        self.state |= changes
        write_atomically(self.note, json.dumps(self.state) + "\n")

    def _guarded(self, do: Callable[..., None], *args: Any, **named: Any) -> None:
        """Let nothing that a tracker, its server or the network does end a training run."""
        if self.has_failed:
            return
        try:
            # Standard output is for results.
            heard = io.StringIO() if self.quiet else sys.stderr
            with contextlib.redirect_stdout(heard), contextlib.redirect_stderr(heard):
                do(*args, **named)
        except Exception as error:  # noqa: BLE001 - each tracker has errors of its own
            self.has_failed, self.tracker = True, None
            first = shorten((str(error).strip().splitlines() or [""])[0], 160, placeholder=" ...")
            self.say(
                f"--track {self.name} failed ({type(error).__name__}: {first}); the run goes on "
                "without it, and the same command, run again, logs what is missing"
            )
