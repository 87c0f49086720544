"""What holds for a whole study: who gets what, and what is accepted."""

from __future__ import annotations

from math import inf

from pydantic import Field

from bench.config.section import Section
from bench.editing.acceptance import MINIMAL, Limits


class Settings(Section):
    """Set by options of `bench studio add`; what is not given stays as it was."""

    overlap: int = Field(1, ge=1, description="people who answer an item of the share `share`")
    share: float = Field(1.0, ge=0, le=1, description="of the items that `overlap` people answer")
    gold_rate: float = Field(0.1, ge=0, le=1, description="share of hidden known answers mixed in")
    lease_s: float = Field(
        1800.0, gt=0, description="seconds after which an item that nobody answered goes to others"
    )
    max_changed: float = Field(
        MINIMAL.max_changed,
        gt=0,
        le=1,
        description="largest share of words and marks that an edit may replace; 1: any edit",
    )
    span_types: list[str] = Field([], description="of marked errors; none: any")
    seed: int = Field(0, ge=0, description="of the orders in which responses are shown")

    @property
    def limits(self) -> Limits:
        """What makes an edit too large: those of every editor, but for the share replaced."""
        if self.max_changed == 1:
            return Limits(1, 1, inf)
        return Limits(self.max_changed)
