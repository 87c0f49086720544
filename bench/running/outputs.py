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
    keys = [stage.key for stage in record.stages if stage.name == "outputs"]
    if not keys:
        raise UserError(f"{record.run_id}: this run answered no test prompts")
    found = store.find("outputs", keys[0])
    if found is None:
        raise UserError(
            f"{record.run_id}: the store {store.root} does not have its outputs: give the one in "
            "which they are with --store"
        )
    outputs = json.loads((found.path / OUTPUTS).read_text(encoding="utf-8"))
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


def rows(answers: Answers, dataset: str, against: Answers | None = None) -> list[dict[str, str]]:
    """One for each sample and prompt.

    Args:
        answers: the responses.
        dataset: where the prompts are from.
        against: what each is compared with: as many samples, or one, with which all are.

    Raises:
        UserError: `against` answered other prompts, or not as many times.
    """
    others: Sequence[list[str] | None] = [None] * len(answers.samples)
    if against is not None:
        others = against.samples
        if len(others) == 1:
            others = others * len(answers.samples)
        if against.prompts != answers.prompts or len(others) != len(answers.samples):
            raise UserError(
                f"{against.generator} answered other prompts than {answers.generator}, or not as "
                "many times: their responses are no pairs"
            )
    found = []
    for texts, beside in zip(answers.samples, others, strict=True):
        for index, (prompt, text) in enumerate(zip(answers.prompts, texts, strict=True)):
            row = {"instruction": prompt}
            if against is None or beside is None:
                row |= {"output": text, "generator": answers.generator}
            else:
                row |= {"output_1": beside[index], "generator_1": against.generator}
                row |= {"output_2": text, "generator_2": answers.generator}
            found.append(row | {"dataset": dataset})
    return found


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
