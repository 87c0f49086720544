"""Plug-ins of one kind by name: built-in ones by a lazy reference, third parties' as entry points.

`get` imports the one that is asked for, and `is_broken` a third party's; nothing else imports what
is listed. `register` adds one that no package holds, for as long as the process lives.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from typing import Generic, TypeVar

from bench.errors import UserError, unknown
from bench.plugins.targets import import_target

T = TypeVar("T")
BUILT_IN = "grainbench"
SESSION = "this session"


@dataclass(frozen=True)
class Entry:
    """One plug-in that is known by name, not yet imported.

    Attributes:
        name: what users type.
        target: where it is, as ``module:attribute``.
        summary: one line for `python -m bench list`.
        paper: the paper that it implements, or empty.
        source: who provides it: "grainbench", a distribution and its version, or "this session".
    """

    name: str
    target: str
    summary: str
    paper: str = ""
    source: str = BUILT_IN


class Registry(Generic[T]):
    """Plug-ins of one kind.

    Args:
        kind: the singular that messages use, as "method".
        builtins: the plug-ins that come with GrainBench.
        plural: of the kind, where it is not with an "s". Entry points are in the group
            ``grainbench.<plural>``, a space in it an underscore.
        has: attributes without which no plug-in of the kind can be used.
    """

    def __init__(
        self,
        kind: str,
        builtins: Iterable[Entry] = (),
        plural: str = "",
        has: Sequence[str] = (),
    ) -> None:
        self.kind, self.plural, self.has = kind, plural or f"{kind}s", tuple(has)
        self.group = f"grainbench.{self.plural.replace(' ', '_')}"
        self._builtins = tuple(builtins)
        self._session: dict[str, Entry] = {}

    def check_free(self, entry: Entry) -> None:
        """Refuse a name that another plug-in has, which is one with another target.

        Raises:
            UserError: naming the other.
        """
        other = {known.name: known for known in self.entries()}.get(entry.name)
        if other is not None and other.target != entry.target:
            raise UserError(
                f"there is a {self.kind} named {entry.name!r}: {_where(other)}; choose another "
                "name, or give replace=True"
            )

    def register(self, entry: Entry) -> None:
        """Add a plug-in to those of this process, in the place of whichever has its name.

        Args:
            entry: of the source `SESSION`; its target can be imported.
        """
        self._session[entry.name] = entry

    def entries(self) -> list[Entry]:
        """Return every plug-in: the built-in ones in their order, then third parties' by name.

        One that this process registered is last, or in the place of that whose name it has.

        Raises:
            UserError: two plug-ins have the same name.
        """
        known: dict[str, Entry] = {}
        for entry in (*self._builtins, *self._third_party()):
            if other := known.get(entry.name):
                raise UserError(
                    f"two {self.kind}s are named {entry.name!r}: {_where(other)} and "
                    f"{_where(entry)}; rename or uninstall one"
                )
            known[entry.name] = entry
        return list((known | self._session).values())

    def names(self) -> list[str]:
        """Return the names, sorted."""
        return sorted(entry.name for entry in self.entries())

    def entry(self, name: str) -> Entry:
        """Look a plug-in up without importing it.

        Raises:
            UserError: no plug-in has this name.
        """
        entries = {entry.name: entry for entry in self.entries()}
        if name not in entries:
            raise UserError(unknown(self.kind, name, entries))
        return entries[name]

    def get(self, name: str) -> T:
        """Import and return the plug-in `name`.

        Raises:
            UserError: no plug-in has this name, importing it fails, or it is something else.
        """
        entry = self.entry(name)
        try:
            plugin: T = import_target(entry.target)
        except (Exception, SystemExit) as error:  # other people's code runs: anything may come
            what = " ".join(f"{type(error).__name__}: {error}".split())
            raise UserError(
                f"cannot load {self.kind} {name!r} from {_where(entry)}: {what}", exit_code=1
            ) from error
        if lacks := [name for name in self.has if not hasattr(plugin, name)]:
            raise UserError(
                f"{_where(entry)} is no {self.kind}: it has no {' and no '.join(lacks)} "
                "(CONTRIBUTING.md shows one)",
                exit_code=1,
            )
        return plugin

    def is_broken(self, entry: Entry) -> bool:
        """Whether a third party's plug-in cannot be loaded; imports it."""
        if entry.source == BUILT_IN:
            return False
        try:
            self.get(entry.name)
        except UserError:
            return True
        return False

    def _third_party(self) -> list[Entry]:
        points = _entry_points(self.group, tuple(sys.path))
        found = [_from_entry_point(point) for point in points]
        return sorted(found, key=lambda entry: (entry.name, entry.source))


@cache
def _entry_points(group: str, path: tuple[str, ...]) -> metadata.EntryPoints:
    """Those of all packages on a search path, whose folders take a while to go through."""
    return metadata.entry_points(group=group)


def _where(entry: Entry) -> str:
    return f"{entry.target} ({entry.source})"


def _from_entry_point(point: metadata.EntryPoint) -> Entry:
    target = f"{point.module}:{point.attr}" if point.attr else point.module
    if point.dist is None:
        return Entry(point.name, target, summary="", source="unknown distribution")
    about = point.dist.metadata
    summary = about["Summary"] if "Summary" in about else ""  # noqa: SIM401 (no `get` in its type)
    source = f"{point.dist.name} {point.dist.version}"
    return Entry(point.name, target, summary=summary, source=source)
