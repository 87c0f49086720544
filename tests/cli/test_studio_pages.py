"""The verbs that serve the page, as somebody uses them, and what they refuse."""

from __future__ import annotations

import ipaddress
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import pytest
from typer.testing import CliRunner

from bench.cli import app
from bench.records.provenance import REPO
from bench.studio.study import Study
from bench.studio.web.serve import Page
from tests.studio.studies import pairs, write
from tests.studio.web.visits import HTMX, address, csrf


@pytest.fixture(autouse=True)
def a_place_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(Path("pairs.jsonl"), pairs(4))


@pytest.fixture
def served() -> Iterator[tuple[subprocess.Popen[str], str, list[str]]]:
    """A page of a study on a port of its own: its process, address and what it said."""
    command = [sys.executable, "-m", "bench", "studio", "prefer", "pairs.jsonl"]
    options = ["--db", "study.db", "--port", "0", "--overlap", "2"]
    env = os.environ | {"PYTHONPATH": str(REPO)}
    process = subprocess.Popen([*command, *options], stdout=subprocess.PIPE, text=True, env=env)
    assert process.stdout is not None
    said = [process.stdout.readline(), process.stdout.readline()]
    url = re.search(r"http://127\.0\.0\.1:\d+", said[1])
    yield process, url[0] if url else "", said
    process.kill()
    process.wait()


@pytest.mark.slow
def test_ctrl_c_ends_the_page_and_what_was_saved_is_saved(
    served: tuple[subprocess.Popen[str], str, list[str]],
) -> None:
    process, url, said = served
    assert said[0] == "pairs.jsonl: 4 items added, 0 were there already\n"
    assert "with one user, `you`. Ctrl-C ends it." in said[1]
    with httpx2.Client(base_url=url) as client:
        page = client.get("/prefer").text
        fields = {"csrf": csrf(page), "choice": "a"}
        assert client.post(address(page), data=fields, headers=HTMX).status_code == 200
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
    assert process.stdout is not None
    assert process.stdout.read() == "ended; what was saved is in study.db\n"
    study = Study(Path("study.db"))
    person = study.person()
    assert person is not None
    assert study.progress(person, "prefer").done == 1
    assert study.settings().overlap == 2


def refused(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["studio", *arguments])
    assert result.exit_code == 2, result.output
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    return result.stderr


def test_what_is_refused_is_one_line_and_leaves_no_study_behind() -> None:
    assert "cannot read gone.jsonl" in refused("edit", "gone.jsonl", "--db", "a.db")
    assert "field responses" in refused("rank", "pairs.jsonl", "--db", "a.db")
    gone = refused("edit", "pairs.jsonl", "--db", "a.db", "--instructions", "gone.md")
    assert "cannot read the instructions gone.md" in gone
    assert "there is no study a.db" in refused("serve", "a.db")
    for name in ("http://studio.lan", "studio.lan:8765", "a b"):
        told = refused("edit", "pairs.jsonl", "--db", "a.db", "--name", name)
        assert f"--name {name}: a name alone" in told
    assert not Path("a.db").exists()
    assert "overlap must be" in refused("edit", "pairs.jsonl", "--db", "a.db", "--overlap", "0")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "studio.lan"])
def test_others_are_let_in_with_links_alone(host: str) -> None:
    said = refused("edit", "pairs.jsonl", "--db", "a.db", "--host", host, "--port", "0")
    assert "nobody has a link" in said
    assert "python -m bench studio people a.db --add NAME" in said


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_a_link_to_all_addresses_names_one_that_can_be_visited(host: str) -> None:
    url = urlsplit(Page(host, 0, (), None).url(8000))
    assert url.hostname is not None
    assert url.port == 8000
    address = ipaddress.ip_address(url.hostname)
    assert not address.is_unspecified
    assert address.version == (6 if ":" in host else 4)
    assert urlsplit(Page(host, 0, ("studio.lan",), None).url(80)).hostname == "studio.lan"


def test_a_port_that_is_taken_is_said() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        said = refused("edit", "pairs.jsonl", "--db", "a.db", "--port", port)
    assert f"port {port}: Address already in use; --port 0 takes a free port" in said
