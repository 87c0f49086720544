"""The bundle: equal bytes for equal runs, and nothing but what it may hold comes out of one."""

import io
import json
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.errors import UserError
from leaderboard.submission import bundle as bundles
from leaderboard.submission.bundle import MANIFEST, check_is_bundle, pack, place, unpack
from tests.leaderboard.offers import CLEAN, offered

Members = dict[str, bytes]


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return pack(offered(tmp_path_factory.mktemp("offered")))


def members(packed: bytes) -> Members:
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def written(path: Path, contents: Members) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
    return path


def test_equal_runs_give_equal_bytes_and_come_out_as_they_were(
    packed: bytes, tmp_path: Path
) -> None:
    new = offered(tmp_path / "elsewhere")
    assert pack(new) == packed
    path = tmp_path / "row.zip"
    path.write_bytes(packed)
    manifest, runs = unpack(path, tmp_path / "out")
    assert [run.record for run in runs] == [run.record for run in new.runs]
    assert (manifest.label, manifest.texts, manifest.declared) == ("segment_ppo", CLEAN, [])
    for old, run in zip(new.runs, runs, strict=True):
        assert {f.name: f.read_bytes() for f in old.folder.iterdir()} == {
            f.name: f.read_bytes() for f in run.folder.iterdir()
        }
    assert not any(str(tmp_path).encode() in content for content in members(packed).values())


def renamed(old: str, new: str) -> Callable[[Members], Members]:
    return lambda found: {name.replace(old, new): content for name, content in found.items()}


def listed(found: Members, name: str, content: bytes) -> Members:
    """With another file, which the manifest lists as well."""
    import hashlib

    manifest = json.loads(found[MANIFEST])
    manifest["files"][name] = hashlib.sha256(content).hexdigest()
    return found | {MANIFEST: json.dumps(manifest).encode(), name: content}


def said(found: Members, **fields: object) -> Members:
    return found | {MANIFEST: json.dumps(json.loads(found[MANIFEST]) | fields).encode()}


FIRST = "segment_ppo-s0-e643fde4"
RECORD_OF_0 = f"runs/testbed/{FIRST}/record.json"
REFUSED = {
    "out of the folder": (lambda m: listed(m, "../evil.json", b"{}"), "'../evil.json' is no name"),
    "hidden in a run": (
        lambda m: listed(m, "runs/testbed/../record.json", b"{}"),
        "'runs/testbed/../record.json' is no name",
    ),
    "absolute": (lambda m: listed(m, "/etc/passwd", b""), "'/etc/passwd' is no name"),
    "of Windows": (lambda m: listed(m, "runs\\a\\b\\record.json", b""), "is no name of a file"),
    "another file": (lambda m: listed(m, "runs/testbed/x/setup.py", b""), "is no name of a file"),
    "a hidden folder": (lambda m: listed(m, "runs/.git/x/record.json", b""), "is no name of a"),
    "not listed": (lambda m: m | {"runs/a/b/record.json": b"{}"}, "not both in the archive and"),
    "not there": (lambda m: {n: c for n, c in m.items() if n != RECORD_OF_0}, "is not both in the"),
    "changed": (lambda m: m | {RECORD_OF_0: b"{}"}, "is not as its manifest says: it was changed"),
    "another name": (lambda m: renamed(FIRST, "mine-s0")(said(m, files=renamed_files(m))), "holds"),
    "no manifest": (lambda m: {n: c for n, c in m.items() if n != MANIFEST}, "manifest.json: "),
    "a field more": (lambda m: said(m, more=1), "manifest.json: more: Extra inputs"),
    "newer": (lambda m: said(m, format=2), "format 2 is newer than 1: update GrainBench"),
    "no run": (lambda m: said({MANIFEST: m[MANIFEST]}, files={}), "these runs are of none"),
    "no record": (
        lambda m: listed(m, "runs/testbed/x/items.jsonl", b""),
        "a folder of it has no record.json",
    ),
}


def renamed_files(found: Members) -> dict[str, str]:
    files: dict[str, str] = json.loads(found[MANIFEST])["files"]
    return {name.replace(FIRST, "mine-s0"): sha for name, sha in files.items()}


@pytest.mark.parametrize("case", REFUSED)
def test_what_no_bundle_holds_is_refused(case: str, packed: bytes, tmp_path: Path) -> None:
    change, text = REFUSED[case]
    path = written(tmp_path / "row.zip", change(members(packed)))
    with pytest.raises(UserError) as error:
        unpack(path, tmp_path / "deep" / "out")
    assert text in str(error.value)
    assert str(path) in str(error.value)
    outside = {p for p in tmp_path.rglob("*") if p.is_file()} - {path}
    assert all((tmp_path / "deep" / "out") in p.parents for p in outside)


