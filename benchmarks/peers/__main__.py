"""`python -m benchmarks.peers`: this harness and its peers on the same work, in turns."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from bench.errors import UserError
from benchmarks.peers.contest import CASES, contest
from benchmarks.peers.install import install as install_peers
from benchmarks.peers.table import as_markdown
from benchmarks.report import RESULTS, origin, write

QUICK: dict[str, Any] = {"prompts": 8, "minibatch": 4, "response_tokens": 8, "pairs": 64}


def main(
    out: Annotated[Path, typer.Option(help="JSON file; a .md stands beside it")] = RESULTS
    / "peers.json",
    rounds: Annotated[int, typer.Option(min=1, help="measured steps of each contender")] = 5,
    case: Annotated[list[str] | None, typer.Option(help=f"of {', '.join(CASES)}; all")] = None,
    quick: Annotated[bool, typer.Option(help="tiny sizes: whether it works, not how fast")] = False,
    install: Annotated[bool, typer.Option(help="install the peers and end")] = False,
) -> None:
    """Measure steps in turns; print and write medians, ratios and memory."""
    try:
        if install:
            install_peers()
            return
        names = _known(case or list(CASES))
        result = origin("python -m benchmarks.peers") | {"rounds": rounds, "quick": quick}
        result["cases"] = {}
        for name in names:
            work = replace(CASES[name].work, **QUICK) if quick else CASES[name].work
            result["cases"][name] = contest(CASES[name], rounds, work)
    except UserError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from error
    text = as_markdown(result)
    write(result, text, out)
    typer.echo(text)


def _known(names: list[str]) -> list[str]:
    unknown = sorted(set(names) - set(CASES))
    if unknown:
        raise UserError(f"--case {unknown[0]} is not one of {', '.join(CASES)}")
    return names


if __name__ == "__main__":
    typer.run(main)
