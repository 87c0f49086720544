"""Where the numbers come from: what all runs share, and each run with what is its own."""

from typing import Any

from bench.config.run import flatten
from bench.grid import DASH, Grid
from bench.records.files import Record, Run
from leaderboard.analysis.rows import seconds
from leaderboard.site.sheets import Column, Field, Sheet
from leaderboard.views.show import config_grid, metric_grid, stage_grid

Facts = dict[str, str]
_SHORT = 10  # digits of a hash: enough to tell runs apart; the run's page has all


def facts(record: Record) -> Facts:
    """Code, packages, machine, data, reference and judge of one run, as text."""
    code, judge = record.code, record.judge
    commit = (code.commit or "unknown") + (f", changed ({code.diff_sha})" if code.dirty else "")
    found = {
        "commit": commit,
        "preset": record.preset,
        "reference": f"{record.reference.name} [{record.reference.sha}]",
        "judge": judge.name + (f" ({judge.model})" if judge.model else ""),
        "judge prompt": judge.template_sha or "",
        "editor": f"{record.editor.name} ({record.editor.source})" if record.editor else "",
    }
    found |= {f"data: {k}": f"{split.n} rows [{split.sha}]" for k, split in record.data.items()}
    machine = record.hardware.model_dump(exclude_none=True)
    found |= {key.replace("_", " "): str(value) for key, value in machine.items()}
    found |= record.packages
    return {key: value for key, value in found.items() if value}


def shared(records: list[Record]) -> tuple[Facts, list[str]]:
    """The facts that all runs have in common, and the names of those that differ."""
    found = [facts(record) for record in records]
    names = list(dict.fromkeys(name for own in found for name in own))
    same = [name for name in names if len({own.get(name) for own in found}) == 1]
    return {name: found[0][name] for name in same}, [name for name in names if name not in same]


def run_sheet(
    labelled: list[tuple[str, Run]], pages: dict[str, str], anchors: dict[str, str]
) -> Sheet:
    """One row a run.

    Args:
        labelled: (label, run), the runs of a label beside each other.
        pages: run folder -> address of the run's page.
        anchors: label -> id of the first row of its runs.
    """
    differing = shared([run.record for _, run in labelled])[1]
    columns = [Column("Run", numeric=False), Column("Method", numeric=False), Column("Seed")]
    names = ["Status", "Config", "Commit", "Finished"]
    names += [name for name in differing if name != "commit"]
    columns += [Column(name, numeric=False) for name in names]
    rows, anchored = [], set()
    for label, run in labelled:
        record, own = run.record, facts(run.record)
        head = Field(
            record.run_id, href=pages[str(run.folder)],
            id="" if label in anchored else anchors[label],
        )  # fmt: skip
        anchored.add(label)
        others = [Field(own.get(name, DASH)) for name in differing if name != "commit"]
        rows.append([head, Field(label), *_columns(record), *others])
    return Sheet("Runs", columns, rows)


def _columns(record: Record) -> list[Field]:
    code = record.code
    return [
        Field(str(record.seed), key=float(record.seed)),
        Field(record.status.replace("_", " "), record.error or ""),
        Field(record.config_sha[:_SHORT]),
        Field((code.commit or "unknown")[:_SHORT], "changed" if code.dirty else ""),
        Field(record.finished_at),
    ]


def run_grids(record: Record) -> list[Grid]:
    """All that a run's record says, as tables."""
    identity = {
        "run": record.run_id, "method": record.label, "paper": record.paper,
        "suite": record.suite, "seed": str(record.seed),
        "status": record.status.replace("_", " "), "error": record.error or "",
        "config hash": record.config_sha,
        "started": record.started_at, "finished": record.finished_at,
    }  # fmt: skip
    identity |= {f"judged {k}": str(n) for k, n in sorted(record.judge.counts.items())}
    if record.judge.cost_usd is not None:
        identity["judge USD"] = f"{record.judge.cost_usd:.2f}"
    counts = {
        f"{stage.name}: {name}": str(n)
        for stage in record.stages
        for name, n in stage.counts.items()
    }
    grids = [
        _pairs("This run", identity),
        metric_grid(record),
        stage_grid(record),
        _pairs("Counts of the stages", counts),
        _pairs("Convergence", _convergence(record)),
        _pairs("Judge", _details(record.judge.details)),
        _pairs("Editor", _details(record.editor.details if record.editor else {})),
        _pairs("Provenance", facts(record)),
        config_grid(record, None),
    ]
    return [grid for grid in grids if grid.rows]


def _details(details: dict[str, Any]) -> Facts:
    return {key: str(value) for key, value in flatten(details).items()}


def _convergence(record: Record) -> Facts:
    found = record.convergence
    if found is None:
        return {}
    return {
        "best step": DASH if found.best_step is None else str(found.best_step),
        "steps to 90 %": DASH if found.steps_to_90 is None else str(found.steps_to_90),
        "time to 90 %": seconds(found.seconds_to_90),
        "tokens to 90 %": DASH if found.tokens_to_90 is None else f"{found.tokens_to_90:,}",
    }


def _pairs(title: str, values: Facts) -> Grid:
    rows = [[key, value] for key, value in values.items() if value]
    return Grid(title, ["What", "Value"], rows)
