"""A server for a study: its address, and its end."""

from __future__ import annotations

import ipaddress
import re
import shlex
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from starlette.applications import Starlette

from bench.errors import UserError
from bench.studio.study import Study
from bench.studio.tasks import TASKS, TaskName
from bench.studio.web.app import create_app
from bench.studio.web.guide import guide

_NAME = re.compile(r"[\w-]+(\.[\w-]+)*")
_LEAVING_S = 5  # for requests that are being answered when the server is ended


@dataclass(frozen=True)
class Page:
    """How a study is served.

    Attributes:
        host: the address, or the name, at which it listens.
        port: 0 takes a free one.
        names: by which others call this machine, beside `host`.
        instructions: Markdown for the people; None: the built-in ones of each task.

    Raises:
        UserError: the instructions cannot be read, or a name is none.
    """

    host: str = "127.0.0.1"
    port: int = 0
    names: tuple[str, ...] = ()
    instructions: Path | None = None

    def __post_init__(self) -> None:
        guide(TASKS[0], self.instructions)
        for name in self.names:
            if not (_NAME.fullmatch(name) or _number(name)):
                raise UserError(f"--name {name}: a name alone, without http:// and port")

    def serve(self, study: Study, tasks: Sequence[TaskName], say: Callable[[str], None]) -> None:
        """Serve until Ctrl-C; what is being saved then is saved.

        Args:
            study: an open one.
            tasks: of which pages there are.
            say: receives lines that tell where the page is, and that it ended.

        Raises:
            UserError: others can reach the address and nobody has a link, or it is not free.
        """
        self._check_people(study)
        guides = {task: guide(task, self.instructions) for task in tasks}
        app = create_app(study, guides, names=[*self.names, self.host])
        with self._bound() as listening:
            say(self._where(study, listening.getsockname()[1]))
            try:
                server(app).run(sockets=[listening])
            except KeyboardInterrupt:
                say(f"ended; what was saved is in {study.database.path}")

    def url(self, port: int) -> str:
        """As a browser takes it: of one that is all addresses, 0.0.0.0 or ::, one of them."""
        host = self.names[0] if self.names else self.host
        number = _number(host)
        if number is not None and number.is_unspecified:
            host = _own_address(number.version)
        return f"http://{f'[{host}]' if ':' in host else host}:{port}"

    def _is_here(self) -> bool:
        """Whether this machine alone can reach it."""
        number = _number(self.host)
        return self.host == "localhost" if number is None else number.is_loopback

    def _check_people(self, study: Study) -> None:
        if not self._is_here() and not any(person.invited for person in study.people()):
            raise UserError(
                f"--host {self.host} lets others in, and nobody has a link: "
                f"`{_invite(study)}` gives one"
            )

    def _where(self, study: Study, port: int) -> str:
        url = self.url(port)
        names = [person.name for person in study.people() if person.invited]
        if names:
            who = f"with their links: {', '.join(names)} (`{_invite(study)} --url {url}` for more)"
        else:
            who = "with one user, `you`"
        return f"The studio is at {url}/ {who}. Ctrl-C ends it."

    @contextmanager
    def _bound(self) -> Iterator[socket.socket]:
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        try:
            listening = socket.create_server((self.host, self.port), family=family)
        except OSError as error:
            what = (error.strerror or str(error)).partition(" (while")[0]  # where is said anyway
            raise UserError(
                f"cannot serve at {self.host}, port {self.port}: {what}; "
                "--port 0 takes a free port, --host an address of this machine"
            ) from error
        with listening:
            yield listening


def server(app: Starlette) -> uvicorn.Server:
    """A server that says nothing of what it serves; `run(sockets=[...])` runs it until it ends."""
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,  # an address that anybody may write is none to count by
        ws="none",
        lifespan="off",
        timeout_graceful_shutdown=_LEAVING_S,
    )
    return uvicorn.Server(config)


def _number(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _own_address(version: int) -> str:
    """An address of this machine by which others may reach it: that of its way to the network.

    A datagram socket that is connected knows it; nothing is sent. The targets are addresses that
    are kept for documentation (RFC 5737, RFC 3849).
    """
    family, target, here = (
        (socket.AF_INET, "192.0.2.1", "127.0.0.1")
        if version == 4
        else (socket.AF_INET6, "2001:db8::1", "::1")
    )
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((target, 9))
            return str(probe.getsockname()[0])
    except OSError:  # no network at all
        return here


def _invite(study: Study) -> str:
    return f"python -m bench studio people {shlex.quote(str(study.database.path))} --add NAME"
