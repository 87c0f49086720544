"""A base model that a command builds here once, too large to be shipped: where the store has it.

`model.path` names it as built:MODULE/NAME. The command is `python -m MODULE --size NAME`; a suite
of any package can have one.
"""

from __future__ import annotations

import shlex
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from bench.errors import UserError
from bench.pipeline.sources import SOURCES
from bench.pipeline.store import Build, Store, default_root

PREFIX = "built:"
NAME = "base"  # the folder in the store
MODEL = "model"  # of an artifact: the model's folder


@dataclass(frozen=True)
class Built:
    """One of the bases of a command.

    Attributes:
        module: that is the command.
        name: of the base.
    """

    module: str
    name: str

    @classmethod
    def named(cls, path: str) -> Built | None:
        """The base that `model.path` or `sft.path` names; None: it names another kind of model.

        Raises:
            UserError: a part of the name is missing.
        """
        if not path.startswith(PREFIX):
            return None
        module, _, name = path.removeprefix(PREFIX).partition("/")
        if not (module and name):
            raise UserError(f"{path}: expected {PREFIX}MODULE/NAME")
        return cls(module, name)

    @property
    def key(self) -> str:
        """Name and code: after a change of what it is built from, an old one is not taken for it.

        Of the code beside the command; how the command stores what it built decides no weight.
        """
        package = self.module.rpartition(".")[0]
        beside = [m for m in SOURCES.modules((self.module,)) if m.startswith(f"{package}.")]
        return f"{self.name}-{SOURCES.digest([m for m in beside if m != self.module])[:12]}"

    def folder(self, store: Store) -> Path:
        """Where the model is.

        Raises:
            UserError: it is not there, with the command that builds it.
        """
        if (found := store.find(NAME, self.key)) is not None:
            return found.path / MODEL
        usual = store.root == Store(default_root()).root
        place = "" if usual else f" --store {shlex.quote(str(store.root))}"
        raise UserError(
            f"the base {self.name} is not built here, or was by other code; this builds it: "
            f"python -m {self.module} --size {self.name}{place}"
        )

    def building(self, store: Store) -> AbstractContextManager[Build]:
        """Make it, as `Store.building`; into the folder `MODEL` of the build's path."""
        return store.building(NAME, self.key)
