"""The typer application, and the options that several verbs share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.cli import completion
from bench.errors import UserError

app = typer.Typer(
    name="bench",
    help="GrainBench: what does finer-grained supervision buy in RLHF?",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        from bench.records.provenance import code_state

        commit, dirty = (code_state()[key] for key in ("commit", "dirty"))
        where = f" (commit {commit[:10]}{', changed' * dirty})" if commit else ""
        typer.echo(f"grainbench {version('grainbench')}{where}")
        raise typer.Exit


@app.callback()
def _options(
    _version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print it and end."),
    ] = False,
) -> None:
    """What stands before the verb; the application has its own help."""


Preset = Annotated[
    str,
    typer.Option(
        "--preset",
        "--config",
        help="A name from bench/config/presets, or a YAML file.",
        autocompletion=completion.presets,
    ),
]
Methods = Annotated[
    str,
    typer.Option(
        "--method",
        help="A name from `list`; several as a,b,c.",
        autocompletion=completion.methods,
    ),
]
RunSuite = Annotated[
    str | None,
    typer.Option("--suite", help="Instead of the preset's.", autocompletion=completion.suites),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="PATH=VALUE", help="As ppo.lr=1e-4; repeatable."),
]


def _at_hand(path: Path | None) -> Path | None:
    from bench.records.published import at_hand

    return None if path is None else at_hand(path)


Results = Annotated[
    Path,
    typer.Option(
        envvar="BENCH_RESULTS",
        callback=_at_hand,
        help="Where records are; `results` stands for the published ones in any folder.",
    ),
]
StagesOf = Annotated[
    Path | None,
    typer.Option("--store", help="Where the runs' stages are; default: BENCH_STORE or a cache."),
]
Baseline = Annotated[
    Path, typer.Option(callback=_at_hand, help="What `baseline` wrote, or a folder of runs.")
]
SuiteName = Annotated[
    str | None,
    typer.Option("--suite", help="Only this suite.", autocompletion=completion.suites),
]
FORMATS = ("table", "md", "csv", "json")
Format = Annotated[str, typer.Option("--format", help="table, md, csv or json (docs/json.md).")]
TABLE_OR_JSON = ("table", "json")
TableOrJson = Annotated[str, typer.Option("--format", help="table or json (docs/json.md).")]
Metric = Annotated[str, typer.Option(help="As win_rate or gold_score.")]


def check_format(format: str, *known: str) -> None:
    """Refuse a format that a verb does not have.

    Raises:
        UserError: naming those that it has.
    """
    if format not in known:
        raise UserError(f"--format {format}: choose {', '.join(known[:-1])} or {known[-1]}")
