import fcntl
import json
import os
import resource
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import pytest

from bench.errors import UserError
from bench.llm import Answer, AnswerStore, Asker, Usage
from tests.llm.clients import wait_until
from tests.llm.sending import ROOT, child, options, request
from tests.llm.server import Server


def answer(i: int, text: str = "", **fields: object) -> Answer:
    return Answer.model_validate(
        {"key": f"{i:064x}", "outcome": "answered", "text": text, **fields}
    )


def write(path: Path, *answers: Answer) -> None:
    store = AnswerStore(path)
    for one in answers:
        store.append(one)
    store.close()


def test_an_answer_comes_back_as_it_was(tmp_path: Path) -> None:
    full = answer(
        1,
        "Zürich\n\u2028 \x00 \U0001f600",
        model="m",
        stop_reason="end_turn",
        usage=Usage(input_tokens=3, output_tokens=4),
        cost_usd=1e-6,
        seconds=0.5,
        request_id="req_1",
        transport="messages",
        at="2026-01-01T00:00:00+00:00",
    )
    write(tmp_path / "new" / "a.jsonl", full, answer(2))
    store = AnswerStore(tmp_path / "new" / "a.jsonl")
    assert store.get(full.key) == full
    assert store.get(answer(3).key) is None
    assert full.key in store
    assert answer(3).key not in store
    assert len(store) == 2


def test_the_last_line_of_a_key_counts(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    write(path, answer(1, outcome="api_error"), answer(2), answer(1, "second"))
    store = AnswerStore(path)
    assert len(store) == 2
    got = store.get(answer(1).key)
    assert got is not None
    assert (got.text, got.paid) == ("second", True)


def test_every_torn_end_is_borne(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    write(path, answer(1, "one"), answer(2, "two"))
    whole = path.read_bytes()
    first = whole.index(b"\n") + 1
    for length in range(first, len(whole)):
        path.write_bytes(whole[:length])
        said: list[str] = []
        store = AnswerStore(path, said.append)
        assert (answer(1).key in store, answer(2).key in store) == (True, False)
        assert len(said) == (length > first)
        store.append(answer(3, "three"))
        again = AnswerStore(path, lambda line: None)
        assert [again.get(answer(i).key) for i in (1, 3)] == [answer(1, "one"), answer(3, "three")]
        assert path.read_bytes().startswith(whole[:length])


def test_foreign_lines_are_counted_and_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    lines = ['{"other": 1}', "", "x", '{"key":"zz"}', answer(1, "one").model_dump_json()]
    path.write_text("\n".join(lines) + "\n")
    said: list[str] = []
    store = AnswerStore(path, said.append)
    assert len(store) == 1
    assert said == [f"{path}: 3 torn or foreign lines are passed over"]


def test_a_line_that_was_edited_badly_is_asked_again(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    bad = json.dumps({"key": answer(1).key, "outcome": "perhaps"}, separators=(",", ":"))
    path.write_text(bad + "\n")
    said: list[str] = []
    assert AnswerStore(path, said.append).get(answer(1).key) is None
    assert "byte 0, outcome: " in said[0]


def test_a_full_disk_is_said(tmp_path: Path) -> None:
    store = AnswerStore(tmp_path / "a.jsonl")
    (tmp_path / "a.jsonl").symlink_to("/dev/full")
    with pytest.raises(UserError, match=r"cannot write the answers in .*No space left"):
        store.append(answer(1))


def test_a_short_write_costs_that_answer_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    store = AnswerStore(path)
    store.append(answer(1, "one"))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 40, limits[1]))
    try:
        with pytest.raises(UserError, match="No space left"):
            store.append(answer(2, "two"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert answer(2).key not in store
    store.append(answer(3, "three"))
    again = AnswerStore(path, lambda line: None)
    assert [again.get(answer(i).key) for i in (1, 3)] == [answer(1, "one"), answer(3, "three")]
    assert len(again) == 2


def test_half_a_surrogate_pair_is_stored(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    write(path, answer(1, "a \ud83d b", error="\udc00"), answer(2, "\U0001f600"))
    store = AnswerStore(path)
    assert store.get(answer(1).key) == answer(1, "a ? b", error="?")
    assert store.get(answer(2).key) == answer(2, "\U0001f600")


def test_a_line_of_a_newer_version_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    usage = {"input_tokens": 3, "of_images": 9}
    line = {"key": answer(1).key, "outcome": "answered", "text": "A", "speed": 1, "usage": usage}
    path.write_text(json.dumps(line, separators=(",", ":")) + "\n")
    got = AnswerStore(path).get(answer(1).key)
    assert got == answer(1, "A", usage=Usage(input_tokens=3))


def test_it_does_without_what_windows_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Windows has no os.pread, and would write two bytes for a line's end without O_BINARY."""
    monkeypatch.delattr(os, "pread")
    monkeypatch.setattr(os, "O_BINARY", os.O_NONBLOCK, raising=False)
    path = tmp_path / "a.jsonl"
    path.write_text("torn")
    store = AnswerStore(path, lambda line: None)
    store.append(answer(1))
    assert store._file is not None
    assert fcntl.fcntl(store._file, fcntl.F_GETFL) & os.O_NONBLOCK
    store.close()
    assert AnswerStore(path, lambda line: None).get(answer(1).key) == answer(1)


def test_a_hundred_thousand_answers(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    line = answer(0, "A verdict with its reason. " * 20, model="m", seconds=1.0).model_dump_json()
    with path.open("w") as file:
        file.writelines(f"{line.replace('0' * 64, f'{i:064x}')}\n" for i in range(100_000))
    began = time.perf_counter()
    store = AnswerStore(path)
    assert time.perf_counter() - began < 3.0
    assert len(store) == 100_000
    assert store.get(answer(99_999).key) is not None


def test_memory_grows_by_the_places_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    write(path, *(answer(i, "x" * 2000) for i in range(2000)))
    tracemalloc.start()
    store = AnswerStore(path)
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(store) == 2000
    assert used / 2000 < 250  # bytes an answer, of over 2,000 in the file


def test_what_another_process_adds_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    mine = AnswerStore(path)
    write(path, answer(1))
    assert answer(1).key not in mine
    with mine.locked(print):
        assert answer(1).key in mine
        mine.append(answer(2))
    assert len(AnswerStore(path)) == 2


def test_a_second_process_waits_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    code = (
        "import sys, pathlib; from bench.llm import AnswerStore\n"
        "with AnswerStore(pathlib.Path(sys.argv[1])).locked(print):\n"
        "    print('locked', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, cwd=ROOT, **pipes) as other:  # type: ignore[call-overload]
        assert other.stdout.readline() == b"locked\n"

        def say(line: str) -> None:
            assert line.startswith(f"{path} is in use by another process; waiting for it, ")
            assert "up to a day" in line
            other.stdin.close()

        with AnswerStore(path).locked(say):
            assert other.wait() == 0


def test_two_processes_pay_once(server: Server, tmp_path: Path) -> None:
    server.latency_s = 0.05
    path = tmp_path / "a.jsonl"
    with child(path, 40) as other:
        wait_until(lambda: server.calls > 0, seconds=20)
        asker = Asker(options(), path, print)
        seen: list[Answer] = []
        asker.ask((request(i) for i in range(60)), lambda _, answer: seen.append(answer))
        assert other.wait() == 0
    assert len(seen) == 60
    assert server.calls == 60
    assert asker.tally.calls == 20
