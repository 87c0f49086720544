"""What models answered, kept for good: an append-only JSONL file that outlives any crash.

A line is written the moment an answer is there, so that a killed process loses only the calls in
flight. Later lines win. In memory is just where each answer stands in the file, so a hundred
thousand of them cost a few megabytes.
"""

from __future__ import annotations

import contextlib
import errno
import heapq
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError, field_validator

from bench.errors import UserError
from bench.locks import acquire, make_lock

Outcome = Literal["answered", "refusal", "truncated", "api_error", "expired", "skipped_budget"]
PAID: tuple[Outcome, ...] = ("answered", "refusal", "truncated")
UNANSWERED: tuple[Outcome, ...] = ("api_error", "expired", "skipped_budget")
"""Outcomes that asking again may mend."""
# Both shapes below are read back from disk: a newer version may have written more fields.
_READ_BACK = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)
_HEAD = b'{"key":"'  # how a line begins, and then 64 hexadecimal digits
_KEY = slice(len(_HEAD), len(_HEAD) + 64)


class Usage(BaseModel):
    """Tokens that an answer was billed for; thinking counts as output."""

    model_config = _READ_BACK

    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0


class Answer(BaseModel):
    """What came back for one request, in full, so that it can be read again by other rules.

    Attributes:
        key: of the request.
        outcome: what happened; "answered", "refusal" and "truncated" are billed and kept.
        text: the text blocks, joined; never the thinking.
        model: the name that the API returned.
        category: of a refusal, where the API names one.
        cost_usd: None where the price is not known.
        replaced_usd: cost of the answers to this question that this one takes the place of (the
            option retry); None where one's is not known.
        possibly_billed_usd: most that tries may have been billed for whose answers were lost or
            could not be read, of this question so far; None where their price is not known.
        kind: of the question, see `Request.kind`; "" in older stores.
        asked_bytes: size of the question, likewise 0.
        seconds: from sending to receiving, retries included; None in a batch.
        at: when it came, ISO 8601, UTC.
        error: what went wrong, in words.
        top_logprobs: for each token of the text its likeliest tokens with their log-probabilities,
            where the question asked for them.
    """

    model_config = _READ_BACK

    key: str = Field(pattern=r"^[0-9a-f]{64}$")
    outcome: Outcome
    text: str = ""
    model: str | None = None
    stop_reason: str | None = None
    category: str | None = None
    usage: Usage = Usage()
    cost_usd: FiniteFloat | None = None
    replaced_usd: FiniteFloat | None = 0.0
    possibly_billed_usd: FiniteFloat | None = 0.0
    kind: str = ""
    asked_bytes: int = 0
    seconds: FiniteFloat | None = None
    request_id: str | None = None
    transport: str = ""
    at: str = ""
    error: str | None = None
    top_logprobs: list[dict[str, FiniteFloat]] = []

    @field_validator("text", "error")
    @classmethod
    def _storable(cls, value: str | None) -> str | None:
        """Half a surrogate pair, which JSON may carry and UTF-8 may not, becomes a "?"."""
        return value and value.encode("utf-8", "replace").decode()

    @field_validator("top_logprobs")
    @classmethod
    def _storable_tokens(cls, value: list[dict[str, float]]) -> list[dict[str, float]]:
        """Likewise, of parts of letters."""
        return [
            {token.encode("utf-8", "replace").decode(): x for token, x in position.items()}
            for position in value
        ]

    @property
    def paid(self) -> bool:
        """Whether it need not be asked again."""
        return self.outcome in PAID

    @property
    def total_usd(self) -> float | None:
        """Cost of all answers to this question."""
        return sum_known(self.cost_usd, self.replaced_usd)

    def replacing(self, earlier: Answer) -> Answer:
        """This answer, with what the one before it has cost."""
        return self.model_copy(update={"replaced_usd": earlier.total_usd})


