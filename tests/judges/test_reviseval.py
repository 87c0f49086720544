"""RevisEval: a revision of each output, and the outputs compared beside both."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.errors import UserError
from bench.judging.canaries import CANARIES
from bench.llm.money.estimate import estimate, repeated_tokens
from judges.claude import Claude
from judges.pairwise import PairwiseOptions
from judges.reviseval import RevisEval, RevisEvalOptions
from tests.llm.faults import Kind
from tests.llm.server import Server

Body = dict[str, Any]
TEXTS = (["q 0", "q 1"], ["output 0", "output 1"], ["ref 0", "ref 1"])


def parts(body: Body) -> dict[str, str]:
    prompt = body["messages"][0]["content"]
    return dict(re.findall(r"<([a-zA-Z-]+)-[0-9a-f]{16}>\n(.*?)\n</\1-", prompt, re.DOTALL))


def revises(body: Body) -> bool:
    return "guide" in parts(body)


def answer(body: Body) -> Body:
    """A revision names both texts; a verdict goes to what starts with "ref", wherever it is."""
    found = parts(body)
    if "guide" in found:
        return {"revised": f"{found['response']} by {found['guide']}"}
    first, second = (found[name].startswith("ref") for name in ("output-A", "output-B"))
    return {"rationale": "so", "verdict": "tie" if first == second else "A" if first else "B"}


@pytest.fixture
def made(server: Server, tmp_path: Path) -> Callable[..., RevisEval]:
    server.answer = answer

    def make(**options: Any) -> RevisEval:
        chosen = RevisEvalOptions(**{"canaries": 0, "max_retries": 0, **options})
        return RevisEval(None, chosen, answers=tmp_path / "a.jsonl", say=print)

    return make


def test_both_are_revised_and_judged_beside_both(server: Server, made: Callable[..., Any]) -> None:
    judge = made()
    verdicts = judge.compare(*TEXTS)
    assert [v.preference for v in verdicts] == [1.0, 1.0]
    assert [len(v.orders) for v in verdicts] == [2, 2]
    assert verdicts[0].orders[0].rationale == "so / so"
    bodies = [record.body for record in server.requests]
    assert [revises(body) for body in bodies] == [True] * 4 + [False] * 8
    beside = sorted(parts(body)["reference"] for body in bodies[4:])
    both = (("ref", "output"), ("output", "ref"))
    assert beside == sorted(2 * [f"{a} {i} by {b} {i}" for i in (0, 1) for a, b in both])
    cost = judge.about()["cost_usd"]
    assert cost == pytest.approx(sum(a.cost_usd for a in judge.asker.answers.latest(99)))
    again = made()
    again.compare(*TEXTS)
    assert (server.calls, again.about()["cost_usd"]) == (12, pytest.approx(cost))


def test_a_reference_that_speaks_for_its_own_side_makes_a_tie(
    server: Server, made: Callable[..., Any]
) -> None:
    """Beside its own revision each output wins: no side has an advantage by being revised."""

    def partial(body: Body) -> Body:
        found = parts(body)
        if "guide" in found:
            return answer(body)
        first = found["reference"].startswith(found["output-A"])
        return {"rationale": "so", "verdict": "A" if first else "B"}

    server.answer = partial
    [verdict] = made().compare(["q"], ["output"], ["ref"])
    assert (verdict.preference, verdict.status) == (1.5, "tie")


@pytest.mark.parametrize(
    ("kind", "status"),
    [(Kind.REFUSAL, "refusal"), (Kind.BAD_JSON, "parse_error"), (Kind.SERVER_ERROR, "api_error")],
)
def test_without_a_revision_there_is_no_verdict(
    server: Server, made: Callable[..., Any], kind: Kind, status: str
) -> None:
    server.faults = lambda body, attempt: (
        kind if revises(body) and parts(body)["response"] == "output 0" else None
    )
    verdicts = made().compare(*TEXTS)
    assert [v.status for v in verdicts] == [status, "ok"]
    assert {order.status for order in verdicts[0].orders} == {status}


def test_a_revision_that_is_cut_off_gets_more_room(
    server: Server, made: Callable[..., Any]
) -> None:
    server.faults = lambda body, attempt: (
        Kind.TRUNCATED if revises(body) and body["max_tokens"] == 4096 else None
    )
    assert [v.status for v in made().compare(*TEXTS)] == ["ok", "ok"]


def test_canaries_take_the_same_path(server: Server, made: Callable[..., Any]) -> None:
    judge = made(canaries=1)
    judge.compare(*TEXTS)
    assert set(judge.about()["canaries"]) == set(CANARIES)
    # equal texts: one revision and one comparison; of each of the three others 2 and 4
    assert server.calls == 2 + 3 * 6 + 2 * 6


def test_a_gullible_judge_is_stopped(server: Server, made: Callable[..., Any]) -> None:
    def gullible(body: Body) -> Body:
        found = parts(body)
        if "guide" in found:
            return answer(body)
        return {"rationale": "so", "verdict": "B" if "choose me" in found["output-B"] else "A"}

    server.answer = gullible
    with pytest.raises(UserError, match="reviseval"):
        made(canaries=1).compare(*TEXTS)


def test_the_estimate_counts_both_kinds(server: Server, made: Callable[..., Any]) -> None:
    judge = made(canaries=1)
    before = estimate(judge.requests(*TEXTS), judge.asker, assumes=judge.assumes)
    assert before.calls == 2 + 3 * 6 + 2 * 6
    assert judge.assumes in before.basis
    repeated = judge.repeated(*TEXTS)
    assert len(repeated) == before.calls
    assert repeated_tokens(judge, TEXTS) == pytest.approx(
        sum(map(len, repeated)) / len(repeated) / 3.5
    )
    judge.compare(*TEXTS)
    after = estimate(made(canaries=1).requests(*TEXTS), judge.asker)
    assert (after.calls, after.stored) == (0, before.calls)


def test_both_prompts_are_in_the_key(tmp_path: Path, made: Callable[..., Any]) -> None:
    own = tmp_path / "own.md"
    own.write_text("{nonce} {instruction} {response} {guide}", encoding="utf-8")
    assert made().template_sha != made(revision_template=str(own)).template_sha
    fields = RevisEvalOptions().result_fields()
    assert fields != RevisEvalOptions(revision_template=str(own)).result_fields()


def test_the_slot_is_for_this_judge_alone(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"alpaca_eval has no slot \{reference\}"):
        RevisEvalOptions(template="alpaca_eval").load_template()
    options = PairwiseOptions(template="reviseval")
    with pytest.raises(UserError, match=r"an unknown slot \{reference\}"):
        Claude(None, options, answers=tmp_path / "a.jsonl", say=print)
