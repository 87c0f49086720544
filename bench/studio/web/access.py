"""Who asks: a link's token becomes a cookie, and a wrong one is answered a few times only."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from bench.errors import UserError
from bench.studio.people import Person
from bench.studio.study import Study

WRONG = 8  # tokens from an address in a window, before all that are not known are refused
WINDOW_S = 60.0
_ALONE = "you."  # begins the cookie of a study without people, which is no token
_KEPT_S = 90 * 86400  # a cookie; `people --revoke` ends it at once


@dataclass(frozen=True)
class Visitor:
    """Somebody who was let in.

    Attributes:
        person: in the study.
        secret: what the cookie holds.
    """

    person: Person
    secret: str

    @property
    def form_token(self) -> str:
        """What every form holds, and no other site can read; good for as long as the cookie."""
        return hmac.new(self.secret.encode(), b"form", hashlib.sha256).hexdigest()

    def owns(self, token: str) -> bool:
        """Whether a form's token is this visitor's."""
        return hmac.compare_digest(self.form_token.encode(), token.encode())


class Access:
    """Lets people in.

    Args:
        study: whose people they are.
        clock: seconds, from wherever.
    """

    def __init__(self, study: Study, clock: Callable[[], float] = time.monotonic) -> None:
        self._study, self._clock = study, clock
        self._lock = threading.Lock()
        self._wrong: dict[str, list[float]] = {}
        self._right: set[str] = set()

    def by_link(self, request: Request, token: str) -> Visitor:
        """Whoever has this token.

        Raises:
            HTTPException: nobody has (403), or too many wrong ones came from there (429).
        """
        person = self._person(request, token)
        if person is None:
            raise HTTPException(403, "This link is not valid, or has ended. Ask for a new one.")
        return Visitor(person, token)

    def by_cookie(self, request: Request) -> Visitor:
        """Whoever has this cookie; the only user of a study without people, with or without one.

        Raises:
            HTTPException: nobody has (401), or too many wrong ones came from there (429).
        """
        secret = request.cookies.get(cookie_name(request), "")
        if secret and not secret.startswith(_ALONE):
            person = self._person(request, secret)
            if person is not None:
                return Visitor(person, secret)
        try:
            person = self._study.person()
        except UserError as error:
            if error.exit_code != 2:
                raise
            raise HTTPException(401, "Open the studio with your own link.") from error
        assert person is not None  # without a token it is the only user
        mine = secret.startswith(_ALONE)
        return Visitor(person, secret if mine else _ALONE + secrets.token_urlsafe(32))

    def _person(self, request: Request, token: str) -> Person | None:
        """Whose token it is; counts those that are nobody's."""
        address = request.client.host if request.client else ""
        with self._lock:
            if token not in self._right and len(self._recent(address)) >= WRONG:
                wait = {"Retry-After": f"{WINDOW_S:.0f}"}
                raise HTTPException(429, "Too many wrong links. Wait a minute.", wait)
        person = self._study.person(token)
        with self._lock:
            if person is None:
                self._wrong[address] = [*self._recent(address), self._clock()]
            else:
                self._right.add(token)
        return person

    def _recent(self, address: str) -> list[float]:
        """When wrong tokens came from an address; forgets those of all others that are old."""
        after = self._clock() - WINDOW_S
        self._wrong = {one: times for one, times in self._wrong.items() if times[-1] > after}
        return [at for at in self._wrong.get(address, []) if at > after]


def cookie_name(request: Request) -> str:
    """One for each port: cookies are shared by all servers of a machine."""
    return f"studio_{request.url.port or 0}"


def keep(response: Response, request: Request, visitor: Visitor) -> None:
    """Give the visitor the cookie, unless it is there."""
    name = cookie_name(request)
    if request.cookies.get(name) != visitor.secret:
        response.set_cookie(
            name, visitor.secret, max_age=_KEPT_S, httponly=True, samesite="strict", path="/"
        )
