"""What a part of the configuration, and a plug-in's own options, are made of."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A part of the configuration: unknown fields are errors, values do not change."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    def deciding(self) -> dict[str, Any]:
        """The values that a result depends on, for a stage's key; all, unless a section says so."""
        return self.model_dump()


class NoOptions(Section):
    """Of a plug-in that has none of its own."""
