"""Verbs that ask language models, and about them: `judge`, `judges`, `agree`, `edit`."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench.cli import completion
from bench.cli.app import Results, app
from bench.cli.terminal import complain, fail, guarded, show
from bench.errors import UserError

if TYPE_CHECKING:
    from bench.judging.report import Report
    from bench.records.schema import Mark

Options = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="PATH=VALUE",
        help="As judge.model=claude-haiku-5-5 (edit: editor.model=...); repeatable.",
    ),
]
Store = Annotated[
    Path | None, typer.Option(help="Where answers are kept; default: BENCH_STORE or a user cache.")
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Print calls, tokens, price and time; ask nothing.")
]
MaxUsd = Annotated[
    float | None,
    typer.Option(
        min=0,
        help="Spend this; what would exceed it, by what such calls have cost so far, is left out. "
        "How far calls in flight may pass it: docs/judging.md.",
    ),
]
Retry = Annotated[
    str | None,
    typer.Option(
        metavar="STATUS,...",
        help="Ask, and pay, once more where a stored answer ended as parse_error, refusal or "
        "truncated.",
    ),
]
AllowMissing = Annotated[
    bool, typer.Option("--allow-missing", help="Go on and exit with 0, whatever has no answer.")
]
AllowInvalid = Annotated[
    bool,
    typer.Option("--allow-invalid", help="Exit with 0, whatever makes the result not valid."),
]


@app.command()
@guarded
def judge(
    outputs: Annotated[
        list[Path],
        typer.Argument(
            help="Outputs, pairs or annotations in AlpacaEval's formats; several: a model each."
        ),
    ],
    reference: Annotated[
        Path | None, typer.Option(help="Outputs to compare with; pairs have their own.")
    ] = None,
    judge: Annotated[
        str, typer.Option(help="A name from `list`.", autocompletion=completion.judges)
    ] = "claude",
    options: Options = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for annotations.json and report.json; models.json of several."),
    ] = None,
    edits: Annotated[
        Path | None, typer.Option(help="The edits that the model learned from: who made them.")
    ] = None,
    lc: Annotated[
        str | None,
        typer.Option(
            metavar="FOLDER|hub",
            help="AlpacaEval's length-controlled win rate too: where its df_gamed.csv is.",
        ),
    ] = None,
    dry_run: DryRun = False,
    canary: Annotated[bool, typer.Option("--canary", help="Only try the canaries.")] = False,
    max_usd: MaxUsd = None,
    retry: Retry = None,
    allow_missing: AllowMissing = False,
    allow_invalid: AllowInvalid = False,
    store: Store = None,
    results: Results = Path("results/runs"),
) -> None:
    """Compare outputs with a reference's, in both orders; what was answered is not asked again."""
    from bench.judging.files import try_canaries
    from bench.judging.many import all_texts, read_models
    from bench.judging.show import canary_table
    from bench.plugins.registry import JUDGES

    plugin = JUDGES.get(judge)
    chosen = _options(plugin, options, f"judge {judge}", "judge", max_usd=max_usd, retry=retry)

    def make() -> Any:
        return plugin(None, chosen, answers=_answers(store, "judge"), say=_say)

    made = make()
    if dry_run:
        _show_estimate(made, all_texts(read_models(outputs, reference)))
        return
    if canary:
        tried = try_canaries(outputs[0], reference, made)
        show(canary_table(tried, f"{made.model} with the prompt {made.template.name}"))
        return
    given = {"out": out, "editor": _editor_of(edits), "control": _control(lc)}
    given["known"] = _known_marks(made, results)
    reports = _judged(outputs, reference, made, make, **given)
    how = _mending(made, sum((Counter(one.counts) for one in reports.values()), Counter()))
    allowed = {"missing"} if allow_missing else set()
    reasons = [
        f"not valid: {name}{mark.text}; {_mend(mark, how)}"
        for name, report in reports.items()
        for mark in report.marks
        if mark.level == "invalid" and mark.what not in allowed
    ]
    if reasons and not allow_invalid:
        fail("\n".join(reasons), 3)
    if how:
        _say(how)
    problems = {
        f"error: {name}the win rate is {report.details['cross_check']}"
        for name, report in reports.items()
        if "cross_check" in report.details
    }
    if problems:
        fail("\n".join(sorted(problems)), 1)


