"""What holds for every request and every answer, whichever page it is of.

A site whose name is led to this machine's address (DNS rebinding) sends its own name as Host, and
a site that sends a form here sends its own address as Origin: neither is let in.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
_HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class Guard:
    """Refuses other hosts and origins, and gives each answer its headers.

    Args:
        app: what is guarded.
        names: host names that are let in beside `localhost` and addresses in numbers, which no
            name server can lead elsewhere.
    """

    def __init__(self, app: ASGIApp, names: Collection[str] = ()) -> None:
        self._app, self._names = app, {"localhost", *(name.lower() for name in names)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":  # no sockets here; the server's own start and end
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(_HEADERS)
                kept = scope["path"].startswith("/static/")
                headers.setdefault("Cache-Control", "no-cache" if kept else "no-store")
            await send(message)

        headers = Headers(scope=scope)
        problem = self._problem(headers, scope["method"])
        app = self._app if problem is None else problem
        await app(scope, receive, guarded)

    def _problem(self, headers: Headers, method: str) -> PlainTextResponse | None:
        host = headers.get("host", "")
        if not self._knows(host):
            return PlainTextResponse("The studio does not go by this name here.", 400)
        if method in ("GET", "HEAD"):
            return None
        if (
            _is_foreign(headers.get("origin"), host)
            or headers.get("sec-fetch-site", "same-origin") != "same-origin"
        ):
            return PlainTextResponse("This form comes from another site.", 403)
        return None

    def _knows(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        if name in self._names:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True


def _is_foreign(origin: str | None, host: str) -> bool:
    try:
        return origin is not None and urlsplit(origin).netloc.lower() != host.lower()
    except ValueError:  # no address at all
        return True
