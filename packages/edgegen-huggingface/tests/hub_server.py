"""A stand-in for the hub on this machine: the endpoints that ``huggingface_hub`` calls to list and download a model.

Like the hub it answers requests for large files with a redirect to another server, here one on another port, that must
not be told the token.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from huggingface_hub import constants, file_download

NOBODY = "http://127.0.0.1:9"
"""An address at which nobody listens."""

LARGE = 1024
"""Bytes from which a file is kept apart, as the hub does with weights."""


@dataclass
class Repository:
    """A model of the stand-in.

    Attributes:
        files: path -> contents.
        branch: name of its only branch.
        gated: its files take a token whose owner has accepted the licence; its listing is public.
        private: nobody without the token knows of it.
        status: answer everything with this instead.
        cut: path -> how many bytes of it to send before the connection is closed, for one request and its
            continuations.
    """

    files: Mapping[str, bytes]
    branch: str = "main"
    gated: bool = False
    private: bool = False
    status: int = 0
    cut: dict[str, int] = field(default_factory=dict)

    @property
    def commit(self) -> str:
        """Changes with the contents."""
        every = b"".join(path.encode() + data for path, data in sorted(self.files.items()))
        return hashlib.sha1(every).hexdigest()


@dataclass(frozen=True)
class Request:
    """What the stand-in was asked."""

    method: str
    path: str
    token: str | None


class HubServer:
    """The running stand-in; a context manager."""

    TOKEN = "hf_tests"

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.requests: list[Request] = []
        handler = type("Handler", (_Handler,), {"hub": self})
        self._servers = [ThreadingHTTPServer(("127.0.0.1", 0), handler) for _ in range(2)]

    def __enter__(self) -> HubServer:
        for server in self._servers:
            threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Answer nobody from now on."""
        for server in self._servers:
            server.shutdown()
            server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._servers[0].server_port}"

    @property
    def store(self) -> str:
        """Where large files are kept."""
        return f"http://127.0.0.1:{self._servers[1].server_port}"

    def downloaded(self) -> set[str]:
        """Paths of the files whose contents were asked for."""
        asked = [unquote(request.path) for request in self.requests if request.method == "GET"]
        kept_apart = {
            f"/kept-apart/{hashlib.sha256(data).hexdigest()}": path
            for repository in self.repositories.values()
            for path, data in repository.files.items()
        }
        direct = {path.split("/", 5)[5] for path in asked if "/resolve/" in path}
        return direct | {kept_apart[path] for path in asked if path in kept_apart}


class _RefusedError(Exception):
    def __init__(self, status: int, code: str = "") -> None:
        self.status, self.code = status, code


