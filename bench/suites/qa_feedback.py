"""Questions with passages, answers of a model, and what people said of them (arXiv:2306.01693).

Of four answers to each question people said which of every two is better; in the first they marked
what is wrong, and corrected it. So this is the suite with people's own edits and error spans. The
files are in https://github.com/allenai/FineGrainedRLHF, tasks/qa_feedback/data (Apache-2.0).

A pair is made of a question whose first answer lost a comparison *and* was corrected, so that all
methods learn from the same y_l: the original pair has the best of the answers that beat it as y_w,
the fine-grained one its correction. A correction is no minimal edit: the median changes more than
half of the tokens.

A prompt has the question first and then the passages, some hundreds of words: what is longer than
`model.prompt_max_tokens` loses its end, which must not be the question. `suite.passage_words` cuts
between sentences.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from pathlib import Path
from statistics import median
from typing import Any, ClassVar, Literal

from pydantic import Field

from bench.config.section import Section
from bench.data import Edit, Preference, Span
from bench.editing import text_changes
from bench.hub import HubRepo
from bench.suites.filed.columns import Fields, rows
from bench.suites.filed.sources import Source
from bench.suites.filed.suite import HasEdits, HasSpans, Spanned, part_of, place, text_id

ANSWERS = 4
COMPARED = tuple(combinations(range(ANSWERS), 2))  # 1v2 1v3 1v4 2v3 2v4 3v4, as the files have them
EVALUATED_SHARE = 0.25  # of the questions of a file that is for everything
SHARES = {"validation": 0.2, "unseen": 0.2}  # of the evaluated questions; the others are tested


class QAFeedbackOptions(Section):
    """Where the files are, and which pairs are made of them."""

    feedback: str = Field(description="train_feedback.json: questions with feedback, trained on")
    dev: str | None = Field(
        None, description="dev_feedback.json, evaluated; null: a quarter of `feedback` is"
    )
    sft: str | None = Field(
        None, description="train_1k.json, imitated; null: the answers by people in `feedback`"
    )
    pairs: Literal["edited", "all"] = Field(
        "edited", description="edited: one a question, whose y_l was corrected; all preferences"
    )
    passage_words: int | None = Field(
        None, ge=0, description="of the passages, cut behind a sentence; null: all"
    )
    seed: int = Field(0, description="by which a file is divided")

    def result_fields(self) -> dict[str, Any]:
        """All but the files, whose content decides."""
        return self.model_dump(exclude={"feedback", "dev", "sft"})


@dataclass(frozen=True)
class Question:
    """A row of feedback.

    Attributes:
        prompt: question and passages.
        gold: the answer by people.
        answers: of the model.
        preference: of each of `COMPARED`, 1 (the first) or 2 (the second) is better, or 0.
        corrected: the first answer as people corrected it; empty where they did not.
        spans: where it is wrong.
    """

    prompt: str
    gold: str
    answers: tuple[str, ...]
    preference: tuple[int, ...]
    corrected: str
    spans: list[Span]

    @property
    def is_edited(self) -> bool:
        """Whether anybody changed the first answer."""
        return bool(self.corrected.strip()) and self.corrected.strip() != self.answers[0].strip()

    def decided(self) -> Iterator[tuple[int, int]]:
        """The better and the worse answer of each comparison in which one is better."""
        for (first, second), which in zip(COMPARED, self.preference, strict=True):
            if which and self.answers[first] != self.answers[second]:
                yield (first, second) if which == 1 else (second, first)

    def pair(self, better: int, worse: int) -> Preference:
        """Two of the answers as a pair."""
        return Preference(
            id=f"{text_id(self.prompt)}-{better + 1}>{worse + 1}",
            prompt=self.prompt,
            chosen=self.answers[better],
            rejected=self.answers[worse],
        )

    def best_that_beats_the_first(self) -> int | None:
        """Which won the most comparisons of those that beat the first answer."""
        wins = Counter(better for better, _ in self.decided())
        beat = [better for better, worse in self.decided() if worse == 0]
        return max(beat, key=lambda i: (wins[i], -i), default=None)


class QAFeedback(HasEdits, HasSpans):
    """The suite of qa_feedback."""

    name = "qa_feedback"
    licence = "Apache-2.0"
    texts_in_records = True
    prompt_template = "{prompt}\n\nAnswer:"
    model_path = "HuggingFaceTB/SmolLM2-135M-Instruct"
    Options = QAFeedbackOptions
    span_groups: ClassVar = {
        "relevance": ("Irrelevant", "Redundant", "Incoherent"),
        "factuality": ("Wrong-Grounding", "Unverifiable"),
    }
    options: QAFeedbackOptions

    def own_files(self, part: str) -> Sequence[Path | HubRepo]:
        """Each part may be of each file of feedback; the demonstrations have one of their own."""
        if part == "demonstrations" and self.options.sft:
            return [Path(self.options.sft)]
        return [Path(file) for file in (self.options.feedback, self.options.dev) if file]

    def read_demonstrations(self) -> list[tuple[str, str]]:
        """The file for it; else the trained questions and the answers by people."""
        if self.options.sft is None:
            return [(asked.prompt, asked.gold) for asked in self.questions["trained"]]
        return [(self._prompt(row), _gold(row)) for row in rows(Source(self.options.sft))]

    def read_prompts(self, split: str) -> list[str]:
        """Trained ones for PPO; the evaluated ones are divided."""
        if split not in ("test", *SHARES):
            return [asked.prompt for asked in self.questions["trained"]]
        prompts = [asked.prompt for asked in self.questions["evaluated"]]
        seed = self.options.seed + 1  # another one than decided which are evaluated
        return [one for one in prompts if part_of(one, SHARES, "test", seed) == split]

    def read_references(self) -> Mapping[str, str]:
        """The answers by people."""
        return {asked.prompt: asked.gold for asked in self.questions["evaluated"]}

    def read_pairs(self, split: str) -> list[Preference]:
        """Held out are those about evaluated questions."""
        part = "evaluated" if split == "held_out" else "trained"
        found, counts = [], Counter[str]()
        for asked in self.questions[part]:
            if self.options.pairs == "all":
                found += [asked.pair(*which) for which in asked.decided()]
            elif (better := asked.best_that_beats_the_first()) is None:
                counts["whose first answer lost no comparison"] += 1
            elif not asked.is_edited:
                counts["whose first answer lost and was not corrected"] += 1
            else:
                found.append(asked.pair(better, 0))
        self.tell(f"{part} questions for pairs", counts)
        return found

    def read_edits(self) -> list[Edit]:
        """The corrections, of every pair that the first answer lost."""
        found = [
            Edit(
                id=asked.pair(better, 0).id,
                prompt=asked.prompt,
                original=asked.answers[0],
                edited=asked.corrected,
                source="people",
            )
            for asked in (*self.questions["trained"], *self.questions["evaluated"])
            if asked.is_edited
            for better, worse in asked.decided()
            if worse == 0
        ]
        # By original: one that lost to several is no further edit.
        changed = [
            text_changes(*texts).fraction for texts in {(e.original, e.edited) for e in found}
        ]
        if changed:
            over = sum(share > 0.5 for share in changed)
            self.say(
                "edits",
                f"people changed {median(changed):.0%} of the words and marks of the longer text "
                f"at the median, more than half in {over} of {len(changed)}: no minimal edits",
            )
        return found

    def read_spans(self) -> Spanned:
        """The errors that people marked in first answers."""
        both = (*self.questions["trained"], *self.questions["evaluated"])
        return {(asked.prompt, asked.answers[0]): asked.spans for asked in both}

    @cached_property
    def questions(self) -> Mapping[str, list[Question]]:
        """All that have feedback, by whether they are trained on; each once."""
        trained = self._read(self.options.feedback)
        if self.options.dev is not None:
            evaluated = self._read(self.options.dev)
            kept = {prompt: one for prompt, one in trained.items() if prompt not in evaluated}
            self.tell("questions", {"that are evaluated": len(trained) - len(kept)})
            return {"trained": list(kept.values()), "evaluated": list(evaluated.values())}
        parts: dict[str, list[Question]] = {"trained": [], "evaluated": []}
        for prompt, one in trained.items():
            is_evaluated = place(prompt, self.options.seed) < EVALUATED_SHARE
            parts["evaluated" if is_evaluated else "trained"].append(one)
        return parts

    def _read(self, file: str) -> dict[str, Question]:
        """By prompt."""
        found: dict[str, Question] = {}
        twice = 0
        for row in rows(Source(file)):
            asked = self._question(row)
            twice += asked.prompt in found
            found.setdefault(asked.prompt, asked)
        self.tell(f"questions of {Path(file).name}", {"that come twice": twice})
        return found

    def _question(self, row: Fields) -> Question:
        answers = tuple(row.text(f"prediction {i + 1}", empty=True) for i in range(ANSWERS))
        preference = row.value("preference")
        if not (isinstance(preference, list) and len(preference) == len(COMPARED)) or any(
            which not in (0, 1, 2) for which in preference
        ):
            row.wrong("preference", f"a list of {len(COMPARED)} is needed, each of them 0, 1 or 2")
        said = row.value("feedback")
        if not isinstance(said, Mapping):
            row.wrong("feedback", "errors and corrected-prediction are needed")
        feedback = Fields(f"{row.where}, feedback", said, {"spans": "errors", "kind": "error type"})
        return Question(
            prompt=self._prompt(row),
            gold=_gold(row),
            answers=answers,
            preference=tuple(preference),
            corrected=feedback.text("corrected-prediction", empty=True),
            spans=feedback.spans(answers[0]),
        )

    def _prompt(self, row: Fields) -> str:
        """Question and passages; a passage is a list of its title and its sentences."""
        passages = row.value("passages")
        right = isinstance(passages, list) and all(
            isinstance(one, list) and all(isinstance(text, str) for text in one) for one in passages
        )
        if not right:
            row.wrong("passages", "a list of passages is needed, each a list of sentences")
        room = self.options.passage_words
        kept = []
        for title, *sentences in filter(None, passages):
            words = []
            for sentence in sentences:
                length = len(sentence.split())
                if room is not None and length > room:
                    room = 0  # nothing behind a sentence that is left out
                    break
                room = None if room is None else room - length
                words.append(sentence)
            if words:
                kept.append(f"{title}: {' '.join(words)}")
        return "\n\n".join([f"Question: {row.text('question')}", *kept])


def _gold(row: Fields) -> str:
    """The answer by people; files without feedback call it `answer`, and may have several."""
    if row.value("gold") is not None:
        return row.text("gold")
    answers = row.value("answer")
    if isinstance(answers, list) and answers and isinstance(answers[0], str):
        return answers[0]
    return row.text("gold" if answers is None else "answer")
