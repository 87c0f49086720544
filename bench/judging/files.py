"""`python -m bench judge`: files in, verdicts, a report and AlpacaEval's annotations out."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from bench.errors import UserError
from bench.files import check_writable, write_atomically
from bench.judging.alpaca_eval import Comparison, Output, annotation_rows, compares, match, read
from bench.judging.diagnostics import Judged
from bench.judging.length_controlled import LengthControl
from bench.judging.pairs import Pair
from bench.judging.references import ReferenceSet, identify, require_same
from bench.judging.report import Report, by_instruction, cross_check, make_report
from bench.plugins.protocols import Judge, Verdict
from bench.records.schema import Mark
from bench.tables import shortened

ANNOTATIONS = "annotations.json"
REPORT = "report.json"


@runtime_checkable
class ReadsFiles(Protocol):
    """A judge that finds its verdicts in the file that is to be judged (`judges.replay`)."""

    def use(self, path: Path) -> None:
        """Take the verdicts from this file."""
        ...


@runtime_checkable
class _TriesCanaries(Protocol):
    """A judge that can be tried on outputs whose verdict is known (`judges.pairwise`)."""

    options: Any

    def try_canaries(
        self, prompts: list[str], outputs: list[str], references: list[str]
    ) -> dict[str, Any]: ...


@dataclass(frozen=True)
class Comparisons:
    """What is judged.

    Attributes:
        rows: one an instruction, or as many of each as there are samples.
        generator: whose outputs are judged.
        reference: the set they are compared with.
    """

    rows: list[Comparison]
    generator: str
    reference: ReferenceSet

    @property
    def texts(self) -> tuple[list[str], list[str], list[str]]:
        """Instructions, outputs, references: what `Judge.compare` takes."""
        return (
            [row.prompt for row in self.rows],
            [row.output_2 for row in self.rows],
            [row.output_1 for row in self.rows],
        )

    @property
    def references(self) -> dict[str, str]:
        """The reference's outputs by instruction."""
        return _references(self.rows)

    def judged(self, verdicts: Sequence[Verdict]) -> Judged:
        """The pairs with their verdicts, of which there is one for each row."""
        prompts, outputs, references = self.texts
        return list(zip(map(Pair, prompts, references, outputs), verdicts, strict=True))


def read_comparisons(outputs: Path, reference: Path | None = None) -> Comparisons:
    """Read what is to be judged.

    Args:
        outputs: outputs; or pairs or annotations, which hold the reference's as output_1.
        reference: the reference's outputs to the same instructions.

    Raises:
        UserError: a file is wrong, the instructions are not the same, or a file of pairs has other
            references than `reference`.
    """
    if compares(outputs):
        rows = read(outputs, Comparison, samples=True)
        _require_one_reference(rows, outputs)
        if reference is not None:
            given = match(reference, read(reference, Output), outputs, rows)
            require_same(_references(rows), str(outputs), _outputs(given), str(reference))
    elif reference is None:
        raise UserError(f"{outputs} holds outputs alone: give what to compare with as --reference")
    else:
        rows = _paired(outputs, reference)
    _require_one_model(rows, outputs)
    return Comparisons(
        rows,
        _names([row.generator_2 for row in rows], outputs),
        identify(
            _references(rows), _names([row.generator_1 for row in rows], reference or outputs)
        ),
    )


def judge_file(
    outputs: Path,
    reference: Path | None,
    judge: Judge,
    *,
    out: Path | None = None,
    editor: str | None = None,
    control: LengthControl | None = None,
    known: Sequence[Mark] = (),
) -> Report:
    """Judge a file of outputs.

    Args:
        outputs: as for `read_comparisons`.
        reference: likewise.
        judge: who judges; a `Replay` without a file of its own reads `outputs`.
        out: folder for annotations.json, in AlpacaEval's format, and report.json.
        editor: who edited the data that the model learned from, if that is known.
        control: data of AlpacaEval's length-controlled win rate; None: it is left out.
        known: what people's labels said against the judge.

    Returns:
        The report. Where alpaca_eval computes another win rate, or cannot be run, it says so in
        `details["cross_check"]`: what is paid for is not lost to that.

    Raises:
        UserError: a file is wrong, `out` cannot be written, or the judge can answer nothing.
    """
    comparisons = read_comparisons(outputs, reference)
    if out is not None:
        check_writable(out / ANNOTATIONS)
    if isinstance(judge, ReadsFiles):
        judge.use(outputs)
    verdicts = judge.compare(*comparisons.texts)
    return reported(
        comparisons, verdicts, judge, out=out, editor=editor, control=control, known=known
    )


