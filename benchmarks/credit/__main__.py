"""`python -m benchmarks.credit`: steps to solve against where, and how densely, is paid.

Two problems of 16 tokens: the first token decides, or every token earns. On the left of the figure
the same reward is paid every n tokens; on the right, where the first token decides, each method of
the registry that pays does so as its own token source would, of a reward that does not err.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from bench.plugins.entries import BUILT_IN
from bench.plugins.registry import METHODS
from benchmarks.credit.drawing import draw
from benchmarks.credit.measuring import Settings, Way, every_n, measure, of_methods
from benchmarks.credit.problem import Problem
from benchmarks.report import RESULTS, origin, origin_text, table, write

PUBLISHED = RESULTS / "credit.json"
FIGURE = Path(__file__).parents[2] / "docs" / "figures" / "credit.png"
EVERY = (1, 2, 4, 8, 16)
QUICK = replace(Settings(), tokens=4, rates=(3e-2,), seeds=(0, 1), steps=3)


def problems(settings: Settings) -> dict[str, Problem]:
    """Both, by what the figure calls them."""
    tokens = settings.tokens
    return {
        "the first token decides": Problem(tokens, 1),
        "every token earns": Problem(tokens, tokens),
    }


def results(settings: Settings) -> dict[str, Any]:
    """Everything that is measured, ways that nothing tells apart once."""
    both, known = problems(settings), dict[str, dict[str, Any]]()

    def measured(way: Way) -> dict[str, Any]:
        alike = way.alike
        if alike not in known:
            known[alike] = measure(way, settings)
        row = {"label": way.label} | known[alike]
        typer.echo(f"{way.label:40} {row['mean']:5.1f} steps at {row['best_rate']:g}")
        return row

    density = {
        name: [{"every": n} | measured(every_n(problem, n)) for n in EVERY]
        for name, problem in both.items()
    }
    own = sorted(entry.name for entry in METHODS.entries() if entry.source == BUILT_IN)
    ways = of_methods(next(iter(both.values())), own)
    return {"density": density, "methods": list(map(measured, ways))}


def as_markdown(result: dict[str, Any]) -> str:
    """One row a way of paying."""
    header = ["paid", "mean steps", "95 % interval", "best rate", "unsolved"]
    parts = {f"Paid every n tokens: {name}": rows for name, rows in result["density"].items()}
    parts["The first token decides, by method"] = result["methods"]
    settings = result["settings"]
    notes = (
        f"Solved: {settings['solved']:g} of the best reward over {settings['window']} steps; "
        f"{len(settings['seeds'])} seeds, the better of the rates "
        f"{', '.join(f'{rate:g}' for rate in settings['rates'])}; a run that is not solved counts "
        f"as {settings['steps']} steps. Intervals: Student's t over seeds. {origin_text(result)}"
    )
    if result["quick"]:
        notes += "\n\n**Tiny sizes (`--quick`): these numbers say nothing.**"
    tables = [
        f"## {name}\n\n{table(header, list(map(_cells, rows)))}" for name, rows in parts.items()
    ]
    return "\n\n".join(["# Credit", notes, *tables])


def _cells(row: dict[str, Any]) -> list[str]:
    interval = f"[{row['low']:.1f}, {row['high']:.1f}]"
    return [
        row["label"],
        f"{row['mean']:.1f}",
        interval,
        f"{row['best_rate']:g}",
        str(row["unsolved"]),
    ]


def main(
    out: Annotated[Path, typer.Option(help="JSON file; a .md stands beside it")] = PUBLISHED,
    figure: Annotated[Path, typer.Option(help="PNG file")] = FIGURE,
    quick: Annotated[bool, typer.Option(help="tiny sizes: whether it works")] = False,
) -> None:
    """Measure, print, write and draw steps to solve."""
    if quick and (out == PUBLISHED or figure == FIGURE):
        raise typer.BadParameter("--quick would write over what is published: give --out, --figure")
    torch.set_num_threads(1)
    settings = QUICK if quick else Settings()
    result = origin("python -m benchmarks.credit") | {"quick": quick, "settings": asdict(settings)}
    result |= results(settings)
    write(result, as_markdown(result), out)
    draw(result, figure)
    typer.echo(f"{out}, {figure}")


if __name__ == "__main__":
    typer.run(main)
