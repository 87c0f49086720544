"""A submission as one file: a ZIP archive with a manifest and the runs of one row.

    manifest.json                     a `Manifest`: who says what, and the hash of every other file
    runs/<suite>/<run_id>/<file>      record.json and the files beside it, byte for byte

Equal runs give equal bytes: no times, one order, one compression. Reading trusts nothing: names,
sizes and hashes are checked before a file is written, and nothing but those names is unpacked.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import stat
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from pydantic import BaseModel, ConfigDict, ValidationError

from bench.errors import UserError
from bench.records.files import CURVES, ITEMS, RECORD, SAMPLES, Run, explain, read_record
from leaderboard.submission.offer import Offer, Texts, one_row

MANIFEST = "manifest.json"
RUNS = "runs"
FILES = (RECORD, ITEMS, CURVES, SAMPLES)
MAX_FILES = 1000
MAX_FILE = 64 * 2**20
MAX_BYTES = 256 * 2**20  # of all files, unpacked
_NAME = r"[A-Za-z0-9_+-][A-Za-z0-9_.+-]{0,199}"
_MEMBER = re.compile(rf"{RUNS}/{_NAME}/{_NAME}/({'|'.join(map(re.escape, FILES))})")
_DAY = (1980, 1, 1, 0, 0, 0)  # the first that a ZIP archive can name


class Manifest(BaseModel):
    """What a bundle says that its records do not; verdicts are found anew by whoever reads it.

    Attributes:
        format: of the bundle.
        label: of the row.
        declared: hyperparameters that were changed for it alone.
        texts: what the submitter's suite said; only believed where it cannot be asked again.
        files: SHA-256 by name, of all other files.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: int = 1
    label: str
    declared: list[str]
    texts: Texts
    files: dict[str, str]


def pack(new: Offer) -> bytes:
    """The bundle of an offer, which the rules do not refuse."""
    files = {
        f"{RUNS}/{run.record.suite}/{run.folder.name}/{name}": (run.folder / name).read_bytes()
        for run in new.runs
        for name in FILES
        if (run.folder / name).is_file()
    }
    manifest = Manifest(
        label=new.group.label,
        declared=sorted(new.declared),
        texts=new.texts,
        files={name: hashlib.sha256(files[name]).hexdigest() for name in sorted(files)},
    )
    text = json.dumps(manifest.model_dump(mode="json"), indent=1, sort_keys=True) + "\n"
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, content in [(MANIFEST, text.encode()), *sorted(files.items())]:
            member = zipfile.ZipInfo(name, _DAY)
            member.compress_type = zipfile.ZIP_DEFLATED
            member.create_system, member.external_attr = 3, (stat.S_IFREG | 0o644) << 16
            archive.writestr(member, content, compresslevel=9)
    return packed.getvalue()


def unpack(bundle: Path, folder: Path) -> tuple[Manifest, list[Run]]:
    """Write the runs of a bundle to `<folder>/<suite>/<run_id>/`.

    Raises:
        UserError: it is no bundle, is larger than a bundle may be, names a file that a bundle does
            not have, or a file is not as the manifest says: nothing is written then. Or a record
            in it cannot be read, was edited after the run, or is of another row.
    """
    contents = _contents(bundle)
    manifest = _manifest(bundle, contents.pop(MANIFEST, b""))
    if manifest.files.keys() != contents.keys():
        other = min(manifest.files.keys() ^ contents.keys())
        raise UserError(f"{bundle}: {other} is not both in the archive and in its manifest")
    for name, content in contents.items():
        if hashlib.sha256(content).hexdigest() != manifest.files[name]:
            raise UserError(f"{bundle}: {name} is not as its manifest says: it was changed")
    for name, content in contents.items():
        path = folder.joinpath(*PurePosixPath(name).parts[1:])
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    try:
        found = sorted(folder.glob(f"*/*/{RECORD}"))
        runs = one_row(Run(read_record(path), path.parent) for path in found)
    except UserError as error:
        raise UserError(f"{bundle}: {str(error).replace(f'{folder}/', '')}") from error
    _check_folders(bundle, folder, runs)
    return manifest, runs


