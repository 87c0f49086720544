"""What a part of the configuration, and a plug-in's own options, are made of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A part of the configuration: unknown fields are errors, values do not change.

    Attributes:
        renamed: what fields were once called, each with what to write now; a message says so.
    """

    renamed: ClassVar[Mapping[str, str]] = {}
    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    def deciding(self) -> dict[str, Any]:
        """The values that a result depends on, for a stage's key; all, unless a section says so."""
        return self.model_dump()


class NoOptions(Section):
    """Of a plug-in that has none of its own."""
