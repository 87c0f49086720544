"""What a finished run answered, in AlpacaEval's format: for other judges, people and tools.

    {"instruction": ..., "output": ..., "generator": RUN, "dataset": SUITE}

one row a response; beside another run, or the suite's references, as comparisons:

    {"instruction": ..., "output_1": OTHER's, "generator_1": OTHER, "output_2": RUN's, ...}
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.errors import UserError
from bench.files import write_atomically
from bench.pipeline.store import Store
from bench.records.files import Record
from bench.records.schema import texts_sha
from bench.running.plan import make_plan
from bench.running.rerun import recorded_config
from bench.running.stored import file_of
from bench.stages.outputs import OUTPUTS

WHICH = ("sampled", "greedy", "matched", "unseen")


@dataclass(frozen=True)
class Answers:
    """Responses of one model to some prompts.

    Attributes:
        generator: who answered.
        prompts: N of them.
        samples: of each sample, a response to each prompt.
    """

    generator: str
    prompts: list[str]
    samples: list[list[str]]


def answers_of(record: Record, store: Store, which: str) -> Answers:
    """What a run's policy answered: the run may be of old code, too.

    Args:
        record: of the run.
        store: which still has its outputs.
        which: of `WHICH`: sampled or greedy responses to the test prompts, those of the checkpoint
            at matched KL, or those to the prompts of the split "unseen".

    Raises:
        UserError: the run has no such outputs, or the store has them no more.
    """
    file = file_of(record, "outputs", OUTPUTS, "outputs", store)
    outputs = json.loads(file.read_text(encoding="utf-8"))
    if which not in outputs:
        there = ", ".join(name for name in WHICH if name in outputs)
        raise UserError(f"{record.run_id}: it has no {which} outputs; there are: {there}")
    split = "unseen" if which == "unseen" else "test"
    samples = outputs[which] if which == "sampled" else [outputs[which]]
    return Answers(record.run_id, outputs["prompts"][split], samples)


def references_of(record: Record, store: Store, answers: Answers) -> Answers:
    """The suite's references to what was answered.

    Raises:
        UserError: today they are others than those that the run was judged against.
    """
    _, suite = make_plan(recorded_config(record)[0], store)
    texts = suite.references(answers.prompts)
    judged = record.data["test"].sha == texts_sha(answers.prompts)  # and not the split "unseen"
    if judged and texts_sha(texts) != record.reference.sha:
        raise UserError(
            f"{record.run_id}: the references of {record.suite} are others today than those that "
            "it was judged against"
        )
    return Answers(f"{record.suite} references", answers.prompts, [texts])


def output_rows(answers: Answers, dataset: str) -> list[dict[str, str]]:
    """A row for each sample and prompt.

    Args:
        answers: the responses.
        dataset: where the prompts are from.
    """
    return [
        {"instruction": prompt, "output": text, "generator": answers.generator, "dataset": dataset}
        for texts in answers.samples
        for prompt, text in zip(answers.prompts, texts, strict=True)
    ]


def comparison_rows(first: Answers, second: Answers, dataset: str) -> list[dict[str, str]]:
    """A pair for each sample and prompt.

    Args:
        first: what is compared with: as many samples as `second`, or one, with which all are.
        second: the responses.
        dataset: where the prompts are from.

    Raises:
        UserError: `first` answered other prompts, or not as many times.
    """
    samples = first.samples * (len(second.samples) if len(first.samples) == 1 else 1)
    if first.prompts != second.prompts or len(samples) != len(second.samples):
        raise UserError(
            f"{first.generator} answered other prompts than {second.generator}, or not as many "
            "times: their responses are no pairs"
        )
    return [
        {"instruction": prompt, "output_1": one, "generator_1": first.generator,
         "output_2": other, "generator_2": second.generator, "dataset": dataset}
        for texts in zip(samples, second.samples, strict=True)
        for prompt, one, other in zip(second.prompts, *texts, strict=True)
    ]  # fmt: skip


def write_rows(found: Sequence[dict[str, str]], out: Path) -> None:
    """As a list (.json), or a row a line (.jsonl).

    Raises:
        UserError: the name ends otherwise, or it cannot be written.
    """
    if out.suffix == ".json":
        write_atomically(out, json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    elif out.suffix == ".jsonl":
        lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in found)
        write_atomically(out, "".join(lines))
    else:
        raise UserError(f"--out {out}: name a file that ends in .json or .jsonl")