class _Handler(BaseHTTPRequestHandler):
    hub: HubServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def log_message(self, format: str, *args: Any) -> None:
        """Tests read the list of requests instead."""

    def _answer(self) -> None:
        token = self.headers.get("Authorization")
        path = urlsplit(self.path).path
        self.hub.requests.append(Request(self.command, path, token))
        try:
            for pattern, handle in self._ROUTES:
                if found := re.fullmatch(pattern, path):
                    handle(self, **{name: unquote(value) for name, value in found.groupdict(default="").items()})
                    return
            raise _RefusedError(404)
        except _RefusedError as refused:
            self._send(refused.status, b"", {"X-Error-Code": refused.code} if refused.code else {})

    def _info(self, name: str, revision: str) -> None:
        repository = self._repository(name, revision)
        siblings = [self._sibling(path, data) for path, data in repository.files.items()]
        self._send_json({"id": name, "sha": repository.commit, "siblings": siblings})

    def _tree(self, name: str, revision: str) -> None:
        repository = self._repository(name, revision)
        self._send_json([self._leaf(path, data) for path, data in repository.files.items()])

    def _resolve(self, name: str, revision: str, path: str) -> None:
        repository = self._repository(name, revision)
        if repository.gated and not self._knows_token():
            raise _RefusedError(403 if self.headers.get("Authorization") else 401, "GatedRepo")
        if path not in repository.files:
            raise _RefusedError(404, "EntryNotFound")
        data = repository.files[path]
        common = {"X-Repo-Commit": repository.commit}
        if len(data) < LARGE:
            self._send_file(data, {**common, "ETag": f'"{_git_id(data)}"'}, repository, path)
            return
        sha256 = hashlib.sha256(data).hexdigest()
        location = f"{self.hub.store}/kept-apart/{sha256}"
        linked = {"X-Linked-Etag": f'"{sha256}"', "X-Linked-Size": str(len(data)), "Location": location}
        self._send(302, b"", {**common, **linked})

    def _kept_apart(self, sha256: str) -> None:
        for repository in self.hub.repositories.values():
            for path, data in repository.files.items():
                if hashlib.sha256(data).hexdigest() == sha256:
                    self._send_file(data, {"ETag": f'"{sha256}"'}, repository, path)
                    return
        raise _RefusedError(404)

    def _repository(self, name: str, revision: str) -> Repository:
        repository = self.hub.repositories.get(name)
        if repository is None or (repository.private and not self._knows_token()):
            raise _RefusedError(404, "RepoNotFound")
        if repository.status:
            raise _RefusedError(repository.status)
        if revision not in ("", repository.branch, repository.commit):
            raise _RefusedError(404, "RevisionNotFound")
        return repository

    def _knows_token(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {self.hub.TOKEN}"

    @staticmethod
    def _sibling(path: str, data: bytes) -> dict[str, Any]:
        large = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 134}
        common = {"rfilename": path, "size": len(data), "blobId": _git_id(data)}
        return {**common, "lfs": large} if len(data) >= LARGE else common

    @staticmethod
    def _leaf(path: str, data: bytes) -> dict[str, Any]:
        large = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 134}
        common = {"type": "file", "path": path, "size": len(data), "oid": _git_id(data)}
        return {**common, "lfs": large} if len(data) >= LARGE else common

    def _send_json(self, content: Any) -> None:
        self._send(200, json.dumps(content).encode(), {"Content-Type": "application/json"})

    def _send_file(self, data: bytes, headers: dict[str, str], repository: Repository, path: str) -> None:
        """A file, or the rest of one; broken off where the repository says so, and refused from then on."""
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        start = int(wanted[1]) if wanted else 0
        if wanted:
            headers = {**headers, "Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"}
        if self.command == "GET" and path in repository.cut:
            if start:
                raise _RefusedError(500)
            self._send(200, data, headers, sent=repository.cut[path])
            return
        self._send(206 if wanted else 200, data[start:], headers)

    def _send(self, status: int, body: bytes, headers: Mapping[str, str], sent: int | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[:sent])
        self.close_connection = sent is not None

    _ROUTES = (
        (r"/api/models/(?P<name>[^/]+/[^/]+)(?:/revision/(?P<revision>[^/]+))?", _info),
        (r"/api/models/(?P<name>[^/]+/[^/]+)/tree/(?P<revision>[^/]+)", _tree),
        (r"/kept-apart/(?P<sha256>\w+)", _kept_apart),
        (r"/(?P<name>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<path>.+)", _resolve),
    )


def _git_id(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def point_at(server: HubServer, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the environment name this hub and this folder for its files, and no token."""
    for name in ("HF_HUB_CACHE", "HF_HUB_OFFLINE", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    monkeypatch.setenv("HF_HOME", str(home))
    # What the client read when it was imported must not decide: nobody listens there.
    monkeypatch.setattr(constants, "ENDPOINT", NOBODY)
    for module in (constants, file_download):  # older clients keep a copy
        template = NOBODY + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(module, "HUGGINGFACE_CO_URL_TEMPLATE", template, raising=False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(home / "elsewhere"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(home / "token"))