class AnswerStore:
    """An append-only file of answers, and where in it each request's last one is.

    Args:
        path: the file; made with its folder when something is first written.
        warn: receives a line about lines that cannot be read.

    Raises:
        UserError: the file cannot be read.
    """

    def __init__(self, path: Path, warn: Callable[[str], None] | None = None) -> None:
        self.path = path
        self._places: dict[bytes, int] = {}
        self._file: int | None = None
        self._warn = warn or (lambda line: None)
        if path.exists():
            with _problems(path, "read"):
                self._index()

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, key: str) -> bool:
        return bytes.fromhex(key) in self._places

    def get(self, key: str) -> Answer | None:
        """The last answer to the request of this key."""
        place = self._places.get(bytes.fromhex(key))
        if place is None:
            return None
        with _problems(self.path, "read"), self.path.open("rb") as file:
            file.seek(place)
            line = file.readline()
        try:
            return Answer.model_validate_json(line)
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(map(str, first["loc"])) or "the line"
            self._warn(f"{self.path}, byte {place}, {field}: {first['msg']}; it is asked again")
            return None

    def latest(self, n: int) -> list[Answer]:
        """The answers that were written last, `n` at most."""
        keys = heapq.nlargest(n, self._places, key=self._places.__getitem__)
        return [answer for key in keys if (answer := self.get(key.hex())) is not None]

    def with_losses(self, answer: Answer) -> Answer:
        """The answer, with what earlier tries of its question may have been billed for."""
        before = self.get(answer.key)
        if before is None or before.possibly_billed_usd == 0:
            return answer
        lost = sum_known(before.possibly_billed_usd, answer.possibly_billed_usd)
        return answer.model_copy(update={"possibly_billed_usd": lost})

    def append(self, answer: Answer) -> None:
        """Write an answer; when this returns, a killed process no longer loses it.

        Raises:
            UserError: the file cannot be written.
        """
        line = answer.model_dump_json(exclude_defaults=True).encode() + b"\n"
        with _problems(self.path, "write"):
            if self._file is None:
                self._file = self._open()
            place = os.lseek(self._file, 0, os.SEEK_END)
            if os.write(self._file, line) != len(line):
                os.close(self._file)
                self._file = None  # whoever opens it next closes the torn line
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._places[bytes.fromhex(answer.key)] = place

    @contextlib.contextmanager
    def locked(self, say: Callable[[str], None]) -> Iterator[None]:
        """Keep other processes out while this one asks, so that no question is paid for twice."""
        with _problems(self.path, "write"):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            lock = make_lock(self.path.with_name(self.path.name + ".lock"))
            acquire(
                lock,
                1.0,
                lambda holder: say(
                    f"{self.path} is in use by {holder}; waiting for it, "
                    "which takes up to a day where that one waits for a batch"
                ),
            )
        try:
            if self.path.exists():
                self._index()  # what the other process has added
            yield
        finally:
            self.close()
            lock.release()

    def close(self) -> None:
        """Flush to the disk."""
        if self._file is not None:
            os.fsync(self._file)
            os.close(self._file)
            self._file = None

    def _open(self) -> int:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        binary = getattr(os, "O_BINARY", 0)  # else Windows writes two bytes for a line's end
        file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | binary, 0o600)
        if os.lseek(file, 0, os.SEEK_END):
            os.lseek(file, -1, os.SEEK_END)
            if os.read(file, 1) != b"\n":
                os.write(file, b"\n")  # a crash tore the last line: the next begins a new one
        return file

    def _index(self) -> None:
        self._places.clear()
        place, torn = 0, 0
        with self.path.open("rb") as file:
            for line in file:
                if line.startswith(_HEAD) and line.endswith(b"}\n"):
                    try:
                        self._places[bytes.fromhex(line[_KEY].decode())] = place
                    except ValueError:
                        torn += 1
                elif line.strip():
                    torn += 1
                place += len(line)
        if torn:
            self._warn(f"{self.path}: {torn} torn or foreign lines are passed over")


def sum_known(*usd: float | None) -> float | None:
    """A sum of US dollars; None where one of them is not known."""
    known = [one for one in usd if one is not None]
    return sum(known) if len(known) == len(usd) else None


@contextlib.contextmanager
def _problems(path: Path, verb: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(
            f"cannot {verb} the answers in {path}: {error.strerror}; what is in it is kept",
            exit_code=1,
        ) from error
