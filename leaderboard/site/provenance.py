"""Where the numbers come from: what all runs share, and each run with what is its own."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bench.config.loading import describe, typed
from bench.config.run import flatten
from bench.grid import DASH
from bench.records.files import Record, Run
from leaderboard.analysis.rows import seconds
from leaderboard.site.sheets import Column, Field, Sheet
from leaderboard.views.glossary import STAGES, fact_meaning, metric_term
from leaderboard.views.show import metric_grid, stage_grid

Facts = dict[str, str]
_SHORT = 10  # digits of a hash: enough to tell runs apart; the run's page has all


def facts(record: Record) -> Facts:
    """Code, packages, machine, data, reference and judge of one run, as text."""
    code, judge = record.code, record.judge
    commit = (code.commit or "unknown") + (f", changed ({code.diff_sha})" if code.dirty else "")
    found = {
        "commit": commit,
        "method.py": code.method_sha or "",
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


@dataclass(frozen=True)
class Fact:
    """A name, what it stands for in this run, and what it means."""

    name: str
    value: str
    meaning: str = ""


@dataclass(frozen=True)
class Block:
    """Facts below a heading."""

    title: str
    facts: list[Fact]


@dataclass(frozen=True)
class RunPage:
    """All that a run's record says: blocks of facts, tables, and the configuration by section."""

    blocks: list[Block]
    sheets: list[Sheet]
    config: list[Block]


def run_page(record: Record) -> RunPage:
    """What stands on the page of a run."""
    blocks = [
        _block("This run", _identity(record)),
        _block("Convergence", _convergence(record)),
        _block("Judge", _details(record.judge.details)),
        _block("Editor", _details(record.editor.details if record.editor else {})),
        _block("Counts of the stages", _counts(record)),
        _block("Provenance", facts(record)),
    ]
    sheets = [_metric_sheet(record), _stage_sheet(record)]
    return RunPage(
        [block for block in blocks if block.facts],
        [sheet for sheet in sheets if sheet.rows],
        _config(record),
    )


def known_facts(values: Facts) -> list[Fact]:
    """Facts with their meanings, without those that say nothing."""
    return [Fact(name, value, fact_meaning(name)) for name, value in values.items() if value]


def _block(title: str, values: Facts) -> Block:
    return Block(title, known_facts(values))


def _identity(record: Record) -> Facts:
    found = {
        "run": record.run_id, "suite": record.suite, "seed": str(record.seed),
        "status": record.status.replace("_", " "), "error": record.error or "",
        "config hash": record.config_sha,
        "started": record.started_at, "finished": record.finished_at,
    }  # fmt: skip
    found |= {f"judged {k}": str(n) for k, n in sorted(record.judge.counts.items())}
    if record.judge.cost_usd is not None:
        found["judge USD"] = f"{record.judge.cost_usd:.2f}"
    return found


def _counts(record: Record) -> Facts:
    return {
        f"{stage.name}: {name.replace('_', ' ')}": str(n)
        for stage in record.stages
        for name, n in stage.counts.items()
    }


def _metric_sheet(record: Record) -> Sheet:
    grid = metric_grid(record)
    rows = []
    for name, *values in grid.rows:
        term = metric_term(name)
        head = Field(term.name, meaning=f"{name}: {term.meaning}" if term.meaning else name)
        rows.append([head, *map(Field, values)])
    return Sheet(grid.title, _headed(grid.headers), rows)


def _stage_sheet(record: Record) -> Sheet:
    grid = stage_grid(record)
    rows = [
        [Field(name.replace("_", " "), meaning=STAGES.get(name, "")), *map(Field, values)]
        for name, *values in grid.rows
    ]
    return Sheet(grid.title, _headed(grid.headers), rows, grid.notes)


def _headed(headers: Sequence[str]) -> list[Column]:
    return [
        Column(header, numeric=i > 0, meaning=fact_meaning(header))
        for i, header in enumerate(headers)
    ]


def _config(record: Record) -> list[Block]:
    """The configuration by section, each field with what `python -m bench config` says of it."""
    known = {doc.path: f"{doc.description} ({doc.expected})" for doc in describe()}
    sections: dict[str, list[Fact]] = {}
    for path, value in flatten(record.config).items():
        section, _, name = path.rpartition(".")
        meaning = f"{path}: {known[path]}" if path in known else path
        fact = Fact(name.replace("_", " "), typed(value), meaning)
        sections.setdefault(section or "run", []).append(fact)
    return [Block(title.replace("_", " "), own) for title, own in sorted(sections.items())]


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