def reported(
    comparisons: Comparisons,
    verdicts: Sequence[Verdict],
    judge: Judge,
    *,
    out: Path | None,
    editor: str | None,
    details: Mapping[str, Any] | None = None,
    control: LengthControl | None = None,
    known: Sequence[Mark] = (),
) -> Report:
    """Sum up what was judged, hold it against alpaca_eval, and write both files.

    Args:
        comparisons: what was judged.
        verdicts: one for each of its rows.
        judge: as for `judge_file`.
        out: likewise.
        editor: likewise.
        details: what the judge says of its work; None: it is asked.
        control: as for `judge_file`.
        known: likewise.
    """
    judged = comparisons.judged(verdicts)
    report = make_report(
        judged,
        judge,
        comparisons.reference,
        comparisons.generator,
        editor,
        details,
        control,
        known,
    )
    rows = annotation_rows(comparisons.rows, verdicts, judge.model or judge.name)
    if out is None or not _checked_before(out, rows, report):
        report = _cross_checked(judged, report)
    if out is not None:
        write_atomically(out / ANNOTATIONS, dumped(rows))
        write_atomically(out / REPORT, dumped(report.as_dict()))
    return report


def try_canaries(
    outputs: Path, reference: Path | None, judge: Judge
) -> Mapping[str, Mapping[str, Any]]:
    """Try the canaries alone; they are the first questions of `judge_file`, so nothing is lost.

    Args:
        outputs: as for `read_comparisons`.
        reference: likewise.
        judge: who would judge.

    Returns:
        What became of each canary (`bench.judging.canaries.check`).

    Raises:
        UserError: a file is wrong, the judge has no canaries, or one of them won.
    """
    if not isinstance(judge, _TriesCanaries) or not judge.options.canaries:
        raise UserError(f"there are no canaries for the judge {judge.name} (judge.canaries)")
    return judge.try_canaries(*read_comparisons(outputs, reference).texts)


def _paired(outputs: Path, reference: Path) -> list[Comparison]:
    models = read(outputs, Output, samples=True)
    references = match(reference, read(reference, Output), outputs, models)
    return [
        Comparison(
            instruction=model.prompt,
            dataset=model.dataset or other.dataset,
            output_1=other.output,
            output_2=model.output,
            generator_1=other.generator or _stem(reference),
            generator_2=model.generator or _stem(outputs),
        )
        for model, other in zip(models, references, strict=True)
    ]


def _require_one_reference(rows: Sequence[Comparison], path: Path) -> None:
    references = _references(rows)
    if other := next((row for row in rows if references[row.prompt] != row.output_1), None):
        raise UserError(
            f"{path}: the samples of {shortened(other.prompt)} are compared with different "
            "references (output_1)"
        )


def _require_one_model(rows: Sequence[Comparison], path: Path) -> None:
    """Refuse to average over models what looks like samples of one."""
    names = list(dict.fromkeys(row.generator_2 for row in rows if row.generator_2))
    if len(names) > 1 and len(_references(rows)) < len(rows):
        raise UserError(
            f"{path} has the outputs of {len(names)} models ({', '.join(names[:3])}"
            f"{', ...' * (len(names) > 3)}) to the same instructions: give each a file of its own"
        )


def _references(rows: Sequence[Comparison]) -> dict[str, str]:
    return {row.prompt: row.output_1 for row in rows}


def _outputs(rows: Sequence[Output]) -> dict[str, str]:
    return {row.prompt: row.output for row in rows}


def _names(generators: Sequence[str | None], path: Path) -> str:
    """Who wrote the texts, by what the rows say, or else by the file's name."""
    return ", ".join(dict.fromkeys(filter(None, generators))) or _stem(path)


def _stem(path: Path) -> str:
    return path.name.split(".")[0]


def _cross_checked(judged: Judged, report: Report) -> Report:
    """The report, which says so if alpaca_eval does not confirm it."""
    try:
        rows = [{"preference": one.preference} for one in by_instruction(judged)]
        cross_check(rows, report.win_rate)
    except Exception as error:  # noqa: BLE001 (another package's, and whatever it imports)
        problem = f"not confirmed by alpaca_eval: {type(error).__name__}: {error}"
        return replace(report, details=report.details | {"cross_check": " ".join(problem.split())})
    return report


def _checked_before(out: Path, rows: list[dict[str, Any]], report: Report) -> bool:
    """Whether `out` holds these very rows and this win rate; importing alpaca_eval takes long."""
    try:
        same_rows = (out / ANNOTATIONS).read_text(encoding="utf-8") == dumped(rows)
        before = json.loads((out / REPORT).read_text(encoding="utf-8"))
        confirmed = "cross_check" not in before["details"]
        same_rate = dumped(before["win_rate"]) == dumped(report.as_dict()["win_rate"])
    except (OSError, ValueError, LookupError, TypeError):
        return False
    return same_rows and same_rate and confirmed


def dumped(content: Any) -> str:
    """JSON as it stands in the files."""
    return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
