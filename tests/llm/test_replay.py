from pathlib import Path

import pytest

from bench.errors import UserError
from bench.llm import Answer, AnswerStore, Asker
from bench.llm.transports.replay import Replay
from tests.llm.sending import options, request, send


def test_recorded_answers_come_back(tmp_path: Path) -> None:
    recorded = tmp_path / "recorded.jsonl"
    AnswerStore(recorded).append(
        Answer(key=request(1).key, outcome="answered", text="A", transport="messages")
    )
    replay = Replay(options(replay=str(recorded)))
    answers = send(replay, [request(0), request(1)])
    assert answers["1"].outcome == "answered"
    assert (answers["1"].text, answers["1"].transport) == ("A", "replay")
    assert answers["0"].outcome == "api_error"
    assert f"not recorded in {recorded}" in (answers["0"].error or "")


def test_the_recording_needs_no_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    recorded = tmp_path / "recorded.jsonl"
    AnswerStore(recorded).append(Answer(key=request(1).key, outcome="answered", text="A"))
    asker = Asker(
        options(transport="replay", replay=str(recorded)), tmp_path / "answers.jsonl", print
    )
    seen = []
    asker.ask([request(1)], lambda _, answer: seen.append(answer.text))
    assert seen == ["A"]


def test_a_missing_recording(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="the option replay"):
        Replay(options())
    with pytest.raises(UserError, match=r"no file of recorded answers .*nowhere"):
        Replay(options(replay=str(tmp_path / "nowhere")))
