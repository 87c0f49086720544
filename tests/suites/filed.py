"""A suite of JSONL files that brings its own pairs and edits, and a judge that needs no truth."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from bench.config.section import NoOptions, Section
from bench.data import (
    Demonstration,
    Edit,
    Preference,
    Span,
    read_edits,
    read_rows,
    write_rows,
)
from bench.plugins.protocols import Verdict
from bench.suites.testbed.suite import Testbed

WORDS = ["red", "blue", "old", "cold", "far", "near", "warm", "small"]


class FiledOptions(Section):
    """Where the files are, and how the suite answers."""

    folder: str = Field(description="of the suite's files")
    loud: bool = Field(False, description="whether references are written in capitals")

    def result_fields(self) -> dict[str, Any]:
        """All but the folder, whose files decide, whatever it is called."""
        return self.model_dump(exclude={"folder"})


class Filed:
    """Core, pairs, edits and error spans, each from a file in a folder."""

    name = "filed"
    Options = FiledOptions
    prompt_template = Testbed.prompt_template
    model_path = Testbed.model_path

    def __init__(self, options: FiledOptions) -> None:
        self.folder, self.loud = Path(options.folder), options.loud

    def demonstrations(self, n: int, seed: int) -> list[tuple[str, str]]:
        return [(row.prompt, row.response) for row in self._rows("demonstrations")[:n]]

    def prompts(self, split: str, n: int, seed: int) -> list[str]:
        return [row.prompt for row in self._rows(split)[:n]]

    def references(self, prompts: list[str]) -> list[str]:
        texts = [f"The answer is {prompt.split()[-1]}" for prompt in prompts]
        return [text.upper() for text in texts] if self.loud else texts

    def pairs(self, split: str, n: int, seed: int) -> list[Preference]:
        return read_rows(self._path(split), Preference)[:n]

    def edits(self) -> Sequence[Edit]:
        pairs = [pair for split in ("preference", "held_out") for pair in self.pairs(split, 99, 0)]
        return read_edits(self._path("edits"), pairs)

    def spans(self, prompt: str, response: str) -> Sequence[Span] | None:
        if "0" in prompt:
            return None  # nobody has looked there
        return [Span(start=0, end=5, kind="greeting")] if response.startswith("Hello") else []

    def data_files(self, part: str) -> Sequence[Path]:
        if part == "pairs":
            return [self._path("preference"), self._path("held_out")]
        return [self._path(part)] if self._path(part).exists() else []

    def _rows(self, name: str) -> list[Demonstration]:
        return read_rows(self._path(name), Demonstration)

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.jsonl"


def write_files(folder: Path, pairs: int = 16, held_out: int = 6) -> None:
    """All files of the suite: pairs in which a greeting loses, and edits that delete it."""
    folder.mkdir()
    for split in ("demonstrations", "ppo", "validation", "test", "unseen"):
        asked = [f"Say {split} {word}." for word in WORDS]
        write_rows(
            folder / f"{split}.jsonl",
            [Demonstration(prompt=text, response=f"The answer is {text[4:]}") for text in asked],
        )
    edits = []
    for split, n in (("preference", pairs), ("held_out", held_out)):
        rows = [
            Preference(
                id=f"{split}-{i}",
                prompt=f"Tell {split} {i}.",
                chosen=f"It is {word}.",
                rejected=f"Hello there, it is {word}.",
            )
            for i, word in enumerate((WORDS * 3)[:n])
        ]
        write_rows(folder / f"{split}.jsonl", rows)
        edits += [
            Edit(
                id=row.id,
                prompt=row.prompt,
                original=row.rejected,
                edited=row.rejected.removeprefix("Hello there, "),
                source="people",
            )
            for row in rows
        ]
    write_rows(folder / "edits.jsonl", reversed(edits))


class Shorter:
    """Prefers the shorter output."""

    name = "shorter"
    model: str | None = None
    template_sha: str | None = None
    Options = NoOptions

    def __init__(
        self, suite: Any, options: NoOptions, *, answers: Path, say: Callable[[str], None]
    ) -> None: ...

    def ready(self) -> None: ...

    def about(self) -> dict[str, Any]:
        return {"cost_usd": 0.0}

    def compare(
        self, prompts: list[str], outputs: list[str], references: list[str]
    ) -> list[Verdict]:
        return [
            Verdict(1.5, "tie")
            if len(output) == len(reference)
            else Verdict(1.0 + (len(output) < len(reference)), "ok")
            for output, reference in zip(outputs, references, strict=True)
        ]