def test_a_record_that_was_edited_is_refused(packed: bytes, tmp_path: Path) -> None:
    found = members(packed)
    body = json.loads(found[RECORD_OF_0])
    edited = json.dumps(body | {"metrics": {}}).encode()
    path = written(tmp_path / "row.zip", listed(found, RECORD_OF_0, edited))
    with pytest.raises(UserError, match="metrics: edited or removed after the run") as error:
        unpack(path, tmp_path / "out")
    assert str(error.value).startswith(f"{path}: testbed/{FIRST}/record.json: ")


def test_a_bomb_is_refused_before_it_is_unpacked(
    packed: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = members(packed)
    bomb = written(tmp_path / "row.zip", listed(found, RECORD_OF_0, b"0" * (bundles.MAX_FILE + 1)))
    assert bomb.stat().st_size < 2**20
    with pytest.raises(UserError, match=r"record.json is larger than 64 MiB"):
        unpack(bomb, tmp_path / "out")
    path = written(tmp_path / "all.zip", found)
    monkeypatch.setattr(bundles, "MAX_BYTES", 2**19)
    with pytest.raises(UserError, match="unpacked it is larger than 0 MiB"):
        unpack(path, tmp_path / "out")
    monkeypatch.setattr(bundles, "MAX_FILES", 10)
    with pytest.raises(UserError, match="21 files; a bundle has at most 10"):
        unpack(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_size_that_is_a_lie_is_no_way_around(packed: bytes, tmp_path: Path) -> None:
    """Of a file that is larger than its header says no more is read than that."""
    found = members(packed)
    path = written(tmp_path / "row.zip", found)
    content, size = path.read_bytes(), len(found[RECORD_OF_0]).to_bytes(4, "little")
    assert content.count(size) >= 2  # in the file's own header, and in the archive's
    path.write_bytes(content.replace(size, (10).to_bytes(4, "little")))
    with pytest.raises(UserError, match="no bundle that `submit` wrote: Bad CRC-32"):
        unpack(path, tmp_path / "out")


def test_links_and_doubled_names_are_refused(packed: bytes, tmp_path: Path) -> None:
    path = tmp_path / "row.zip"
    link = zipfile.ZipInfo(RECORD_OF_0)
    link.create_system, link.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(UserError, match=r"record.json is no plain file"):
        unpack(path, tmp_path / "out")
    doubled = members(packed) | {RECORD_OF_0.replace("testbed", "TESTBED"): b"{}"}
    with pytest.raises(UserError, match="a file comes twice in it"):
        unpack(written(path, doubled), tmp_path / "out")


@pytest.mark.parametrize("content", [b"", b"PK", b"no archive", b"PK\x03\x04" + b"\0" * 60])
def test_what_is_no_archive_is_said(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "row.zip"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"row.zip: no bundle that `submit` wrote"):
        unpack(path, tmp_path / "out")
    with pytest.raises(UserError, match=r"cannot read .*nosuch"):
        unpack(tmp_path / "nosuch", tmp_path / "out")
    with pytest.raises(UserError, match=r"cannot read .*Is a directory"):
        unpack(tmp_path, tmp_path / "out")


def test_runs_are_placed_once_and_never_over_others(packed: bytes, tmp_path: Path) -> None:
    (tmp_path / "row.zip").write_bytes(packed)
    _, runs = unpack(tmp_path / "row.zip", tmp_path / "out")
    first = place(runs, tmp_path / "results")
    assert place(runs, tmp_path / "results") == first
    (first[0] / "record.json").write_text("{}")
    with pytest.raises(UserError, match="is there already, with other content"):
        place(runs, tmp_path / "results")
    assert (first[0] / "record.json").read_text() == "{}"


def test_only_a_bundle_is_written_over(packed: bytes, tmp_path: Path) -> None:
    check_is_bundle(tmp_path / "new.zip")
    (tmp_path / "old.zip").write_bytes(packed)
    check_is_bundle(tmp_path / "old.zip")
    (tmp_path / "notes.txt").write_text("mine")
    for name in ("notes.txt", "."):
        with pytest.raises(UserError, match="that is no bundle, and is not written over"):
            check_is_bundle(tmp_path / name)
