"""Everything that can go wrong at once: nothing is lost, and nothing is asked without need."""

import json
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from bench.llm import Answer, Asker, Request
from tests.llm.faults import GARBLED, Fault, Kind, body_key, random_faults
from tests.llm.sending import child, kill_when, options, request
from tests.llm.server import Server

N = 1000
SOON = 0.01  # retry-after, seconds
KINDS: list[Fault | Kind] = [
    Kind.THINKING,
    Kind.REFUSAL,
    Kind.TRUNCATED,
    Kind.TRUNCATED_THINKING,
    Kind.BAD_JSON,
    Kind.INVALID_REQUEST,
    Kind.TOO_LARGE,
    Kind.RATE_LIMIT,
    Fault(Kind.SERVER_ERROR, retry_after_s=SOON),
    Fault(Kind.OVERLOADED, retry_after_s=SOON),
    Kind.STALL,
    Kind.CUT_BEFORE,
    Kind.LOST_REPLY,
    Kind.CUT_MIDDLE,
    *sorted(GARBLED),
]
LOST = {Kind.STALL, Kind.CUT_BEFORE, Kind.LOST_REPLY, Kind.CUT_MIDDLE} | GARBLED


class Reader:
    """A small judge: truncated answers and unreadable ones are asked for once more."""

    def __init__(self) -> None:
        self.final: dict[str, list[str]] = defaultdict(list)
        self.asked: dict[str, Request] = {}

    def receive(self, asked: Request, answer: Answer) -> Request | None:
        self.asked[asked.key] = asked
        status, more = answer.outcome, None
        if answer.outcome == "truncated":
            more = asked.with_room(4000)
        elif answer.outcome == "answered":
            try:
                status = json.loads(answer.text)["verdict"]
            except ValueError:
                status, more = "parse_error", asked.again()
        if more is None or asked.attempt or asked.max_tokens == 4000:
            self.final[str(asked.body["messages"][0]["content"])].append(status)
            return None
        return more


def lines(path: Path) -> list[Answer]:
    return [Answer.model_validate_json(line) for line in path.read_text().splitlines()]


def test_a_thousand_questions_and_every_fault(
    server: Server, tmp_path: Path, quick_retries: None
) -> None:
    server.latency_s = 0.01
    server.faults = random_faults(0.3, KINDS, seed=10)
    path, reader = tmp_path / "answers.jsonl", Reader()
    asker = Asker(options(concurrency=32, timeout_s=3.0), path, print)
    asker.ask((request(i) for i in range(N)), reader.receive)

    statuses = {text: statuses[0] for text, statuses in reader.final.items()}
    assert set(statuses) == {str(i) for i in range(N)}
    assert all(len(statuses) == 1 for statuses in reader.final.values())
    counts = Counter(statuses.values())
    assert counts["A"] > 0.85 * N
    assert set(counts) == {"A", "refusal", "truncated", "parse_error", "api_error"}

    # Whatever the server produced and sent whole is in the store, once for each time it was sent.
    whole = Counter(
        body_key(record.body)
        for record in server.requests
        if record.status == 200 and not (record.fault and record.fault.kind in LOST)
    )
    paid = [answer for answer in lines(path) if answer.paid]
    assert Counter(body_key(dict(reader.asked[answer.key].body)) for answer in paid) == whole
    assert len({answer.key for answer in paid}) == len(paid)
    assert asker.tally.calls == len(lines(path))

    # And nothing of it is asked again: only what failed is.
    calls, again = server.calls, Reader()
    server.faults = None
    Asker(options(concurrency=32), path, print).ask((request(i) for i in range(N)), again.receive)
    assert server.calls - calls == counts["api_error"]
    assert {text: statuses[0] for text, statuses in again.final.items()} == {
        text: "A" if status == "api_error" else status for text, status in statuses.items()
    }


def test_kill_9_loses_nothing_and_repeats_what_was_in_flight(
    server: Server, tmp_path: Path
) -> None:
    n, concurrency, path = 300, 8, tmp_path / "answers.jsonl"
    server.latency_s = 0.02
    with child(path, n, concurrency=concurrency) as process:
        kill_when(process, lambda: server.calls > n // 3)
    before = path.read_bytes()
    stored = before.count(b"\n")
    assert n // 3 - concurrency <= stored < n

    answers: list[Answer] = []
    asker = Asker(options(concurrency=concurrency), path, print)
    asker.ask((request(i) for i in range(n)), lambda _, answer: answers.append(answer))
    assert Counter(answer.outcome for answer in answers) == {"answered": n}
    assert asker.tally.stored == stored
    assert path.read_bytes().startswith(before)
    assert n <= server.calls <= n + concurrency
    repeated = [key for key, produced in server.paid.items() if len(produced) > 1]
    assert len(repeated) <= concurrency
    assert len({answer.key for answer in lines(path)}) == n


@pytest.mark.usefixtures("quick_retries")
def test_three_kills_among_faults_lose_nothing(server: Server, tmp_path: Path) -> None:
    """Every item ends with one status, and at most the calls in flight are billed twice."""
    concurrency, path = 16, tmp_path / "answers.jsonl"
    server.latency_s = 0.02
    soon = [kind for kind in KINDS if kind is not Kind.STALL]
    server.faults = random_faults(0.3, soon, seed=10)
    before = b""
    for kill in (1, 2, 3):
        with child(path, N, concurrency=concurrency) as process:
            kill_when(process, lambda kill=kill: server.calls > kill * N // 4, seconds=120.0)
        assert path.read_bytes().startswith(before)
        before = path.read_bytes()[: path.read_bytes().rfind(b"\n") + 1]
    reader = Reader()
    asker = Asker(options(concurrency=concurrency), path, print)
    asker.ask((request(i) for i in range(N)), reader.receive)
    assert set(reader.final) == {str(i) for i in range(N)}
    assert all(len(statuses) == 1 for statuses in reader.final.values())
    whole = Counter(
        body_key(record.body)
        for record in server.requests
        if record.status == 200 and not (record.fault and record.fault.kind in LOST)
    )
    # Of a body more than one answer is wanted where the first cannot be read: another key.
    wanted = Counter(
        body_key(dict(reader.asked[key].body))
        for key in {answer.key for answer in lines(path) if answer.paid}
    )
    assert (whole - wanted).total() <= 3 * concurrency
