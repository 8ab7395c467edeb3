"""A Hugging Face hub on loopback: as much of its HTTP as downloading a pinned file takes.

It speaks the protocol that `huggingface_hub.hf_hub_download` speaks: HEAD and GET of
`/{repository}/resolve/{revision}/{path}`, with the commit, the ETag and the size in headers, and the reason of a
refusal in `X-Error-Code`. What it serves, refuses and breaks is set on the object, before or between requests.
"""

from __future__ import annotations

import hashlib
import http.server
import re
import socket
import struct
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

_RESOLVE = re.compile(r"/(?P<repository>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<path>.+)")
_STORE = "/store/"


@dataclass(frozen=True, slots=True)
class Request:
    """One request that the hub got; `host` is the name by which it was asked, `token` what the client showed."""

    method: str
    host: str
    path: str
    token: str | None


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass
class FakeHub:
    """A hub that serves `files`, a mapping of (repository, revision, path) to content.

    Args:
        files: what there is.
        gated: repositories whose conditions must be accepted.
        tokens: tokens of accounts that accepted them.
        large: (repository, path) of files that lie in the store, to which the hub redirects, as it does with weights.
        status: answer this to everything, when it is set; with `words` in X-Error-Message, when they are set.
        cut: break the connection in the middle of every file.
    """

    files: dict[tuple[str, str, str], bytes] = field(default_factory=dict)
    gated: set[str] = field(default_factory=set)
    tokens: set[str] = field(default_factory=set)
    large: set[tuple[str, str]] = field(default_factory=set)
    status: int | None = None
    words: str | None = None
    cut: bool = False
    requests: list[Request] = field(default_factory=list)
    _server: http.server.ThreadingHTTPServer | None = None

    @property
    def endpoint(self) -> str:
        """The hub's address, as HF_ENDPOINT takes it."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def store_host(self) -> str:
        """The host that large files are fetched from: another one, as far as a client can tell."""
        return f"localhost:{self._port}"

    @property
    def _port(self) -> int:
        assert self._server is not None
        return self._server.server_address[1]

    def __enter__(self) -> Self:
        """Start to serve."""
        hub = self

        class Handler(_Handler):
            hub_ = hub

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop to serve; the port then refuses connections."""
        assert self._server is not None
        self._server.shutdown()
        self._server.server_close()

    def answer(self, path: str, token: str | None) -> _Answer:
        """What the hub says to a request, whatever its method."""
        match = _RESOLVE.fullmatch(path)
        if self.status is not None:
            return _Answer(self.status, {"X-Error-Message": self.words} if self.words else {})
        if path.startswith(_STORE):
            return self._stored(path.removeprefix(_STORE))
        if match is None:
            return _Answer(404)
        key = (match["repository"], match["revision"], match["path"])
        return self._refused(key, token) or self._file(key)

    def _refused(self, key: tuple[str, str, str], token: str | None) -> _Answer | None:
        repository, revision, _ = key
        if repository in self.gated and token not in self.tokens:
            return _refusal(401 if token is None else 403, "GatedRepo", f"Access to model {repository} is restricted")
        if repository not in {known for known, _, _ in self.files}:
            return _refusal(404, "RepoNotFound", "Repository not found")
        if (repository, revision) not in {known[:2] for known in self.files}:
            return _refusal(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        if key not in self.files:
            return _refusal(404, "EntryNotFound", "Entry not found", {"X-Repo-Commit": revision})
        return None

    def _file(self, key: tuple[str, str, str]) -> _Answer:
        repository, revision, path = key
        content = self.files[key]
        sha256 = hashlib.sha256(content).hexdigest()
        headers = {"X-Repo-Commit": revision}
        if (repository, path) not in self.large:
            return _Answer(200, {**headers, "ETag": f'"{sha256[:40]}"'}, content)
        linked = {"X-Linked-ETag": f'"{sha256}"', "X-Linked-Size": str(len(content))}
        return _Answer(302, {**headers, **linked, "Location": f"http://{self.store_host}{_STORE}{sha256}"})

    def _stored(self, sha256: str) -> _Answer:
        stored = {hashlib.sha256(content).hexdigest(): content for content in self.files.values()}
        return _Answer(200, {"ETag": f'"{sha256[:32]}"'}, stored[sha256]) if sha256 in stored else _Answer(404)


def _refusal(status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> _Answer:
    return _Answer(status, {**(headers or {}), "X-Error-Code": code, "X-Error-Message": message})


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub_: FakeHub

    def do_HEAD(self) -> None:
        """Answer without the content."""
        self._answer(with_body=False)

    def do_GET(self) -> None:
        """Answer with the content."""
        self._answer(with_body=True)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # a signature of http.server
        """Say nothing: the requests are kept."""

    def _answer(self, *, with_body: bool) -> None:
        scheme, _, token = self.headers.get("Authorization", "").partition(" ")
        shown = token if scheme == "Bearer" else None
        self.hub_.requests.append(Request(self.command, self.headers["Host"], self.path, shown))
        answer = self.hub_.answer(self.path, shown)
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        if not with_body:
            return
        if self.hub_.cut and answer.body:
            self.wfile.write(answer.body[: len(answer.body) // 2])
            # Closing with a linger of zero resets the connection, as a dying machine or a firewall does.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True
            self.connection.close()
            return
        self.wfile.write(answer.body)
