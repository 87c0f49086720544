"""Verbs around a run: `run`, `list`, `config`, `doctor`."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli.app import (
    TABLE_OR_JSON,
    Methods,
    Overrides,
    Preset,
    RunSuite,
    TableOrJson,
    app,
    check_format,
)
from bench.cli.completion import methods
from bench.cli.terminal import fail, guarded, show, use_threads
from bench.errors import UserError
from bench.grid import words
from bench.models import processes
from bench.records.provenance import cores

if TYPE_CHECKING:
    from bench.config.run import RunConfig
    from bench.pipeline.store import Store


@app.command()
@guarded
def run(
    method: Methods,
    suite: RunSuite = None,
    preset: Preset = "testbed",
    seed: Annotated[int | None, typer.Option(min=0, help="Of every random choice.")] = None,
    seeds: Annotated[str | None, typer.Option(help="Several runs, as 0,1,2 or 0-4.")] = None,
    overrides: Overrides = None,
    store: Annotated[
        Path | None, typer.Option(help="Finished stages; default: BENCH_STORE or a user cache.")
    ] = None,
    results: Annotated[
        Path, typer.Option(envvar="BENCH_RESULTS", help="Where the records of your runs go.")
    ] = Path("results/runs"),
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the stages and what asking costs; run none.")
    ] = False,
    until: Annotated[
        str | None,
        typer.Option(
            metavar="STAGE",
            help="End behind sft, samples, preferences, edits, reward_model (measured), "
            "rm_evaluation, policy or outputs.",
        ),
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Runs at a time, each a process.")] = 1,
    gpus: Annotated[int, typer.Option(min=1, help="GPUs that share the work of a run.")] = 1,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads of torch.")] = None,
    launcher: Annotated[
        str, typer.Option(help="Where runs go: local, ray or slurm (docs/training.md).")
    ] = "local",
    gpus_per_run: Annotated[int | None, typer.Option(min=0, help="With ray or slurm.")] = None,
    retries: Annotated[
        int, typer.Option(min=0, help="With ray or slurm: how often a lost run goes on.")
    ] = 3,
    ray_address: Annotated[
        str | None, typer.Option(envvar="RAY_ADDRESS", help="Of a cluster; else one starts here.")
    ] = None,
    slurm: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="As partition=gpu; repeatable.")
    ] = None,
    track: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Send curves to tensorboard, wandb, mlflow or trackio; or a,b."
        ),
    ] = None,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="No progress; results and errors alone.")
    ] = False,
    format: TableOrJson = "table",
    as_job: Annotated[bool, typer.Option("--as-job", hidden=True)] = False,
) -> None:
    """Train and judge methods; stages that are in the store already are not computed again."""
    from bench.cli import outcome
    from bench.pipeline.progress import Progress
    from bench.pipeline.store import Store
    from bench.running import launch, sweeps
    from bench.running.jobs import run_options
    from bench.running.together import check_gpus, run_together
    from bench.running.tracking import check_trackers

    if as_job:
        threading.Thread(target=_end_with_the_launcher, daemon=True).start()
    where = sweeps.Options(launcher, jobs, threads, gpus_per_run, retries, ray_address, slurm or [])
    where.check()
    trackers = check_trackers(track)
    check_format(format, *TABLE_OR_JSON)
    if dry_run and format == "json":
        raise UserError("--dry-run prints tables: leave out --format json")
    if threads is not None and threads > cores():
        raise UserError(f"--threads {threads}: this machine has {cores()} cores")
    use_threads(threads)
    processes.join()
    launch.check_until(until)
    check_gpus(gpus, alone=jobs == 1 and launcher == "local")
    configs = launch.configurations(
        method, suite=suite, preset=preset, seed=seed, seeds=seeds, overrides=overrides or []
    )
    progress = Progress(quiet=quiet or not processes.is_first())
    stages = Store(store, warn=progress.say)
    launch.check_folder(stages.root, "store", make=not dry_run)
    launch.check_folder(results, "results", make=not dry_run)
    if dry_run:
        processes.expect(gpus)
        with launch.fetch_named(preset, suite, overrides or []):
            _show_plans(configs, stages, until)
        return
    if gpus > 1:
        options = {
            "method": method,
            "suite": suite,
            "preset": preset,
            "seed": seed,
            "seeds": seeds,
            "store": stages.root,
            "results": results,
            "threads": threads or max(1, cores() // gpus),
            "until": until,
            "track": track,
            "format": format,
        }
        quietly = ["--quiet"] * quiet
        code = run_together(["run", *run_options(options, overrides or []), *quietly], gpus)
        raise typer.Exit(code)  # they said what came of it
    if len(configs) > 1 and launcher == "local":
        with launch.fetch_named(preset, suite, overrides or []):
            launch.check_plans(configs, stages, until)
    # Whoever started the jobs shows what came of all of them.
    shows = not as_job and processes.is_first()
    kind = format if shows else None
    with outcome.shown(configs, results, kind, keeps_whole=until is not None) as failures:
        if where.side_by_side(len(configs)):
            failures += sweeps.run_apart(
                configs, overrides or [], stages.root, results, where, progress.say, until, track
            )
        else:
            with launch.fetch_named(preset, suite, overrides or []):
                failures += launch.run_here(configs, stages, results, progress, until, trackers)
    if failures:
        raise UserError("; ".join(failures), exit_code=1)


def _show_plans(configs: list[RunConfig], store: Store, until: str | None) -> None:
    """Print how many runs there are and what each would do, and refuse what does not fit."""
    from bench.config.sweeping import swept
    from bench.running import launch

    problems = []
    fields = swept(configs)
    if len(configs) > 1:
        show(launch.count(configs))
    for config in configs:
        tables, problem = launch.plan_tables(config, store, until, fields)
        show(*tables)
        problems += [problem] if problem else []
    if problems:
        raise UserError("; ".join(dict.fromkeys(problems)))


@app.command("list")
@guarded
def list_plugins(format: TableOrJson = "table") -> None:
    """Methods, judges, suites and presets by name."""
    from bench.config.presets import preset_names
    from bench.plugins.registry import REGISTRIES

    check_format(format, *TABLE_OR_JSON)
    if format == "json":
        from leaderboard.views.json import document

        plugins = [
            {"kind": one.kind, "broken": one.is_broken(entry)}
            | {name: getattr(entry, name) for name in ("name", "summary", "paper", "source")}
            for one in REGISTRIES
            for entry in one.entries()
        ]
        show(document("list", {"plugins": plugins, "presets": preset_names()}))
        return
    for registry in REGISTRIES:
        rows = []
        for entry in registry.entries():
            is_broken = registry.is_broken(entry)
            about = "broken (`run` says why)" if is_broken else entry.summary
            rows.append((entry.name, about, entry.paper, entry.source))
        if rows:
            show(words(registry.plural, ["name", "", "paper", "from"], rows))
    show(words("presets", ["name"], [(name,) for name in preset_names()]))


@app.command()
@guarded
def config(
    section: Annotated[str | None, typer.Argument(help="As ppo; all if left out.")] = None,
    preset: Preset = "testbed",
    method: Annotated[
        str | None,
        typer.Option(help="Show its own options (reward.*) too.", autocompletion=methods),
    ] = None,
    overrides: Overrides = None,
) -> None:
    """Every field with its value, what it may be, and what it means."""
    from bench.config.loading import (
        FIELDS,
        PLUGINS,
        describe,
        describe_options,
        load_config,
        typed,
    )
    from bench.plugins.registry import METHODS

    loaded = load_config(preset, overrides, method=method)
    if method:
        METHODS.get(method)  # whichever section is asked for
    docs = [doc for doc in describe(loaded, section) if doc.path not in FIELDS.values()]
    for name in PLUGINS:
        if section in (None, name) and (method or name != "reward"):
            docs += describe_options(loaded, name)
    rows = [(doc.path, typed(doc.value), doc.expected, doc.description) for doc in docs]
    hint = "" if method else "; a method's own options, reward.*, with --method NAME"
    show(words(f"preset {preset}{hint}", ["field", "value", "may be", "meaning"], rows))


@app.command()
@guarded
def doctor(
    preset: Preset = "testbed",
    suite: RunSuite = None,
    overrides: Overrides = None,
    store: Annotated[
        Path | None, typer.Option(help="Where stages would go; default: BENCH_STORE or a cache.")
    ] = None,
    json: Annotated[Path | None, typer.Option(help="Write the findings to this file.")] = None,
) -> None:
    """Check model, trainer and machine before a long run; exit code 1 where a check fails."""
    from bench.pipeline.progress import Progress
    from bench.running import launch

    findings = launch.examine(
        preset, suite, overrides or [], store, json, say=typer.echo, doing=Progress().doing
    )
    failed = [finding.name for finding in findings if finding.status == "FAIL"]
    if failed:
        fail(f"doctor: {len(failed)} of {len(findings)} checks failed: {', '.join(failed)}", 1)


@app.command()
@guarded
def fetch(
    preset: Preset = "testbed",
    suite: RunSuite = None,
    overrides: Overrides = None,
    lc: Annotated[
        bool,
        typer.Option("--lc", help="Only what `judge --lc hub` reads: AlpacaEval's gamed verdicts."),
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List it; download nothing.")] = False,
) -> None:
    """Bring a preset's model and data from the hub into its cache; then HF_HUB_OFFLINE=1 runs."""
    from bench.config.loading import load_config, load_suite
    from bench.config.sweeping import expand
    from bench.grid import to_rich
    from bench.running import fetching

    listings = []
    if lc:
        from bench.judging.length_controlled import REPO

        listings.append(fetching.listing(REPO))
    for point in [] if lc else expand(overrides or [], preset, suite=suite):
        loaded = load_config(preset, point, suite=suite)
        found = fetching.listed(loaded, load_suite(loaded))
        listings += [listing for listing in found if listing not in listings]
    if not listings:
        typer.echo(f"the suite {loaded.suite} and its model need nothing of the hub")
        return
    show(to_rich(fetching.listing_grid(listings)))
    if not dry_run:
        fetching.fetch(listings, say=typer.echo)


def _end_with_the_launcher() -> None:
    """Wait until the process that started this run is gone, then end it as a SIGTERM would."""
    # Not sys.stdin, whose lock a waiting thread would hold when the interpreter ends.
    os.read(0, 1)
    os.kill(os.getpid(), signal.SIGTERM)
