"""The other half of `benchmarks.studio`: the same people at the page, over HTTP, as browsers do it.

A save is then the form's POST until the next item's page is there: parsing, the checks, the commit
and the page that follows.
"""

from __future__ import annotations

import asyncio
import html
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx2

from bench.studio.study import Study

_ADDRESS = re.compile(r"http://[\d.:]+")
_CSRF = re.compile(r'name="csrf" value="([^"]*)"')
_FORM = re.compile(r'<form id="answer"[^>]* hx-post="([^"]*)"')
_TIMEOUT_S = 60.0


def save_times(study: Study, source: Path, people: int, seconds: float) -> list[float]:
    """Serve `study` in a process of its own; what each save took, in seconds.

    Args:
        study: empty.
        source: a file of pairs, enough for all.
        people: at once, one action a second each.
        seconds: for how long.
    """
    study.add(source, "prefer")
    tokens = [study.invite(f"p{i}") for i in range(people)]
    command = [
        sys.executable,
        "-m",
        "bench",
        "studio",
        "serve",
        str(study.database.path),
        "--port",
        "0",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        said = server.stdout.readline()
        address = _ADDRESS.search(said)
        assert address is not None, said
        found = asyncio.run(_all(address[0], tokens, seconds))
        server.send_signal(signal.SIGINT)
    return found


async def _all(address: str, tokens: list[str], seconds: float) -> list[float]:
    apart = [(token, i / len(tokens)) for i, token in enumerate(tokens)]
    each = await asyncio.gather(*(_one(address, t, delay, seconds) for t, delay in apart))
    return [took for one in each for took in one]


async def _one(address: str, token: str, delay_s: float, seconds: float) -> list[float]:
    """Somebody who prefers one of two each second."""
    took: list[float] = []
    settings = {"base_url": address, "follow_redirects": True, "timeout": _TIMEOUT_S}
    async with httpx2.AsyncClient(**settings) as browser:
        await browser.get("/", params={"token": token})
        page = (await browser.get("/prefer")).text
        csrf = _found(_CSRF, page)
        await asyncio.sleep(delay_s)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            start = time.monotonic()
            form = {"csrf": csrf, "choice": "a", "seconds": "1"}
            answer = await browser.post(
                _found(_FORM, page), data=form, headers={"HX-Request": "true"}
            )
            answer.raise_for_status()
            page = answer.text
            took.append(time.monotonic() - start)
            await asyncio.sleep(max(0.0, 1.0 - took[-1]))
    return took


def _found(pattern: re.Pattern[str], page: str) -> str:
    match = pattern.search(page)
    assert match is not None, page
    return html.unescape(match[1])
