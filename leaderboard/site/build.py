"""From records to the files of the site."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.errors import UserError
from bench.judging.standing import read_standing
from bench.judging.standing_show import standing_grids
from bench.naming import Names
from bench.records.files import Run
from leaderboard.analysis.aggregate import make_tables
from leaderboard.analysis.compare import all_pairs
from leaderboard.analysis.reported import load_reported
from leaderboard.analysis.reward_models import tables
from leaderboard.analysis.rows import Table
from leaderboard.analysis.runs import Group, load
from leaderboard.analysis.stability import stability
from leaderboard.plots import Look, make_plots
from leaderboard.site.charts import Chart, write_chart
from leaderboard.site.finding import find
from leaderboard.site.intervals import intervals
from leaderboard.site.matrix import comparison_matrix
from leaderboard.site.provenance import known_facts, run_page, run_sheet, shared
from leaderboard.site.samples import Pages, load_pages
from leaderboard.site.sheets import cost_sheets, detail_sheets, result_sheet
from leaderboard.site.stability import stability_page
from leaderboard.views.glossary import method_term
from leaderboard.views.html import renderer
from leaderboard.views.render import table_grids
from leaderboard.views.reported import reported_grids
from leaderboard.views.reward_models import grids

INDEX = "index.html"
REWARD_MODELS = "reward-models.html"
TITLE = "<title>GrainBench: results</title>"  # of the index: by it a folder is known as a site


@dataclass(frozen=True)
class Board:
    """What may be compared: its table, its runs, and the names that it has on the site.

    Attributes:
        groups: in the order of the table.
        slug: of its ids and folders.
        anchors: label -> id of the first of its runs.
        pages: run folder -> address of the run's page.
        samples: the generations, by seed.
    """

    table: Table
    groups: list[Group]
    slug: str
    anchors: dict[str, str]
    pages: dict[str, str]
    samples: Pages

    @property
    def runs(self) -> list[tuple[str, Run]]:
        """(label, run), labels in the order of the table, seeds ascending."""
        return [
            (group.label, run)
            for group in self.groups
            for run in sorted(group.runs, key=lambda run: run.record.seed)
        ]

    @property
    def stability_page(self) -> str:
        """The address of the page with the rows at equal KL, where there is one."""
        return f"stability/{self.slug}.html"

    def sample_page(self, seed: int) -> str:
        """The address of the page with the samples of one seed."""
        return f"samples/{self.slug}-seed-{seed}.html"


def write_site(
    results: Path,
    out: Path,
    problems: list[str],
    suite: str | None = None,
    judged: Sequence[Path] = (),
) -> list[Path]:
    """Write the results as a static site; the same records give the same files, byte for byte.

    ``index.html`` says of each table what was found, and holds its intervals, numbers, paired
    differences, curves, costs and runs; ``samples/`` has a page a seed with every method's
    generations, two of them beside each other, ``stability/`` a page a table with its rows at equal
    KL, ``reward-models.html`` has what `bench rm` measured, ``runs/`` a page a run, ``figures/``
    the plots as SVG (for a light and for a dark page) and PNG. No page loads anything from
    elsewhere.

    Args:
        results: folder with ``<suite>/<run_id>/record.json`` in it.
        out: folder to write to, made where it is missing; files of the same names are replaced,
            and where it holds such a site, its pages of runs that are gone are removed.
        problems: receives a line for each thing that is wrong with the runs; the page lists them.
        suite: this suite only.
        judged: folders that `judge` wrote of several models; each becomes a table of its own.

    Returns:
        The files, the index first.

    Raises:
        UserError: if there is no such folder or suite, no run, `judged` names something else, or
            `out` cannot be written or has files of something else in it.
    """
    is_site = _holds_site(out)
    wrong: list[str] = []
    standings = [standing_grids(read_standing(path)) for path in judged]
    boards = _boards(results, suite, wrong)
    if not boards and not wrong and not standings:
        raise UserError(f"{results}: no run yet; `python -m bench run --method sft` makes one")
    models = grids(tables(results, wrong, suite))
    papers = [(paper, reported_grids(paper)) for paper in load_reported(results, wrong)]
    render = renderer()
    try:
        written = [path for board in boards for path in _write_details(board, out, render)]
        written += [
            path for board in boards for path in _write_stability(board, out, render, wrong)
        ]
        if models:
            text = render(REWARD_MODELS, grids=models)
            written.append(_write(out / REWARD_MODELS, text))
        charts = {board.slug: _charts(board, out, wrong, written) for board in boards}
        wrong = list(dict.fromkeys(wrong))
        page = render(
            INDEX,
            boards=[
                _view(board, charts[board.slug], steady=out / board.stability_page in written)
                for board in boards
            ],
            papers=papers,
            reward_models=REWARD_MODELS if models else "",
            judged=standings,
            problems=[line.removeprefix(f"{results}/") for line in wrong],
        )
        written.insert(0, _write(out / INDEX, page))
        if is_site:
            _remove_stale(out, written)
    except OSError as error:
        raise UserError(f"{out}: cannot be written: {error.strerror or error}") from error
    problems += wrong
    return written


def _holds_site(out: Path) -> bool:
    """Whether the folder holds such a site; False: it is empty, or not there.

    Raises:
        UserError: it holds something else, which a site would be mixed into.
    """
    try:
        if (out / INDEX).is_file() and TITLE in (out / INDEX).read_text("utf-8", "replace"):
            return True
        others = sorted(path.name for path in out.iterdir()) if out.exists() else []
    except OSError as error:
        raise UserError(f"{out}: cannot be written: {error.strerror or error}") from error
    if others:
        raise UserError(
            f"{out} holds other files ({', '.join(others[:3])}{', ...' * (len(others) > 3)}): "
            "name a new or an empty folder, or one that `site` made"
        )
    return False


def _boards(results: Path, suite: str | None, problems: list[str]) -> list[Board]:
    grouped, wrong = load(results, suite)
    found = make_tables(grouped, wrong, curves=True)
    problems += wrong
    slugs, ids, files = Names(), Names(), Names()
    boards = []
    for table, groups in zip(found, grouped.values(), strict=True):
        slug = slugs.new(table.suite)
        by_label = {group.label: group for group in groups}
        ranked = [by_label[row.label] for row in table.rows]
        boards.append(
            Board(
                table=table,
                groups=ranked,
                slug=slug,
                anchors={row.label: ids.new(f"runs-{slug}-{row.label}") for row in table.rows},
                pages={
                    str(run.folder): f"runs/{files.new(f'{slug}-{run.record.run_id}')}.html"
                    for group in groups
                    for run in group.runs
                },
                samples=load_pages(ranked, problems),
            )
        )
    return boards


def _write_details(board: Board, out: Path, render: Callable[..., str]) -> Iterator[Path]:
    """The pages of samples and of runs."""
    for seed, prompts in board.samples.seeds.items():
        labels = list(dict.fromkeys(g.label for prompt in prompts for g in prompt.generations))
        page = render(
            "samples.html", board=board, seed=seed, prompts=prompts, labels=labels, home="../"
        )
        yield _write(out / board.sample_page(seed), page)
    terms = {row.label: method_term(row) for row in board.table.rows}
    for label, run in board.runs:
        page = render(
            "run.html", board=board, term=terms[label], record=run.record, home="../",
            page=run_page(run.record),
        )  # fmt: skip
        yield _write(out / board.pages[str(run.folder)], page)


def _write_stability(
    board: Board, out: Path, render: Callable[..., str], problems: list[str]
) -> list[Path]:
    """The page of stability with its figures; nothing where no curve has a KL."""
    found = stability(board.groups, problems)
    if found is None:
        return []
    look, folder = _look(board), f"figures/{board.slug}"
    page, paths = stability_page(found, board.table.rows, look, out, folder)
    text = render("stability.html", board=board, page=page, home="../")
    return [_write(out / board.stability_page, text), *paths]


def _look(board: Board) -> Look:
    return Look.of(sorted(group.label for group in board.groups))


def _charts(board: Board, out: Path, problems: list[str], written: list[Path]) -> list[Chart]:
    look, charts = _look(board), []
    for plot in make_plots(board.groups, board.table.rows, problems):
        chart, paths = write_chart(plot, look, out, f"figures/{board.slug}")
        charts.append(chart)
        written += paths
    return charts


def _view(board: Board, charts: list[Chart], *, steady: bool) -> dict[str, Any]:
    """What the index says of one table."""
    table = board.table
    records = [run.record for _, run in board.runs]
    links = {label: f"#{anchor}" for label, anchor in board.anchors.items()}
    grids = table_grids(table)  # the first says how it was ranked, the last what it cost
    comparisons = all_pairs(board.groups, table.metric)
    common = shared(records)[0]
    identity = {
        "base model": table.base or "the suite's own",
        "judge": table.judge + (f" ({table.judge_model})" if table.judge_model else ""),
        "judge prompt": table.template_sha or "",
        "reference": f"{table.reference} [{table.reference_sha}]" if table.reference_sha else "",
    }
    return {
        "board": board,
        "finding": find(table, comparisons),
        "intervals": intervals(table),
        "identity": known_facts(identity),
        "leaderboard": result_sheet(table, links),
        "warnings": grids[0].warnings,
        "notes": list(dict.fromkeys([*grids[0].notes, *grids[-1].notes])),
        "details": detail_sheets(table),
        "costs": cost_sheets(table),
        "charts": charts,
        "stability": board.stability_page if steady else "",
        "matrix": comparison_matrix(comparisons, table.metric),
        "example": board.samples.example,
        "facts": known_facts({k: v for k, v in common.items() if k not in identity}),
        "runs": run_sheet(board.runs, board.pages, board.anchors),
        "seeds": sorted({record.seed for record in records}),
    }


def _remove_stale(out: Path, written: list[Path]) -> None:
    found = {
        path for name in ("runs", "samples", "stability") for path in (out / name).glob("*.html")
    }
    for path in (found | set(out.glob(REWARD_MODELS))).difference(written):
        path.unlink()


def _write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path
