from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from bench.errors import UserError
from bench.files import check_writable, content_sha, write_atomically, write_json_option


def test_content_sha(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"abc\r\n")
    assert content_sha(path) == hashlib.sha256(b"abc\r\n").hexdigest()
    with pytest.raises(UserError, match=r"cannot read .*gone: No such file"):
        content_sha(tmp_path / "gone")


def test_written_whole_in_a_new_folder(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file"
    check_writable(path)
    assert list(path.parent.iterdir()) == []
    write_atomically(path, "é\n")
    assert path.read_bytes() == "é\n".encode()
    with path.open(encoding="utf-8") as reader:
        write_atomically(path, "other")
        assert reader.read() == "é\n"
    assert [p.name for p in path.parent.iterdir()] == ["file"]


@pytest.mark.parametrize("beginning", ["SQLite format 3\0", "7\x7f\x06\x82", "7\x7f\x06\x83"])
def test_a_database_is_not_written_over(beginning: str, tmp_path: Path) -> None:
    path = tmp_path / "study.db"
    path.write_bytes(beginning.encode("latin-1") + bytes(100))
    before = path.read_bytes()
    for write in (lambda: write_atomically(path, "x"), lambda: write_json_option(path, "x")):
        with pytest.raises(UserError, match="is a study, or its log; name another file"):
            write()
    with pytest.raises(UserError, match="is a study"):
        check_writable(path)
    assert path.read_bytes() == before


def test_a_failure_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(UnicodeEncodeError):
        write_atomically(path, "new \ud800")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
    assert path.read_text() == "old"


def test_what_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path, reason in ((tmp_path, "it is a folder"), (tmp_path / "file" / "x", "cannot write")):
        with pytest.raises(UserError, match=reason) as caught:
            check_writable(path)
        assert caught.value.exit_code == 2
    with pytest.raises(UserError, match=r"cannot write .*run the same command again") as caught:
        write_atomically(tmp_path / "file" / "x", "")
    assert caught.value.exit_code == 1
