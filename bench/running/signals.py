"""Signals that wait."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def signals_wait() -> Iterator[None]:
    """Let what ends a process wait until the block is done, and hand the last of it on then.

    A record is written in this, for signals come in twos: people press Ctrl-C again, and torch's
    agent sends SIGTERM to a process that is already failing since another one is gone.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # Python hands signals to the main thread alone
        return
    came: list[int] = []

    def wait(number: int, _frame: Any) -> None:
        came.append(number)

    # None: a handler that is not Python's, which could not be put back.
    before = {number: signal.getsignal(number) for number in _ENDING}
    heard = {n: handler for n, handler in before.items() if handler not in (None, signal.SIG_IGN)}
    for number in heard:
        signal.signal(number, wait)
    try:
        yield
    finally:
        for number, handler in heard.items():
            signal.signal(number, handler)
        if came:
            signal.raise_signal(came[-1])
