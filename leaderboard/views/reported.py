"""What papers report, as tables of their own."""

from bench.grid import DASH, Grid
from leaderboard.analysis.reported import ReportedPaper, ReportedRow


def reported_grids(paper: ReportedPaper) -> list[Grid]:
    """One grid a table, marked as reported."""
    grids: list[Grid] = []
    for table in paper.tables:
        marked = table.plus_minus is not None
        rows = [
            [row.label, f"{row.mean:.1f}", *([_plus_minus(row)] if marked else [])]
            for row in table.rows
        ]
        headers = ["Reported, not measured here", table.column, *(["±"] if marked else [])]
        notes = [f"±: {table.plus_minus}." if marked else "", "" if grids else paper.note]
        title = f"Reported: {paper.paper}, {table.table}, {table.caption}"
        grids.append(Grid(title, headers, rows, [note for note in notes if note]))
    return grids


def _plus_minus(row: ReportedRow) -> str:
    return DASH if row.plus_minus is None else f"{row.plus_minus:.1f}"
