import asyncio
from pathlib import Path

import pytest

from bench.errors import UserError
from bench.llm import Answer, AnswerStore, Asker, Request
from tests.llm.answers import BAD_JSON
from tests.llm.faults import Kind, in_turn
from tests.llm.sending import budget, options, request
from tests.llm.server import Server


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "answers.jsonl"


def text(asked: Request) -> str:
    return str(asked.body["messages"][0]["content"])


def test_what_is_stored_is_not_asked_again(server: Server, path: Path) -> None:
    for expected, stored in ((3, 0), (3, 3), (4, 3)):
        asker, seen = Asker(options(), path, print), []
        questions = [request(i) for i in range(expected)]
        asker.ask(iter(questions), lambda asked, _: seen.append(text(asked)))  # noqa: B023
        assert sorted(seen) == [str(i) for i in range(expected)]
        assert server.calls == expected
        assert (asker.tally.stored, asker.tally.calls) == (stored, expected - stored)


def test_an_answer_is_stored_before_it_is_read(server: Server, path: Path) -> None:
    def receive(asked: Request, answer: Answer) -> None:
        assert AnswerStore(path).get(asked.key) == answer

    Asker(options(), path, print).ask([request(i) for i in range(5)], receive)


def test_follow_ups_are_rounds_of_their_own(server: Server, path: Path) -> None:
    seen: list[tuple[str, int]] = []

    def receive(asked: Request, answer: Answer) -> Request | None:
        seen.append((text(asked), asked.attempt))
        return asked.again() if asked.attempt < int(text(asked)) else None

    Asker(options(), path, print).ask([request(i) for i in range(3)], receive)
    assert [sorted(seen[:3]), sorted(seen[3:5]), seen[5:]] == [
        [("0", 0), ("1", 0), ("2", 0)],
        [("1", 1), ("2", 1)],
        [("2", 2)],
    ]
    seen.clear()
    Asker(options(), path, print).ask([request(i) for i in range(3)], receive)
    assert len(seen) == server.calls == 6


@pytest.mark.parametrize("transport", ["messages", "batches"])
def test_the_same_question_twice_is_paid_once(server: Server, path: Path, transport: str) -> None:
    server.latency_s = 0.05
    asker, seen = Asker(options(transport=transport), path, print), []
    twice = [request("q"), request("p"), request("q"), request("q")]
    asker.ask(twice, lambda asked, answer: seen.append((text(asked), answer.outcome)))
    assert sorted(seen) == [("p", "answered"), *[("q", "answered")] * 3]
    assert sum(len(messages) for messages in server.paid.values()) == 2
    assert path.read_text().count("\n") == 2
    assert (asker.tally.calls, asker.tally.stored) == (2, 2)


def test_failures_are_kept_and_asked_again(server: Server, path: Path) -> None:
    server.faults = in_turn(Kind.INVALID_REQUEST)
    outcomes: list[str] = []
    for _ in range(3):
        asker = Asker(options(), path, print)
        asker.ask([request("q")], lambda _, answer: outcomes.append(answer.outcome))
    assert outcomes == ["api_error", "answered", "answered"]
    assert server.calls == 2
    assert path.read_text().count("\n") == 2


def test_what_was_skipped_leaves_no_line(server: Server, path: Path) -> None:
    poor = Asker(options(max_usd=0.5 * budget().most(request("q"))), path, print)
    outcomes: list[str] = []
    poor.ask([request("q")], lambda _, answer: outcomes.append(answer.outcome))
    assert outcomes == ["skipped_budget"]
    assert not path.exists() or not path.read_text()


