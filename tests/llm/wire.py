"""HTTP/1.1 with keep-alive on asyncio streams: as much of it as the SDKs use."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl, urlsplit

REASONS = {status.value: status.phrase for status in HTTPStatus}  # 529 is Anthropic's own


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]  # names in lower case
    body: Any  # parsed JSON, None where there is none
    gone: Callable[[], Awaitable[None]]  # waits until the client has left


class Sent(Enum):
    """How much of a reply goes out; after anything but all the connection is closed."""

    ALL = "all"
    HALF = "half"  # the headers and half of the body
    NOTHING = "nothing"


@dataclass(frozen=True)
class Reply:
    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    sent: Sent = Sent.ALL


def json_reply(content: Any, status: int = 200, headers: dict[str, str] | None = None) -> Reply:
    return Reply(status, json.dumps(content).encode(), headers or {})


async def converse(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    handle: Callable[[Request], Awaitable[Reply]],
) -> None:
    """Answer the requests of one connection, one after the other, until either side closes it."""
    try:
        reply = Reply()
        while reply.sent is Sent.ALL:
            reply = await handle(await _read(reader))
            writer.write(_encode(reply))
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
        pass  # the client has closed the connection or was killed, or the server closes
    finally:
        writer.close()


async def _read(reader: asyncio.StreamReader) -> Request:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.rstrip("\r\n").split("\r\n")
    method, target, _ = first.split(" ")
    pairs = (line.split(":", 1) for line in lines)
    headers = {name.strip().lower(): value.strip() for name, value in pairs}
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    url = urlsplit(target)
    content = json.loads(body) if body else None
    gone = partial(_gone, reader)
    return Request(method, url.path, dict(parse_qsl(url.query)), headers, content, gone)


async def _gone(reader: asyncio.StreamReader) -> None:
    with suppress(ConnectionError):  # how the connection of a killed client may end
        await reader.read()


def _encode(reply: Reply) -> bytes:
    if reply.sent is Sent.NOTHING:
        return b""
    headers = {
        "Content-Type": "application/json",
        "Content-Length": str(len(reply.body)),
        **reply.headers,
    }
    lines = [f"HTTP/1.1 {reply.status} {REASONS.get(reply.status, 'Overloaded')}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    body = reply.body if reply.sent is Sent.ALL else reply.body[: len(reply.body) // 2]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body
