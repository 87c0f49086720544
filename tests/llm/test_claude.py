import json
import logging
from pathlib import Path
from typing import Any

import pytest

from bench.errors import UserError
from bench.llm import Answer, Asker
from bench.llm.transports.messages import Messages
from bench.llm.transports.protocol import Stopped
from tests.llm.faults import Body, Kind, Refused
from tests.llm.sending import budget, options, request, send
from tests.llm.server import Server


def ask_one(**changes: Any) -> Answer:
    return send(Messages(options(**changes), budget()), [request("q")])["q"]


def test_a_missing_key_is_said_before_anything_is_sent(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))  # no profile of the SDK's there
    monkeypatch.delenv("ANTHROPIC_API_KEY")
    with pytest.raises(UserError, match="ANTHROPIC_API_KEY"):
        Messages(options(), budget())
    assert server.requests == []


def test_the_other_credentials_of_the_sdk_are_taken(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ANTHROPIC_API_KEY")
    monkeypatch.setenv("ANTHROPIC_AUTH_TOKEN", server.key)
    assert ask_one().outcome == "answered"
    monkeypatch.delenv("ANTHROPIC_AUTH_TOKEN")
    monkeypatch.setenv("ANTHROPIC_CUSTOM_HEADERS", f"x-api-key: {server.key}")
    assert ask_one().outcome == "answered"


@pytest.mark.parametrize(
    "variables",
    [
        {"ANTHROPIC_CUSTOM_HEADERS": "x-api-key: {key}"},
        {"ANTHROPIC_CUSTOM_HEADERS": "authorization: Bearer {key}"},
        {"ANTHROPIC_CUSTOM_HEADERS": "x-gateway-token: {key}", "ANTHROPIC_API_KEY": "{key}"},
        {"ANTHROPIC_PROFILE": "mine"},
    ],
    ids=["key", "bearer", "gateway", "profile"],
)
@pytest.mark.parametrize("transport", ["messages", "batches"])
def test_a_key_from_elsewhere_is_not_stored(
    server: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    variables: dict[str, str],
    transport: str,
) -> None:
    monkeypatch.delenv("ANTHROPIC_API_KEY")
    monkeypatch.setenv("HOME", str(tmp_path))
    if "ANTHROPIC_PROFILE" in variables:
        monkeypatch.setenv("ANTHROPIC_CONFIG_DIR", str(write_profile(tmp_path / "sdk", server)))
    for name, value in variables.items():
        monkeypatch.setenv(name, value.format(key=server.key))

    def faults(body: Body, attempt: int) -> Kind:
        raise Refused(Kind.INVALID_REQUEST, f"{server.key} is odd")

    server.faults = server.item_faults = faults
    path, seen = tmp_path / "answers.jsonl", []
    asker = Asker(options(transport=transport), path, print)
    asker.ask([request("q")], lambda _, answer: seen.append(answer.error))
    assert "[key] is odd" in seen[0]
    assert server.key not in path.read_text()


def write_profile(folder: Path, server: Server) -> Path:
    """A profile of the SDK's whose token is the server's key."""
    token = {"version": "1.0", "type": "oauth_token", "access_token": server.key}
    config = {"version": "1.0", "authentication": {"type": "user_oauth"}}
    for place, content in (("configs", config), ("credentials", token)):
        (folder / place).mkdir(parents=True)
        (folder / place / "mine.json").write_text(json.dumps(content))
        (folder / place / "mine.json").chmod(0o600)
    return folder


def test_a_key_that_no_header_can_carry(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", f"{server.key}\n")
    with pytest.raises(UserError, match="the key in ANTHROPIC_API_KEY has a space") as error:
        Messages(options(), budget())
    assert server.key not in str(error.value)


@pytest.mark.usefixtures("quick_retries")
def test_the_key_is_nowhere(
    server: Server,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    def faults(body: Body, attempt: int) -> Kind | None:
        text = body["messages"][0]["content"]
        if text == "0":
            raise Refused(Kind.INVALID_REQUEST, f"Bearer {server.key} is odd")
        return {"1": Kind.CUT_MIDDLE, "2": Kind.RATE_LIMIT, "3": Kind.INVALID_REQUEST}.get(text)

    server.faults = faults
    seen: list[Answer] = []
    with caplog.at_level(logging.DEBUG):
        asker = Asker(options(), tmp_path / "answers.jsonl", print)
        asker.ask((request(i) for i in range(5)), lambda _, answer: seen.append(answer))
        server.faults = lambda body, attempt: Kind.AUTHENTICATION
        with pytest.raises(Stopped) as stopped:
            asker.ask([request(9)], lambda _, answer: seen.append(answer))
    written = [path.read_text() for path in tmp_path.rglob("*") if path.is_file()]
    printed = capfd.readouterr()
    everything = [str(stopped.value), caplog.text, *printed, *written, *map(str, seen)]
    assert "Bearer [key] is odd" in "".join(written)
    assert not [text for text in everything if server.key in text]
