"""Running a coroutine to its end, also in a notebook, whose own event loop is running already."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any


def run(main: Coroutine[Any, Any, None]) -> None:
    """Run `main`, in a thread of its own where this one has a running loop.

    An interrupt cancels `main` either way, so that nothing goes on to cost money.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        asyncio.run(main)
        return
    tasks: list[asyncio.Task[None]] = []

    async def noted() -> None:
        tasks.append(asyncio.create_task(main))
        await tasks[0]

    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(asyncio.run, noted())
        try:
            done.result()
        except BaseException:
            if tasks and not done.done():
                tasks[0].get_loop().call_soon_threadsafe(tasks[0].cancel)
            raise
