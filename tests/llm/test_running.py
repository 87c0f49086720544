from __future__ import annotations

import asyncio
import signal
import threading
import time

import pytest

from bench.llm.running import run


async def _fail() -> None:
    raise ZeroDivisionError


def test_an_error_comes_out_with_and_without_a_loop() -> None:
    async def cell() -> None:
        run(_fail())

    with pytest.raises(ZeroDivisionError):
        run(_fail())
    with pytest.raises(ZeroDivisionError):
        asyncio.run(cell())


def test_an_interrupt_in_a_notebook_cancels() -> None:
    """In a bare loop, as a notebook has it: `asyncio.run` would take the signal itself."""
    ended: list[str] = []

    async def spend() -> None:
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            ended.append("canceled")
            raise

    async def cell() -> None:
        me = threading.get_ident()
        threading.Timer(0.3, lambda: signal.pthread_kill(me, signal.SIGINT)).start()
        run(spend())

    began = time.monotonic()
    loop = asyncio.new_event_loop()
    with pytest.raises(KeyboardInterrupt):
        loop.run_until_complete(cell())
    loop.close()
    assert ended == ["canceled"]
    assert time.monotonic() - began < 10
