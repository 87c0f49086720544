"""Many models in one call: one judge, one reference, one table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from bench.errors import UserError
from bench.files import check_writable, write_atomically
from bench.judging.files import (
    Comparisons,
    ReadsFiles,
    dumped,
    read_comparisons,
    reported,
)
from bench.judging.length_controlled import LengthControl
from bench.judging.references import require_same
from bench.judging.report import Report, by_instruction, own_details
from bench.judging.standing import STANDING, Standing, rank
from bench.naming import Names
from bench.plugins.protocols import Judge, Verdict
from bench.records.schema import Mark
from bench.tables import shortened

# Of a judge's work on all models; in the report of one of them it would be taken for that one's.
_OF_ALL = {"cost_usd", "possibly_billed_usd", "calls", "stored", "models", "first_at", "last_at"}


def read_models(outputs: Sequence[Path], reference: Path | None) -> dict[str, Comparisons]:
    """Read several models' files, by the models' names.

    Raises:
        UserError: as `read_comparisons`; or the files have other references or instructions, or
            two of them are of one model.
    """
    found = [read_comparisons(path, reference) for path in outputs]
    first = found[0].references
    for path, other in zip(outputs[1:], found[1:], strict=True):
        require_same(first, str(outputs[0]), other.references, str(path))
        if apart := first.keys() ^ other.references.keys():
            raise UserError(
                f"{outputs[0]} and {path} have different instructions, first "
                f"{shortened(min(apart))}: models that are ranked need the same"
            )
    names = [one.generator for one in found]
    if twice := [name for name, n in Counter(names).items() if n > 1]:
        files = [str(path) for path, name in zip(outputs, names, strict=True) if name == twice[0]]
        raise UserError(
            f"{' and '.join(files)} are both of {twice[0]}: give each model one file, and its own "
            "name in the field generator"
        )
    return dict(zip(names, found, strict=True))


def all_texts(models: Mapping[str, Comparisons]) -> tuple[list[str], list[str], list[str]]:
    """Instructions, outputs, references of all models: what `Judge.compare` takes."""
    columns = zip(*(one.texts for one in models.values()), strict=True)
    prompts, outputs, references = (list(chain.from_iterable(column)) for column in columns)
    return prompts, outputs, references


def judge_models(
    outputs: Sequence[Path],
    reference: Path | None,
    judge: Judge,
    another: Callable[[], Judge],
    *,
    out: Path | None = None,
    editor: str | None = None,
    control: LengthControl | None = None,
    known: Sequence[Mark] = (),
) -> tuple[Standing, dict[str, Report]]:
    """Judge several models' outputs; what is asked, is asked together.

    Args:
        outputs: one file a model, as for `bench.judging.files.read_comparisons`.
        reference: likewise.
        judge: who judges.
        another: makes one more such judge, where each reads the verdicts from a file.
        out: folder for models.json, and for each model a folder with its annotations and report.
        editor: who edited the data that the models learned from, if that is known.
        control: data of AlpacaEval's length-controlled win rate; None: it is left out.
        known: what people's labels said against the judge.

    Returns:
        The standing, and each model's report.

    Raises:
        UserError: as `read_models`; `out` cannot be written, or the judge can answer nothing.
    """
    models = read_models(outputs, reference)
    if out is not None:
        check_writable(out / STANDING)
    judges = [judge] * len(outputs)
    if isinstance(judge, ReadsFiles):
        judges[1:] = [another() for _ in outputs[1:]]
        verdicts = _looked_up(judges, outputs, models)
    else:
        verdicts = _asked_together(judge, models)
    folders = _folders(models, out)
    reports = {
        name: reported(
            models[name],
            verdicts[name],
            own,
            out=folders[name],
            editor=editor,
            details={k: v for k, v in own.about().items() if k not in _OF_ALL},
            control=control,
            known=known,
        )
        for name, own in zip(models, judges, strict=True)
    }
    judged = {
        name: (report, by_instruction(models[name].judged(verdicts[name])))
        for name, report in reports.items()
    }
    details = own_details(judge.about())
    if judges[-1] is not judge:
        counts = [Counter(own.about().get("models", {})) for own in judges]
        details["models"] = dict(sorted(sum(counts, Counter()).items()))
    standing = rank(judged, details)
    if out is not None:
        write_atomically(out / STANDING, dumped(standing.model_dump(mode="json")))
    return standing, reports


def _asked_together(judge: Judge, models: Mapping[str, Comparisons]) -> dict[str, list[Verdict]]:
    verdicts = iter(judge.compare(*all_texts(models)))
    return {name: [next(verdicts) for _ in one.rows] for name, one in models.items()}


def _looked_up(
    judges: Sequence[Any], outputs: Sequence[Path], models: Mapping[str, Comparisons]
) -> dict[str, list[Verdict]]:
    found = {}
    for judge, path, (name, one) in zip(judges, outputs, models.items(), strict=True):
        judge.use(path)
        found[name] = judge.compare(*one.texts)
    who = {judge.model for judge in judges}
    if len(who) > 1:
        named = ", ".join(sorted(str(name) for name in who))
        raise UserError(f"the files were annotated by different judges ({named}): rank them apart")
    return found


def _folders(models: Mapping[str, Comparisons], out: Path | None) -> dict[str, Path | None]:
    names = Names()
    return {name: out and out / names.new(name) for name in models}