def _check_folders(bundle: Path, folder: Path, runs: Sequence[Run]) -> None:
    """Every folder is called as its record, and has one."""
    for run in runs:
        if (run.record.suite, run.record.run_id) != run.folder.parts[-2:]:
            raise UserError(
                f"{bundle}: {'/'.join(run.folder.parts[-2:])} holds the record of "
                f"{run.record.suite}/{run.record.run_id}"
            )
    if {path.parent for path in folder.glob("*/*/*")} != {run.folder for run in runs}:
        raise UserError(f"{bundle}: a folder of it has no {RECORD}")


def _manifest(bundle: Path, content: bytes) -> Manifest:
    try:
        manifest = Manifest.model_validate_json(content)
    except ValidationError as error:
        raise UserError(f"{bundle}: {MANIFEST}: {explain(error)}") from error
    if manifest.format != 1:
        raise UserError(f"{bundle}: format {manifest.format} is newer than 1: update GrainBench")
    return manifest


def _contents(bundle: Path) -> dict[str, bytes]:
    """Every file by name, none of them larger than it may be."""
    try:
        with zipfile.ZipFile(bundle) as archive:
            members = archive.infolist()
            _check_members(bundle, members)
            return {member.filename: archive.read(member) for member in members}
    except OSError as error:
        raise UserError(f"cannot read {bundle}: {error.strerror or error}") from error
    except (zipfile.BadZipFile, zlib.error, RuntimeError, NotImplementedError, EOFError) as error:
        raise UserError(f"{bundle}: no bundle that `submit` wrote: {error}") from error


def _check_members(bundle: Path, members: Sequence[zipfile.ZipInfo]) -> None:
    """Refuse by what the archive says of itself; reading gives no more than that."""
    if len(members) > MAX_FILES:
        raise UserError(f"{bundle}: {len(members)} files; a bundle has at most {MAX_FILES}")
    names = [member.filename for member in members]
    if len({name.casefold() for name in names}) < len(names):
        raise UserError(f"{bundle}: a file comes twice in it")
    for member in members:
        name, kind = member.filename, stat.S_IFMT(member.external_attr >> 16)
        if name != MANIFEST and not _MEMBER.fullmatch(name):
            raise UserError(f"{bundle}: {name!r} is no name of a file in a bundle")
        if kind not in (0, stat.S_IFREG):
            raise UserError(f"{bundle}: {name} is no plain file")
        if member.file_size > MAX_FILE:
            raise UserError(f"{bundle}: {name} is larger than {MAX_FILE >> 20} MiB")
    if sum(member.file_size for member in members) > MAX_BYTES:
        raise UserError(f"{bundle}: unpacked it is larger than {MAX_BYTES >> 20} MiB")


def check_is_bundle(path: Path) -> None:
    """Refuse to write over a file that is no bundle.

    Raises:
        UserError: naming it.
    """
    if path.exists() and not (path.is_file() and zipfile.is_zipfile(path)):
        raise UserError(f"--out {path}: that is no bundle, and is not written over; name another")


def place(runs: Sequence[Run], results: Path) -> list[Path]:
    """Copy runs to where a table is made of them; what is there already, the same, is left.

    Raises:
        UserError: another run is there, or it cannot be written.
    """
    targets = {results / run.record.suite / run.folder.name: run.folder for run in runs}
    for target, source in targets.items():
        if target.exists() and _bytes(target) != _bytes(source):
            raise UserError(f"--into {results}: {target} is there already, with other content")
    try:
        for target, source in targets.items():
            target.mkdir(parents=True, exist_ok=True)
            for name, content in _bytes(source).items():
                (target / name).write_bytes(content)
    except OSError as error:
        raise UserError(f"--into {results}: cannot write: {error.strerror}", exit_code=1) from error
    return list(targets)


def _bytes(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