def test_stored_answers_need_no_key(
    server: Server, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Asker(options(), path, print).ask([request("q")], lambda *_: None)
    monkeypatch.delenv("ANTHROPIC_API_KEY")
    monkeypatch.setenv("HOME", str(path.parent))
    seen: list[str] = []
    asker = Asker(options(), path, print)
    asker.ask([request("q")], lambda _, answer: seen.append(answer.outcome))
    assert seen == ["answered"]
    with pytest.raises(UserError, match="ANTHROPIC_API_KEY"):
        asker.ask([request("another")], lambda *_: None)
    with pytest.raises(UserError, match="ANTHROPIC_API_KEY"):
        Asker(options(), path, print).ready()


def test_the_tally(server: Server, path: Path) -> None:
    server.model_suffix = "-20261007"
    server.faults = lambda body, attempt: Kind.REFUSAL if body["max_tokens"] == 7 else None
    asker = Asker(options(), path, print)
    answers: list[Answer] = []
    questions = [request("a"), request("b"), request("c", max_tokens=7)]
    asker.ask(questions, lambda _, answer: answers.append(answer))
    tally = asker.tally
    assert tally.outcomes == {"answered": 2, "refusal": 1}
    assert tally.models == {"claude-haiku-5-5-20261007": 3}
    assert tally.cost_usd == pytest.approx(sum(answer.cost_usd or 0 for answer in answers))
    assert tally.cost_usd == pytest.approx(asker.budget.spent_usd)
    assert tally.first_at == min(answer.at for answer in answers)
    assert tally.last_at == max(answer.at for answer in answers)


@pytest.mark.parametrize("transport", ["messages", "batches"])
def test_an_answer_is_counted_once(server: Server, path: Path, transport: str) -> None:
    """A canary may be asked again as a pair, in the same process or in the next."""
    first = Asker(options(transport=transport), path, print)
    for _ in range(2):
        first.ask([request("q"), request("q")], lambda *_: None)
    cost = first.budget.spent_usd
    assert cost > 0
    assert first.tally.cost_usd == pytest.approx(cost)
    assert first.tally.models.total() == 1
    assert (first.tally.calls, first.tally.stored) == (1, 3)
    second = Asker(options(transport=transport), path, print)
    for _ in range(2):
        second.ask([request("q")], lambda *_: None)
    assert second.tally.cost_usd == pytest.approx(cost)


def test_the_progress_line_does_not_call_an_unknown_price_nothing(
    server: Server, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.llm.asking._LINE_EVERY_S", 0.0)
    said: list[str] = []
    asker = Asker(options(model="unpriced"), path, said.append)
    asker.ask([request("q", model="unpriced")], lambda *_: None)
    assert said == ["unpriced: 1 answered; $0.00 spent, and 1 answers of unknown price"]


def test_an_answer_with_half_a_surrogate_pair(server: Server, path: Path) -> None:
    server.answer = lambda body: "a \ud83d b"
    seen: list[str] = []
    for _ in range(2):
        asker = Asker(options(), path, print)
        asker.ask([request("q")], lambda _, answer: seen.append(answer.text))
    assert seen == ["a ? b"] * 2
    assert server.calls == 1


def test_in_a_notebook_too(server: Server, path: Path) -> None:
    async def cell() -> list[str]:
        seen: list[str] = []
        asker = Asker(options(), path, print)
        asker.ask([request(i) for i in range(3)], lambda asked, _: seen.append(text(asked)))
        return seen

    assert sorted(asyncio.run(cell())) == ["0", "1", "2"]


def test_an_error_of_the_reader_comes_out_and_the_answers_stay(server: Server, path: Path) -> None:
    def receive(asked: Request, answer: Answer) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        Asker(options(concurrency=3), path, print).ask([request(i) for i in range(9)], receive)
    assert path.read_text().count("\n") == server.calls == 3


def statuses(asker: Asker, *questions: Request) -> list[str]:
    """What came of each question in the end, by the rules that judge and editor follow."""
    final: list[str] = []

    def receive(asked: Request, answer: Answer) -> Request | None:
        status = answer.outcome
        if status == "answered" and answer.text == BAD_JSON:
            status = "parse_error"
        more = asker.follow_up(asked, status)
        if more is None:
            final.append(status)
        return more

    asker.ask(questions, receive)
    return final


@pytest.mark.parametrize("transport", ["messages", "batches"])
@pytest.mark.parametrize(
    ("kind", "status", "calls"),
    [
        (Kind.REFUSAL, "refusal", 1),
        (Kind.BAD_JSON, "parse_error", 2),
        (Kind.TRUNCATED, "truncated", 2),
    ],
)
def test_what_is_paid_is_asked_again_where_that_is_wanted(
    server: Server, path: Path, transport: str, kind: Kind, status: str, calls: int
) -> None:
    def paid() -> int:
        return sum(map(len, server.paid.values()))

    def ask(**changes: object) -> tuple[list[str], Asker]:
        asker = Asker(options(transport=transport, **changes), path, print)
        return statuses(asker, request("q"), request("fine")), asker

    server.faults = server.item_faults = lambda body, _: (
        kind if body["messages"][0]["content"] == "q" else None
    )
    assert sorted(ask()[0]) == sorted(["answered", status])
    before = path.read_bytes()
    assert paid() == calls + 1
    others = sorted({"refusal", "parse_error", "truncated"} - {status})
    assert sorted(ask(retry=others)[0]) == sorted(["answered", status])
    assert paid() == calls + 1  # nothing ended so

    assert sorted(ask(retry=[status])[0]) == sorted(["answered", status])
    assert paid() == calls + 2  # the last question alone, once
    server.faults = server.item_faults = None
    seen, asker = ask(retry=[status])
    assert seen == ["answered"] * 2
    assert paid() == calls + 3
    assert path.read_bytes().startswith(before)  # no stored answer is lost

    seen, later = ask()  # the newest is valid from now on
    assert seen == ["answered"] * 2
    assert paid() == calls + 3
    cost = sum(answer.cost_usd or 0 for answer in map(parsed, path.read_text().splitlines()))
    assert later.tally.cost_usd == pytest.approx(cost)
    assert asker.tally.cost_usd == pytest.approx(cost)
    assert later.tally.models == asker.tally.models


def parsed(line: str) -> Answer:
    return Answer.model_validate_json(line)


def test_a_question_is_renewed_once_in_a_command(server: Server, path: Path) -> None:
    """However often it is put: a canary may be asked again as a pair."""
    server.faults = lambda body, attempt: Kind.REFUSAL
    statuses(Asker(options(), path, print), request("q"))
    asker = Asker(options(retry=["refusal"]), path, print)
    for _ in range(2):
        assert statuses(asker, *[request("q")] * 3, request("new")) == ["refusal"] * 4
    assert server.calls == 1 + 1 + 1
    assert asker.tally.cost_usd == pytest.approx(
        3 * (parsed(path.read_text().splitlines()[0]).cost_usd or 0)
    )


def test_a_question_that_is_renewed_in_vain_keeps_its_answer(server: Server, path: Path) -> None:
    server.faults = in_turn(Kind.REFUSAL, Kind.INVALID_REQUEST)
    assert statuses(Asker(options(), path, print), request("q")) == ["refusal"]
    before = path.read_bytes()
    for changes in ({}, {"max_usd": 0.0}):
        asker = Asker(options(retry=["refusal"], **changes), path, print)
        assert statuses(asker, request("q")) == ["refusal"]
        assert path.read_bytes() == before
    assert statuses(Asker(options(), path, print), request("q")) == ["refusal"]
    assert server.calls == 2


def test_an_unknown_price_of_a_replaced_answer_stays_unknown(server: Server, path: Path) -> None:
    server.faults = in_turn(Kind.REFUSAL)
    ask = {"model": "unpriced"}
    statuses(Asker(options(**ask), path, print), request("q", **ask))
    known = Answer.model_validate_json(path.read_text())
    assert known.total_usd is None
    statuses(Asker(options(**ask, retry=["refusal"]), path, print), request("q", **ask))
    later = Asker(options(**ask), path, print)
    statuses(later, request("q", **ask))
    assert later.tally.cost_usd is None


def test_a_recorded_file_is_not_asked_again(server: Server, path: Path) -> None:
    recorded = {"transport": "replay", "replay": str(path)}
    with pytest.raises(UserError, match="leave out the option retry"):
        Asker(options(**recorded, retry=["refusal"]), path, print)
    assert Asker(options(**recorded), path, print).mending({"api_error": 1}, "--retry ") == ""
