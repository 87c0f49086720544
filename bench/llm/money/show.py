"""What asking would come to, as a table."""

from __future__ import annotations

from bench.grid import Grid, words
from bench.llm.money.estimate import Estimate
from bench.llm.money.prices import dollars

_MOST = "without retries at most"  # an answer that is cut off gets more room, once


def estimate_table(found: Estimate, who: str = "") -> Grid:
    """Calls, tokens, price and time; `who` asks, where a run asks several times."""
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
    return words(f"dry run: {who}{' ' * bool(who)}{found.model}, nothing was asked", ["", ""], rows)
