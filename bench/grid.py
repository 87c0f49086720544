"""The one form of a table: rows of text, which terminal, Markdown and HTML are drawn from."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Literal

from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.table import Table
from rich.text import Text

DASH = "–"
GAP = 2  # columns of the terminal between two of a table


@dataclass(frozen=True)
class Grid:
    """A table as strings: the one form that terminal, Markdown and HTML are drawn from.

    Attributes:
        warnings: what must be read before the table.
        notes: what explains it, below.
        level: of its heading.
        words: whether its cells are words, which begin at the left and go on in the next line;
            else they are numbers, of which none is cut, and the first column names them.
        spare: headers of the columns that a narrow terminal leaves out, and says so: the first of
            them first.
    """

    title: str
    headers: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: list[str] = field(default_factory=list)
    level: int = 3
    warnings: list[str] = field(default_factory=list)
    words: bool = False
    spare: Sequence[str] = ()

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        return to_html(self)


def words(
    title: str,
    headers: Sequence[str],
    rows: Iterable[Sequence[str]],
    warnings: Iterable[str] = (),
) -> Grid:
    """A grid whose cells are words."""
    return Grid(title, headers, list(rows), warnings=list(warnings), words=True)


@dataclass(frozen=True)
class _Numbers:
    """A table that cuts no number: what is too wide for the console goes on in a table below.

    Before that the columns go that `spare` names.
    """

    headers: Sequence[str]
    rows: Sequence[Sequence[str]]
    spare: Sequence[str] = ()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        room = options.max_width
        fitting, gone = self, list[str]()
        for header in self.spare:
            if len(fitting._parts(room)) == 1:
                break
            fitting, gone = fitting._without(header), [*gone, header]
        *parts, last = fitting._parts(room)
        for part in parts:
            yield fitting._table([0, *part], fitting._widths(room))
            yield Text()
        yield fitting._table([0, *last], fitting._widths(room))
        if gone:
            yield Text(f"Left out at {room} columns: {', '.join(gone)}.", style="dim")
        yield Text()

    def _without(self, header: str) -> "_Numbers":
        kept = [i for i, own in enumerate(self.headers) if own != header]
        rows = [[row[i] for i in kept] for row in self.rows]
        return _Numbers([self.headers[i] for i in kept], rows)

    def _parts(self, room: int) -> list[list[int]]:
        """The columns, but for the first, that stand in each of the tables."""
        full = self._widths(room)
        parts: list[list[int]] = [[]]
        for i in range(1, len(full)):
            taken = full[0] + sum(full[j] + GAP for j in parts[-1])
            if parts[-1] and taken + full[i] + GAP > room:
                parts.append([])
            parts[-1].append(i)
        return parts

    def _widths(self, room: int) -> list[int]:
        """Of each column: whole if there is room, else headers, then the first column, folded."""
        columns = [list(column) for column in zip(self.headers, *self.rows, strict=True)]
        full = [max(map(cell_len, column)) for column in columns]
        left = room - GAP * (len(full) - 1)
        if sum(full) > left:
            full = [max(_longest_word(c[0]), *map(cell_len, c[1:]), 1) for c in columns]
        if sum(full) > left:
            word = max(map(_longest_word, columns[0]))
            full[0] = min(full[0], max(12, left - sum(full[1:]), min(word, room // 3)))
        return full

    def _table(self, columns: list[int], widths: list[int]) -> Table:
        table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, collapse_padding=True)
        for i in columns:
            justify: Literal["left", "right"] = "right" if i else "left"
            table.add_column(
                Text(self.headers[i]), justify=justify, width=widths[i], overflow="fold"
            )
        for row in self.rows:
            table.add_row(*(Text(row[i]) for i in columns))
        return table


def _words(grid: Grid) -> Table:
    """A table of words; without headers where all of them are empty."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_header=any(grid.headers))
    for i, header in enumerate(grid.headers):
        table.add_column(Text(header), overflow="fold", no_wrap=i == 0)  # names stay whole
    for row in grid.rows:
        table.add_row(*map(Text, row))
    return table


def _longest_word(text: str) -> int:
    return max(map(cell_len, text.split()), default=0)


def to_rich(grid: Grid) -> Group:
    """The grid for the terminal: title, warnings, table, notes; no text is taken for markup."""
    title = [Text(grid.title, style="bold")] if grid.title else []
    warnings = [Text(f"Warning: {line}", style="bold yellow") for line in grid.warnings]
    laid_out = _words(grid) if grid.words else _Numbers(grid.headers, grid.rows, grid.spare)
    table = [laid_out] if grid.headers else []
    notes = [Text(note, style="dim") for note in grid.notes]
    return Group(*title, *warnings, *table, *notes, *([Text()] if notes else []))


def to_markdown(grid: Grid) -> str:
    """The grid as a Markdown table below a heading."""

    def line(cells: Iterable[str]) -> str:
        return "| " + " | ".join(c.replace("|", "\\|").replace("\n", " ") for c in cells) + " |"

    rule = ["---"] + ["---:"] * (len(grid.headers) - 1)
    lines = [f"{'#' * grid.level} {grid.title}"]
    for warning in grid.warnings:
        lines += ["", f"**Warning:** {warning}"]
    if grid.headers:
        lines += ["", line(grid.headers), line(rule), *map(line, grid.rows)]
    for note in grid.notes:
        lines += ["", note]
    return "\n".join(lines)


def to_html(grid: Grid) -> str:
    """The grid as a piece of HTML, for a notebook or a mail; every text is escaped."""

    def row(cells: Iterable[str], kind: str) -> str:
        align = "left" if grid.words else "right"
        sides = ["left", *[align] * (len(grid.headers) - 1)]
        styled = zip(cells, sides, strict=True)
        return "".join(f'<{kind} style="text-align:{s}">{escape(c)}</{kind}>' for c, s in styled)

    parts = [f"<p><b>{escape(grid.title)}</b></p>"] if grid.title else []
    parts += [f"<p><b>Warning:</b> {escape(line)}</p>" for line in grid.warnings]
    if grid.headers:
        body = "".join(f"<tr>{row(cells, 'td')}</tr>" for cells in grid.rows)
        head = f"<tr>{row(grid.headers, 'th')}</tr>"
        parts.append(f"<table><thead>{head}</thead><tbody>{body}</tbody></table>")
    parts += [f"<p><small>{escape(note)}</small></p>" for note in grid.notes]
    return "".join(parts)


def markdown_page(grids: Iterable[Grid]) -> str:
    """All grids below each other, for a file."""
    return "\n\n".join(map(to_markdown, grids)) + "\n"


def drop_empty(headers: Sequence[str], rows: list[list[str]]) -> tuple[list[str], list[list[str]]]:
    """Leave out the columns, the first apart, that say nothing in any row."""
    keep = [0] + [i for i in range(1, len(headers)) if any(row[i] != DASH for row in rows)]
    return [headers[i] for i in keep], [[row[i] for i in keep] for row in rows]