def _judged(
    outputs: list[Path],
    reference: Path | None,
    made: Any,
    make: Callable[[], Any],
    **given: Any,
) -> dict[str, Report]:
    """Judge and show; the reports by what a message calls their models, "" where there is one."""
    if len(outputs) == 1:
        from bench.judging.files import judge_file
        from bench.judging.show import report_table

        report = judge_file(outputs[0], reference, made, **given)
        show(report_table(report))
        return {"": report}
    from bench.judging.many import judge_models
    from bench.judging.standing_show import standing_grids

    standing, reports = judge_models(outputs, reference, made, make, **given)
    show(*standing_grids(standing))
    return {f"{name}: ": report for name, report in reports.items()}


@app.command()
@guarded
def judges(
    labels: Annotated[
        Path,
        typer.Argument(help="People's labels: annotations, several rows a comparison; a study.db."),
    ],
    judged: Annotated[
        list[Path] | None,
        typer.Argument(help="Folders of `judge --out`, or files of annotations, one a judge."),
    ] = None,
    pairs: Annotated[
        Path | None, typer.Option(help="Write each comparison once to this file, to be judged.")
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write the numbers to this file.")
    ] = None,
    results: Results = Path("results/runs"),
) -> None:
    """How good are judges, by people? One below the floor is marked wherever it judged."""
    from bench.files import write_atomically, write_json_option
    from bench.judging.people import People, pairs_to_judge, quality
    from bench.judging.show import quality_tables
    from bench.records.judges import write

    labelled = _labels(labels)
    people = People.of(labelled)
    if pairs is not None:
        write_atomically(pairs, json.dumps(pairs_to_judge(labelled), indent=1) + "\n")
    elif not judged:
        raise UserError("name what judges said, or --pairs FILE for what they are to be asked")
    found = [quality(path, people, labels) for path in dict.fromkeys(judged or [])]
    for one in found:
        if one.judge is not None:
            _say(f"record: {write(one, results)}")
    if json_file is not None:
        text = json.dumps([one.model_dump(mode="json") for one in found], indent=1)
        write_json_option(json_file, text + "\n")
    show(*quality_tables(found, people))


@app.command()
@guarded
def agree(
    first: Annotated[
        Path, typer.Argument(help="Annotations in AlpacaEval's format, perhaps of several people.")
    ],
    others: Annotated[
        list[Path] | None,
        typer.Argument(help="Others on the same outputs. Each may be a study.db of `studio`, too."),
    ] = None,
    gold: Annotated[
        str | None,
        typer.Option(
            metavar="SUITE",
            help="And the gold judge of this suite, such as testbed.",
            autocompletion=completion.suites,
        ),
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write the numbers to this file.")
    ] = None,
) -> None:
    """How far judges and people agree, comparison by comparison; of two also beyond chance."""
    from bench.files import is_database, write_json_option
    from bench.judging.agreement import agree as agreement
    from bench.judging.agreement import one_each
    from bench.judging.beside import Rater, beside, common
    from bench.judging.labels import annotations_of
    from bench.judging.show import agreement_tables, beside_table

    files = [annotations_of(path) for path in (first, *(others or []))]
    found: Any
    grids: Any
    if gold is None and len(files) == 2 and not any(map(is_database, files)) and one_each(*files):
        found, grids = agreement(*files), agreement_tables
    else:
        raters = [Rater.of(_labels(path)) for path in files]
        if gold is not None:
            raters.append(Rater.judged(_gold(gold), common(raters)))
        elif raters[0].people == len(raters) == 1:
            raise UserError(f"{first} is by one alone: name another file, or --gold SUITE")
        found, grids = beside(raters), beside_table
    if json_file is not None:
        write_json_option(json_file, json.dumps(found.as_dict(), indent=1) + "\n")
    show(*grids(found))


def _labels(path: Path) -> Any:
    """Labels of a study, or of a file of annotations."""
    from bench.files import is_database
    from bench.judging.labels import Labelled
    from bench.studio.labels import labelled

    return labelled(path) if is_database(path) else Labelled.read(path)


def _gold(suite: str) -> Any:
    """The judge that knows a suite's truth."""
    from bench.plugins.registry import JUDGES, SUITES

    plugin = SUITES.get(suite)
    return JUDGES.get("gold")(plugin(_options(plugin, None, f"suite {suite}", "suite")))


