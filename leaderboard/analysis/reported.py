"""Numbers that papers report: shown apart from what was measured here, each with its own ±."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, FiniteFloat, ValidationError

from bench.grid import DASH, Grid
from bench.records.files import Damage

# Beside this package in a checkout and in an installation alike. Not importlib.resources: in an
# editable install a folder without __init__.py is no resource container.
PACKAGED = Path(__file__).resolve().parents[2] / "results" / "reported"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ReportedRow(_Strict):
    """One printed number; `method` is the registry's name of what it corresponds to."""

    label: str
    method: str | None
    mean: FiniteFloat
    plus_minus: FiniteFloat | None


class ReportedTable(_Strict):
    """One printed table, in the paper's own unit; `plus_minus` says what its ± means."""

    table: str
    metric: str
    column: str
    caption: str
    plus_minus: str | None
    rows: list[ReportedRow]


class ReportedPaper(_Strict):
    """The tables of one paper."""

    paper: str
    citation: str
    note: str
    tables: list[ReportedTable]


def load_reported(results: Path, problems: list[str]) -> list[ReportedPaper]:
    """The papers in ``<results>/reported``, else those that come with the package."""
    papers = []
    for name, text in _sources(results):
        try:
            papers.append(ReportedPaper.model_validate_json(text))
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            field = ".".join(str(part) for part in first["loc"])
            problems.append(Damage(f"{name}: {field}: {first['msg']}"))
    return papers


def _sources(results: Path) -> list[tuple[str, str]]:
    folder = results / "reported"
    if not folder.is_dir():
        folder = PACKAGED
    return [(str(path), path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))]


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
