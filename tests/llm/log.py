"""What the server has seen, counted under one lock: written on its thread, read on the test's."""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from tests.llm.faults import Body, Fault, body_key
from tests.llm.wire import Request


@dataclass
class Record:
    """One request as it came and what became of it; times are `time.monotonic()`."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]  # names in lower case
    body: Any  # parsed JSON, None where there was none
    received_s: float
    answered_s: float | None = None  # None while it is in flight
    status: int | None = None  # None where nothing was sent
    fault: Fault | None = None
    attempt: int = 0  # of this very body, from 1; 0 for a request that reached no script


class Log:
    """Requests, paid answers, attempts, and how many calls are in flight."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._records: list[Record] = []
        self._paid: dict[str, list[Body]] = defaultdict(list)
        self._attempts: Counter[tuple[str, str]] = Counter()
        self._in_flight = 0
        self.max_in_flight = 0

    @property
    def requests(self) -> list[Record]:
        with self._lock:
            return [replace(record) for record in self._records]

    @property
    def paid(self) -> dict[str, list[Body]]:
        with self._lock:
            return {key: list(answers) for key, answers in self._paid.items()}

    def received(self, request: Request) -> Record:
        record = Record(
            request.method,
            request.path,
            request.query,
            request.headers,
            request.body,
            time.monotonic(),
        )
        with self._lock:
            self._records.append(record)
        return record

    def answered(self, record: Record, status: int | None) -> None:
        with self._lock:
            record.answered_s, record.status = time.monotonic(), status

    def pay(self, body: Body, answer: Body) -> None:
        with self._lock:
            self._paid[body_key(body)].append(answer)

    def attempt(self, scope: str, key: str) -> int:
        """The number of this attempt, from 1."""
        with self._lock:
            self._attempts[scope, key] += 1
            return self._attempts[scope, key]

    @contextmanager
    def in_flight(self) -> Iterator[None]:
        with self._lock:
            self._in_flight += 1
            self.max_in_flight = max(self.max_in_flight, self._in_flight)
        try:
            yield
        finally:
            with self._lock:
                self._in_flight -= 1