@app.command()
@guarded
def edit(
    preferences: Annotated[
        Path, typer.Argument(help="Rows of prompt, chosen, rejected; or AlpacaFarm's.")
    ],
    out: Annotated[Path, typer.Option(help="JSONL file for the accepted edits.")],
    editor: Annotated[
        str, typer.Option(help="A name from `list`.", autocompletion=completion.editors)
    ] = "claude",
    options: Options = None,
    dry_run: DryRun = False,
    max_usd: MaxUsd = None,
    retry: Retry = None,
    allow_missing: AllowMissing = False,
    store: Store = None,
) -> None:
    """Edit the less preferred response of every pair, only where needed."""
    from bench.editing.files import edit_file, read_responses
    from bench.editing.show import edit_tables
    from bench.plugins.registry import EDITORS

    plugin = EDITORS.get(editor)
    chosen = _options(plugin, options, f"editor {editor}", "editor", max_usd=max_usd, retry=retry)
    made = plugin(chosen, answers=_answers(store, "edit"), say=_say)
    if dry_run:
        pairs = read_responses(preferences)[0]
        _show_estimate(made, (pairs,), repeated=[original for _, original in pairs])
        return
    report = edit_file(preferences, out, made, allow_missing=allow_missing)
    show(*edit_tables(report))
    if how := _mending(made, report.outcomes):
        _say(how)


def _known_marks(judge: Any, results: Path) -> list[Mark]:
    """What people's labels said against a judge, by one's own records and the published ones."""
    from bench.records.files import PUBLISHED
    from bench.records.judges import marks_of, read_all

    problems: list[str] = []
    known = [one for root in {results, PUBLISHED} for one in read_all(root, problems)]
    complain(problems)
    return marks_of(known, judge.name, judge.model, judge.template_sha)


def _options(plugin: Any, given: list[str] | None, who: str, section: str, **flags: Any) -> Any:
    """The plug-in's options, of which some have flags of their own."""
    from bench.config.loading import named_options, parse_options

    values = parse_options(given or [], section)
    values |= {name: value for name, value in flags.items() if value is not None}
    return named_options(plugin, values, who, section)


def _mending(asking: Any, counts: Mapping[str, int]) -> str:
    """How what is missing is asked for again; "" where nothing is, or nobody was asked."""
    asker = getattr(asking, "asker", None)
    return asker.mending(counts, "--retry ") if asker else ""


def _mend(mark: Mark, how: str) -> str:
    """What to do about a result that is not valid, or which flag takes it as it is."""
    if mark.what != "missing":
        return "or give --allow-invalid"
    return f"{how}{', or ' if how else ''}give --allow-missing"


def _answers(store: Path | None, name: str) -> Path:
    from bench.pipeline.store import default_root

    return (store or default_root()) / "answers" / f"{name}.jsonl"


def _show_estimate(asking: Any, texts: tuple[Any, ...], repeated: Sequence[str] = ()) -> None:
    """Print what a judge or editor that asks a model would ask for these texts.

    Args:
        asking: the judge or editor.
        texts: what its `requests` takes.
        repeated: texts of which an answer repeats one, as an edit repeats what is edited.
    """
    if not hasattr(asking, "asker"):
        raise UserError(f"{asking.name} asks no model, so there is nothing to estimate")
    from bench.llm.money.estimate import ASSUMED_OUTPUT_TOKENS, estimate, repeated_tokens
    from bench.llm.money.show import estimate_table

    tokens = ASSUMED_OUTPUT_TOKENS + repeated_tokens(asking, texts, repeated)
    assumes = getattr(asking, "assumes", "")
    show(estimate_table(estimate(asking.requests(*texts), asking.asker, tokens, assumes)))


def _control(lc: str | None) -> Any:
    """The data of AlpacaEval's length-controlled win rate, read before anything is paid for."""
    if lc is None:
        return None
    from bench.judging.length_controlled import LengthControl

    return LengthControl(lc)


def _editor_of(edits: Path | None) -> str | None:
    """Who made the edits of a file."""
    if edits is None:
        return None
    from bench.data import Edit, read_rows

    return ", ".join(sorted({row.source for row in read_rows(edits, Edit)}))


def _say(line: str) -> None:
    typer.echo(line, err=True)
