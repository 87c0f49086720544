"""What asking would come to, for the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.llm.estimate import Estimate
from bench.llm.prices import dollars
from bench.terminal import table

if TYPE_CHECKING:
    from rich.console import RenderableType

_MOST = "without retries at most"  # an answer that is cut off gets more room, once


def estimate_table(found: Estimate) -> RenderableType:
    """Calls, tokens, price and time."""
    time = "up to 24 hours" if found.seconds is None else f"about {found.seconds / 60:.1f} min"
    rows = [
        ("calls", f"{found.calls:,}"),
        ("already answered", f"{found.stored:,}"),
        ("input tokens", f"{found.input_tokens:,}"),
        ("output tokens", f"{found.output_tokens:,} ({_MOST} {found.most_output_tokens:,})"),
        ("price", f"{dollars(found.usd)} ({_MOST} {dollars(found.most_usd)})"),
        ("time", time if found.calls else "none"),
        *(("", line) for line in found.basis),
    ]
    return table(f"dry run: {found.model}, nothing was asked", ["", ""], rows)
