"""What batches were ordered: an append-only JSONL file beside the store of answers.

An order is noted before it is sent and the batch's id when it is known, so that a process which is
killed in between leaves a trace: whoever comes next looks for the batch and goes on with it.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.errors import UserError
from bench.llm.transports.protocol import now


@dataclass
class Order:
    """Requests that were sent together, or were about to be.

    Attributes:
        name: of the order, in the ledger alone.
        keys: of its requests.
        usd: held back for it.
        newest: id of the newest batch there was before it, if there was one.
        at: when it was noted, ISO 8601.
        batches: ids of the batches that may be it; several only where that could not be told.
        ended: those of them whose results are all stored.
        dropped: whether no batch came of it.
        noted: when each batch's id was noted, ISO 8601; older ledgers do not say.
    """

    name: str
    keys: list[str]
    usd: float
    newest: str | None
    at: str
    batches: list[str] = field(default_factory=list)
    ended: set[str] = field(default_factory=set)
    dropped: bool = False
    noted: dict[str, str] = field(default_factory=dict)

    @property
    def lost(self) -> bool:
        """Whether it is not known if a batch came of it."""
        return not self.batches and not self.dropped

    @property
    def open(self) -> list[str]:
        """The batches whose results are still to be fetched."""
        return [batch for batch in self.batches if batch not in self.ended]

    def noted_at(self, batch: str) -> str:
        """When the batch was known to exist, ISO 8601."""
        return self.noted.get(batch, self.at)


class Ledger:
    """The orders of this store, of this process and of earlier ones.

    Args:
        path: the file; made when something is first written.
        warn: receives a line about lines that cannot be read.

    Raises:
        UserError: the file cannot be read.
    """

    def __init__(self, path: Path, warn: Callable[[str], None]) -> None:
        self.path = path
        self._warn = warn
        self.orders: dict[str, Order] = {}

    @classmethod
    def beside(cls, answers: Path, warn: Callable[[str], None]) -> Ledger:
        """The orders of a store of answers."""
        return cls(answers.with_suffix(".batches.jsonl"), warn)

    def read(self) -> None:
        """Take in what the file says."""
        self.orders.clear()
        try:
            lines = self.path.read_bytes().split(b"\n") if self.path.exists() else []
        except OSError as error:
            raise UserError(f"cannot read the batches in {self.path}: {error.strerror}") from error
        for number, line in enumerate(lines, 1):
            try:
                if line:
                    self._apply(json.loads(line))
            except (ValueError, KeyError, TypeError):
                self._warn(f"{self.path}, line {number}: torn or foreign, passed over")

    def awaited(self) -> set[str]:
        """Keys of requests whose results may still come."""
        orders = (order for order in self.orders.values() if order.open or order.lost)
        return {key for order in orders for key in order.keys}

    def order(self, keys: list[str], usd: float, newest: str | None) -> Order:
        """Note that a batch is about to be created."""
        name = secrets.token_hex(4)
        self._write({"order": name, "at": now(), "newest": newest, "usd": usd, "keys": keys})
        return self.orders[name]

    def created(self, order: Order, batch: str) -> None:
        """Note the batch that came of an order, or that may have."""
        self._write({"batch": batch, "of": order.name, "at": now()})

    def ended(self, order: Order, batch: str) -> None:
        """Note that all results of a batch are stored."""
        self._write({"ended": batch, "of": order.name})

    def dropped(self, order: Order) -> None:
        """Note that no batch came of an order."""
        self._write({"dropped": order.name})

    def _write(self, line: dict[str, Any]) -> None:
        """Append a line, on the disk when this returns; a torn one before it is closed first."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab") as file:
                file.write(b"\n" + json.dumps(line).encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise UserError(
                f"cannot note a batch in {self.path}: {error.strerror}", exit_code=1
            ) from error
        self._apply(line)

    def _apply(self, line: dict[str, Any]) -> None:
        match line:
            case {"order": name, "at": at, "newest": newest, "usd": usd, "keys": keys}:
                self.orders[name] = Order(name, keys, usd, newest, at)
            case {"batch": batch, "of": name}:
                self.orders[name].batches.append(batch)
                if "at" in line:
                    self.orders[name].noted[batch] = line["at"]
            case {"ended": batch, "of": name}:
                self.orders[name].ended.add(batch)
            case {"dropped": name}:
                self.orders[name].dropped = True
            case _:
                raise ValueError(line)
