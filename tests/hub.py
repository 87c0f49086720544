"""The Hugging Face hub: its cache as huggingface_hub lays it out, and a server like it."""

from __future__ import annotations

import base64
import hashlib
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, Self
from urllib.parse import unquote, urlsplit

import yaml

OLD, NEW = "a" * 40, "b" * 40  # commits


def cache(root: Path, folder: str, refs: dict[str, str]) -> None:
    """A repository's revisions and the commits that they stand for, each with a file."""
    for revision, sha in refs.items():
        snapshot = root / folder / "snapshots" / sha
        snapshot.mkdir(parents=True, exist_ok=True)
        (snapshot / "config.json").write_text("{}")
        ref = root / folder / "refs" / revision
        ref.parent.mkdir(exist_ok=True)
        ref.write_text(sha)


class Hub:
    """A hub on 127.0.0.1 with the repositories that it is given, all at the commit `OLD`.

    It answers what huggingface_hub 2.4 asks: a repository's description, its files, and each file;
    and takes new repositories and commits from who may write.

    Attributes:
        repositories: by "models/org/name" or "datasets/org/name" the bytes of each file.
        gated: those whose files need a token that nobody has. As on the hub, everybody may read
            what they are and which files they have; a file is 401 without a token, 403 with one.
        licence: what every card says.
        asked: the paths that were asked for, in order.
        writer, reader: tokens of somebody who may write, and of somebody who may not.
    """

    writer, reader = "hf_writer", "hf_reader"

    def __init__(self, licence: str | None = "apache-2.0") -> None:
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.gated: set[str] = set()
        self.licence = licence
        self.asked: list[str] = []

    def add(self, kind: str, name: str, files: dict[str, bytes]) -> None:
        """A repository; `kind` is "models" or "datasets"."""
        self.repositories[f"{kind}/{name}"] = files

    @property
    def url(self) -> str:
        """For HF_ENDPOINT."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                path = unquote(urlsplit(self.path).path)
                self._answer(*hub.answer(path, known="Authorization" in self.headers))

            def do_HEAD(self) -> None:
                self.do_GET()

            def do_POST(self) -> None:
                body = _body(self)
                token = self.headers.get("Authorization", "").removeprefix("Bearer ")
                self._answer(*hub.taken(unquote(urlsplit(self.path).path), token, body))

            def log_message(self, format: str, *args: Any) -> None: ...

            def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
                self.send_response(status)
                for name, value in (headers | {"Content-Length": str(len(body))}).items():
                    self.send_header(name, value)
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, path: str, *, known: bool = False) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body for a path; `known`: whoever asks sends a token."""
        self.asked.append(path)
        if path.startswith("/api/"):
            return self._described(path.removeprefix("/api/"))
        repository, _, file = path.lstrip("/").partition("/resolve/")
        if not repository.startswith("datasets/"):
            repository = f"models/{repository}"
        name = file.partition("/")[2]
        if refused := self._refused(repository, file.partition("/")[0]):
            return refused
        if repository in self.gated:
            return _error(403 if known else 401, "GatedRepo", "Access to it is restricted")
        body = self.repositories[repository].get(name)
        if body is None:
            return _error(404, "EntryNotFound", "no such file")
        etag = f'"{hashlib.sha1(body).hexdigest()}"'
        return 200, {"ETag": etag, "X-Repo-Commit": OLD}, body

    def taken(self, path: str, token: str, body: bytes) -> tuple[int, dict[str, str], bytes]:
        """What is answered to a POST: a new repository, a card, the files of a commit."""
        self.asked.append(path)
        if token not in (self.writer, self.reader):
            return _error(401, "", "Invalid credentials")
        if path == "/api/validate-yaml":
            header = json.loads(body)["content"].split("---\n")[1]
            if isinstance(yaml.safe_load(header), dict):
                return _json({"errors": [], "warnings": []})
            return _error(400, "", "no mapping")
        if token == self.reader:
            return _error(403, "", "You don't have the rights to write here")
        if path == "/api/repos/create":
            wanted = json.loads(body)
            name = f"{wanted['organization']}/{wanted['name']}"
            self.repositories.setdefault(f"models/{name}", {})
            return _json({"url": f"{self.url}/{name}"})
        return self._committed(path, body)

    def _committed(self, path: str, body: bytes) -> tuple[int, dict[str, str], bytes]:
        """How each file shall be sent, and then the files themselves."""
        repository, _, verb = path.removeprefix("/api/").rpartition("/main")[0].rpartition("/")
        if verb == "preupload":
            files = json.loads(body)["files"]
            how = {"uploadMode": "regular", "shouldIgnore": False}
            return _json({"files": [{"path": file["path"], **how} for file in files]})
        for line in map(json.loads, body.splitlines()):
            if line["key"] == "file":
                content = base64.b64decode(line["value"]["content"])
                self.repositories[repository][line["value"]["path"]] = content
        name = repository.partition("/")[2]
        return _json({"commitUrl": f"{self.url}/{name}/commit/{OLD}", "commitOid": OLD})

    def _described(self, path: str) -> tuple[int, dict[str, str], bytes]:
        repository, verb, rest = path, "", ""
        for verb in ("revision", "tree"):
            if f"/{verb}/" in path:
                repository, _, rest = path.partition(f"/{verb}/")
                break
        revision, _, folder = rest.partition("/")
        if refused := self._refused(repository, revision or "main"):
            return refused
        files = self.repositories[repository]
        if verb == "tree":
            return _tree({k: v for k, v in files.items() if k.startswith(folder)})
        card = {} if self.licence is None else {"license": self.licence}
        siblings = [{"rfilename": name, "size": len(body)} for name, body in files.items()]
        name = repository.partition("/")[2]
        return _json({"id": name, "sha": OLD, "siblings": siblings, "cardData": card})

    def _refused(self, repository: str, revision: str) -> tuple[int, dict[str, str], bytes] | None:
        if repository not in self.repositories:
            return _error(401, "RepoNotFound", "Repository not found")
        if revision not in ("main", OLD):
            return _error(404, "RevisionNotFound", "Invalid rev id")
        return None


def _json(value: Any) -> tuple[int, dict[str, str], bytes]:
    return 200, {"Content-Type": "application/json"}, json.dumps(value).encode()


def _tree(files: dict[str, bytes]) -> tuple[int, dict[str, str], bytes]:
    if not files:
        return _error(404, "EntryNotFound", "no such folder")
    return _json(
        [
            {"type": "file", "path": name, "size": len(body), "oid": "0" * 40}
            for name, body in files.items()
        ]
    )


def _error(status: int, code: str, message: str) -> tuple[int, dict[str, str], bytes]:
    return status, {"X-Error-Code": code, "X-Error-Message": message}, b""


def _body(request: BaseHTTPRequestHandler) -> bytes:
    """What was sent, at once or in chunks."""
    if length := request.headers.get("Content-Length"):
        return request.rfile.read(int(length))
    chunks = []
    while size := int(request.rfile.readline(), 16):
        chunks.append(request.rfile.read(size))
        request.rfile.readline()
    request.rfile.readline()
    return b"".join(chunks)
