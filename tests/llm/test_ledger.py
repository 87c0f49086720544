import json
from pathlib import Path

import pytest

from bench.errors import UserError
from bench.llm.transports.ledger import Ledger


def test_what_was_noted_is_read_back(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "sub" / "ledger.jsonl", print)
    ledger.read()
    assert ledger.orders == {}
    lost = ledger.order(["k1", "k2"], 0.5, "newest")
    waiting = ledger.order(["k3"], 0.1, None)
    ledger.created(waiting, "b1")
    done = ledger.order(["k4"], 0.1, None)
    ledger.created(done, "b2")
    ledger.ended(done, "b2")
    refused = ledger.order(["k5"], 0.1, None)
    ledger.dropped(refused)

    again = Ledger(ledger.path, print)
    again.read()
    assert list(again.orders.values()) == [lost, waiting, done, refused]
    assert [order.lost for order in again.orders.values()] == [True, False, False, False]
    assert [order.open for order in again.orders.values()] == [[], ["b1"], [], []]
    assert (lost.keys, lost.usd, lost.newest) == (["k1", "k2"], 0.5, "newest")


def test_when_a_batch_was_noted(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.jsonl", print)
    order = ledger.order(["k1"], 0.5, None)
    ledger.created(order, "b1")
    note = json.loads(ledger.path.read_text().split("\n")[-2])
    assert order.noted_at("b1") == note["at"]
    older = {"order": "00", "at": "2026-01-01", "newest": None, "usd": 0.0, "keys": ["k2"]}
    ledger.path.write_text(json.dumps(older) + '\n{"batch": "b2", "of": "00"}\n')
    ledger.read()
    assert ledger.orders["00"].noted_at("b2") == "2026-01-01"


def test_every_torn_end_is_borne(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    ledger = Ledger(path, print)
    first = ledger.order(["k1"], 0.5, None)
    ledger.created(first, "b1")
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        torn = Ledger(path, lambda line: None)
        torn.read()
        after = torn.order(["k2"], 0.1, None)
        again = Ledger(path, lambda line: None)
        again.read()
        assert again.orders[after.name] == after
        assert again.orders.get(first.name) == torn.orders.get(first.name)


def test_a_foreign_line_is_named_and_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    path.write_text('{"order": 1}\n[]\n{"batch": "b", "of": "unknown"}\nx\n')
    said: list[str] = []
    ledger = Ledger(path, said.append)
    ledger.read()
    assert ledger.orders == {}
    assert said == [f"{path}, line {n}: torn or foreign, passed over" for n in range(1, 5)]


def test_a_ledger_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    ledger = Ledger(tmp_path / "file" / "ledger.jsonl", print)
    with pytest.raises(UserError, match="cannot note a batch in"):
        ledger.order(["k"], 0.1, None)
