"""What the rules of a table say of a submission, as a table."""

from bench.grid import Grid, words
from leaderboard.submission.findings import Review

_ENDS = {
    "ok": "may be a row",
    "differs": "may be a row; readers must know of: {}",
    "refused": "refused: {}",
}


def review_grid(found: Review) -> Grid:
    """Every rule with its verdict, in the order of the rules."""
    verdict = found.verdict
    end = _ENDS[verdict].format(", ".join(found.having(verdict)))
    runs = "1 run" if len(found.seeds) == 1 else f"{len(found.seeds)} runs"
    title = f"{found.label} ({runs}) for {found.table}: {end}"
    rows = [[one.rule, one.verdict, one.text] for one in found.findings]
    return words(title, ["rule", "verdict", "what was found"], rows)
