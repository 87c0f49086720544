"""The Message Batches API: batches that end after a number of polls, with shuffled results."""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from tests.llm.faults import Body, Kind, Refused, require

CUSTOM_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}")
STATES = ("succeeded", "errored", "expired", "canceled")


@dataclass
class Batch:
    id: str
    requests: list[Body]  # each a custom_id and its params
    created: datetime = field(default_factory=lambda: datetime.now(UTC))
    polls: int = 0
    cancel_initiated: datetime | None = None
    ended: datetime | None = None
    results: list[Body] = field(default_factory=list)  # in the order they are sent, once ended

    @property
    def status(self) -> str:
        if self.ended:
            return "ended"
        return "canceling" if self.cancel_initiated else "in_progress"


class Batches:
    """Every batch that was created.

    Args:
        url: Of the server, for `results_url`.
        name: Unique to the server: an id of another server's batch is not found here.
        run: Makes the result of one request from its params, when the batch ends.
        seed: Of the order of the results.
    """

    def __init__(self, url: str, name: str, run: Callable[[Body], Body], seed: int) -> None:
        self._url, self._name, self._run, self._seed = url, name, run, seed
        self._batches: dict[str, Batch] = {}

    def all(self) -> list[Batch]:
        return list(self._batches.values())

    def create(self, body: Body) -> Body:
        requests = body.get("requests") or []
        require(requests, "requests: List should have at least 1 item")
        seen: set[str] = set()
        for i, request in enumerate(requests):
            name = str(request.get("custom_id"))
            require(
                CUSTOM_ID.fullmatch(name),
                f"requests.{i}.custom_id: String should match pattern '^{CUSTOM_ID.pattern}$'",
            )
            require(name not in seen, f"requests.{i}.custom_id: '{name}' is not unique")
            require(request.get("params"), f"requests.{i}.params: Field required")
            seen.add(name)
        batch = Batch(f"msgbatch_{self._name}{len(self._batches):04d}", requests)
        self._batches[batch.id] = batch
        return self._describe(batch)

    def page(self, query: dict[str, str]) -> Body:
        """One page, newest first."""
        newest = [*reversed(self._batches)]
        limit = int(query.get("limit", 20))
        require(1 <= limit <= 1000, "limit: Input should be from 1 to 1000")
        if "before_id" in query:
            rest = newest[: self._index(newest, query["before_id"])]
            page, more = rest[-limit:], len(rest) > limit
        else:
            start = self._index(newest, query["after_id"]) + 1 if "after_id" in query else 0
            rest = newest[start:]
            page, more = rest[:limit], len(rest) > limit
        return {
            "data": [self._describe(self._batches[name]) for name in page],
            "has_more": more,
            "first_id": page[0] if page else None,
            "last_id": page[-1] if page else None,
        }

    def retrieve(self, name: str, polls: int) -> Body:
        """The batch as it is; it ends at poll `polls`, or at the first after a cancel."""
        batch = self._find(name)
        batch.polls += 1
        if not batch.ended and (batch.polls >= polls or batch.cancel_initiated):
            self._end(batch)
        return self._describe(batch)

    def cancel(self, name: str) -> Body:
        batch = self._find(name)
        require(not batch.ended, "Batch has ended and cannot be canceled")
        batch.cancel_initiated = datetime.now(UTC)
        return self._describe(batch)

    def results(self, name: str) -> bytes:
        batch = self._find(name)
        if not batch.ended:
            raise Refused(Kind.NOT_FOUND, f"{name} has no results yet")
        return b"".join(json.dumps(result).encode() + b"\n" for result in batch.results)

    def _end(self, batch: Batch) -> None:
        run = (lambda params: {"type": "canceled"}) if batch.cancel_initiated else self._run
        batch.results = [
            {"custom_id": request["custom_id"], "result": run(request["params"])}
            for request in batch.requests
        ]
        random.Random(f"{self._seed} {batch.id[-4:]}").shuffle(batch.results)
        batch.ended = datetime.now(UTC)

    def _describe(self, batch: Batch) -> Body:
        counts = Counter(entry["result"]["type"] for entry in batch.results)
        waiting = 0 if batch.ended else len(batch.requests)
        return {
            "id": batch.id,
            "type": "message_batch",
            "processing_status": batch.status,
            "request_counts": {"processing": waiting, **{s: counts[s] for s in STATES}},
            "created_at": batch.created.isoformat(),
            "expires_at": (batch.created + timedelta(days=1)).isoformat(),
            "ended_at": batch.ended and batch.ended.isoformat(),
            "cancel_initiated_at": batch.cancel_initiated and batch.cancel_initiated.isoformat(),
            "archived_at": None,
            "results_url": f"{self._url}/v1/messages/batches/{batch.id}/results"
            if batch.ended
            else None,
        }

    def _find(self, name: str) -> Batch:
        if name not in self._batches:
            raise Refused(Kind.NOT_FOUND, f"batch {name} not found")
        return self._batches[name]

    @staticmethod
    def _index(names: list[str], name: str) -> int:
        require(name in names, f"no batch {name}")
        return names.index(name)
