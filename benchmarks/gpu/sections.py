"""A question, its rows, and how it is asked: within its time, and without taking others along."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import torch

from benchmarks.gpu.machine import GIB

if TYPE_CHECKING:
    from benchmarks.gpu.setting import Setting

Status = Literal["met", "not met", "no goal", "not measured"]


@dataclass(frozen=True)
class Row:
    """One thing that was to be measured.

    Attributes:
        what: it is.
        measured: for people; empty where nothing was.
        goal: for people; empty where there is none.
        status: whether the goal is met.
        why: nothing was measured, or what a reader has to know.
        numbers: for programs.
    """

    what: str
    measured: str = ""
    goal: str = ""
    status: Status = "no goal"
    why: str = ""
    numbers: dict[str, Any] = field(default_factory=dict)


def held(what: str, measured: str, goal: str, ok: bool, **numbers: Any) -> Row:
    """A row with a goal."""
    return Row(what, measured, goal, "met" if ok else "not met", numbers=numbers)


def not_measured(what: str, why: str, goal: str = "") -> Row:
    """A row of which nothing is known."""
    return Row(what, goal=goal, status="not measured", why=why)


@dataclass(frozen=True)
class Section:
    """A question.

    Attributes:
        name: its key in the result.
        title: for people.
        budget_s: seconds after which it is given up.
        ask: gives its rows one by one, so that those before an error are kept.
    """

    name: str
    title: str
    budget_s: float
    ask: Callable[[Setting], Iterator[Row]]


class OverTime(BaseException):  # not an `Exception`: a check that records its crashes must not
    """A section's time is over."""


def pending(section: Section) -> dict[str, Any]:
    """What is written of a section before it was asked."""
    return _entry(section, [not_measured(section.title, "the command ended before")], 0.0, None)


def answer(section: Section, setting: Setting, budget_s: float) -> dict[str, Any]:
    """Ask, and record what comes: rows, or what went wrong.

    Args:
        section: the question.
        setting: the model and its device; left as bare as it was.
        budget_s: seconds that it has, the section's own or what the command still has.
    """
    rows: list[Row] = []
    error = None
    started = time.perf_counter()
    try:
        with _within(budget_s):
            for row in section.ask(setting):
                rows.append(row)  # noqa: PERF402 - what came before an error must be kept
    except OverTime:
        error = f"its {max(0.0, budget_s):.3g} s were over"
    except torch.OutOfMemoryError as found:
        peak = torch.cuda.max_memory_allocated() / GIB
        error = f"out of memory at a peak of {peak:.1f} GiB: {_line(found)}"
    except Exception as found:  # noqa: BLE001 - one question's failure is its answer
        error = _line(found)
    seconds = time.perf_counter() - started
    # Only here, behind the `except` that held the frames with their tensors, can they be freed.
    try:
        setting.clear()
    except Exception as found:  # noqa: BLE001 - a device that is lost answers no later one either
        error = f"{error or 'afterwards'}; {_line(found)}"
    if error:
        rows.append(not_measured("the rest" if rows else section.title, error))
    return _entry(section, rows, seconds, error)


def _entry(section: Section, rows: list[Row], seconds: float, error: str | None) -> dict[str, Any]:
    return {
        "title": section.title,
        "seconds": round(seconds, 1),
        "error": error,
        "rows": [asdict(row) for row in rows],
    }


def _line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]


@contextmanager
def _within(seconds: float) -> Iterator[None]:
    """Raise `OverTime` in what runs here when the time is over."""
    if seconds <= 0:
        raise OverTime

    def over(*_: object) -> None:
        raise OverTime

    before = signal.signal(signal.SIGALRM, over)
    # Again and again: one that is raised while an object is finalised is lost.
    signal.setitimer(signal.ITIMER_REAL, seconds, 1.0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
