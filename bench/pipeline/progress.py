"""What a run tells while it runs: bars on a terminal, a line now and then on a pipe."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as RichProgress
from rich.text import Text

_LINE_EVERY_S = 10.0


class Task:
    """One piece of work with a known number of steps.

    Args:
        name: what people read.
        total: the number of steps, or None where it is not known.
        update: called after every step.
        clock: seconds.
    """

    def __init__(
        self,
        name: str,
        total: int | None,
        update: Callable[[Task], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self.total = total
        self.done = 0
        self.note = ""
        self._update = update
        self._clock = clock
        self._started = clock()

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return self._clock() - self._started

    @property
    def seconds_left(self) -> float | None:
        """Estimate at the pace so far."""
        if not self.total or not self.done:
            return None
        return self.seconds / self.done * (self.total - self.done)

    def advance(self, steps: int = 1, note: str | None = None) -> None:
        """Count `steps` as done; `note` replaces what stands behind the bar."""
        self.done += steps
        if note is not None:
            self.note = note
        self._update(self)

    def reach(self, done: int, note: str | None = None) -> None:
        """Count up to `done` steps in all, those of an interrupted attempt with them."""
        self.advance(done - self.done, note)

    def count(self) -> str:
        """Return the steps done, of how many if that is known."""
        return f"{self.done}/{self.total}" if self.total else str(self.done)


class Progress:
    """Shows tasks and lines on standard error, so that standard output holds results alone.

    Args:
        console: where to write; by default standard error.
        clock: seconds; the lines on a pipe are spaced by it.
        quiet: show nothing.
    """

    def __init__(
        self,
        console: Console | None = None,
        clock: Callable[[], float] = time.monotonic,
        *,
        quiet: bool = False,
    ) -> None:
        self.console = console or Console(
            stderr=True,
            highlight=False,
            file=sys.stderr,
            quiet=quiet,
            force_jupyter=False,  # a notebook takes lines as a pipe does
        )
        self._clock = clock
        self._active = 0
        self._bars = RichProgress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}", style="dim"),
            console=self.console,
            transient=True,
        )

    def say(self, text: str) -> None:
        """Print one line, above the bars if there are any."""
        self.console.print(text, soft_wrap=True, markup=False, highlight=False)

    @contextlib.contextmanager
    def doing(self, what: str) -> Iterator[None]:
        """Name what the block does: on a terminal while it runs, on a pipe as a line before it."""
        if self.console.is_terminal:
            with self.console.status(Text(what)):
                yield
        else:
            self.say(what)
            yield

    @contextlib.contextmanager
    def task(self, name: str, total: int | None = None) -> Iterator[Task]:
        """Show a task while the block runs; its end, or where it stopped, becomes a line."""
        shown = self._bar(name, total) if self.console.is_terminal else self._lines(name, total)
        with shown as task:
            try:
                yield task
            except BaseException:
                self.say(f"{name}: stopped at {task.count()} after {duration(task.seconds)}")
                raise
        note = f" ({task.note})" if task.note else ""
        self.say(f"{name}: {task.count()} in {duration(task.seconds)}{note}")

    @contextlib.contextmanager
    def _bar(self, name: str, total: int | None) -> Iterator[Task]:
        handle: TaskID = self._bars.add_task(name, total=total, note="")

        def update(task: Task) -> None:
            self._bars.update(handle, completed=task.done, note=task.note)

        self._active += 1
        self._bars.start()
        try:
            yield Task(name, total, update, self._clock)
        finally:
            self._active -= 1
            self._bars.remove_task(handle)
            if not self._active:
                self._bars.stop()

    @contextlib.contextmanager
    def _lines(self, name: str, total: int | None) -> Iterator[Task]:
        last = self._clock()

        def update(task: Task) -> None:
            nonlocal last
            if self._clock() - last < _LINE_EVERY_S or task.done == task.total:
                return
            last = self._clock()
            left = task.seconds_left
            remaining = f", about {duration(left)} left" if left is not None else ""
            note = f"; {task.note}" if task.note else ""
            self.say(f"{name}: {task.count()} after {duration(task.seconds)}{remaining}{note}")

        self.say(f"{name}: started" + (f", {total} steps" if total else ""))
        yield Task(name, total, update, self._clock)


def duration(seconds: float) -> str:
    """Write a duration for people: "0.4 s", "52 s", "3 min 20 s", "2 h 05 min"."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
