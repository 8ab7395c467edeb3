"""A proxy on loopback in front of an S3 server, which does to requests what networks and stores do on bad days.

What is done to a request follows from a seed, the request's method and key, and how manieth of its kind it is, so that
a failure is seen again under the same seed, in whatever order threads send their requests. What is random in a key (the
run_id, digests, probes, the folders of the tests) does not count.
"""

import hashlib
import http.client
import re
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal, get_args
from urllib.parse import unquote, urlsplit

Kind = Literal[
    "500",
    "503",
    "silent",
    "half_body",
    "wrong_etag",
    "spurious_412",
    "put_then_cut",
    "put_then_500",
]
KINDS: tuple[Kind, ...] = get_args(Kind)
SILENCE_S = 30.0
WRONG_ETAG = '"0123456789abcdef0123456789abcdef"'

_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "expect"}
_RANDOM = re.compile(r"\d{8}T\d{9}Z-[0-9a-f]{6}|(?<=[-/])[0-9a-f]{16}(?![0-9a-f])|(?<=-)[0-9a-f]{8}(?=/)")
_ERRORS = {
    "500": (500, "InternalError"),
    "503": (503, "SlowDown"),
    "put_then_500": (500, "InternalError"),
    "spurious_412": (412, "PreconditionFailed"),
}


@dataclass(frozen=True, slots=True)
class Asked:
    """One request: `number` counts those with the same method and key, from 1; `key` has the bucket, and no run_id."""

    method: str
    key: str
    number: int
    conditional: bool

    def suffers(self, kind: Kind) -> bool:
        """Whether a fault of this kind can be done to it."""
        if kind in {"put_then_cut", "put_then_500"}:
            return self.method == "PUT"
        if kind == "spurious_412":
            return self.conditional
        if kind == "half_body":
            return self.method == "GET"
        if kind == "wrong_etag":
            return self.method in {"GET", "HEAD", "PUT"}
        return True


Script = Callable[[Asked], Kind | None]
"""Decides what is done to a request; None: nothing."""


def nothing(_asked: Asked) -> None:
    """Let every request pass."""


def at_rate(seed: int, rate: float, *kinds: Kind) -> Script:
    """Do one of some faults to a share of the requests that can suffer it.

    Args:
        seed: another one chooses other requests.
        rate: share, 0 to 1.
        kinds: of faults; which one follows from the request too.
    """

    def script(asked: Asked) -> Kind | None:
        said = f"{seed} {asked.method} {asked.key} {asked.number}"
        drawn = hashlib.sha256(said.encode()).digest()
        possible = [kind for kind in kinds if asked.suffers(kind)]
        if not possible or int.from_bytes(drawn[:4]) / 2**32 >= rate:
            return None
        return possible[drawn[4] % len(possible)]

    return script


def at_keys(pattern: str, kind: Kind, numbers: range = range(1, 2), method: str = "PUT") -> Script:
    """Do a fault to some requests on keys that hold a pattern, by number: the first one, when not said otherwise."""
    found = re.compile(pattern)

    def script(asked: Asked) -> Kind | None:
        hit = asked.method == method and found.search(asked.key) and asked.number in numbers and asked.suffers(kind)
        return kind if hit else None

    return script


@dataclass
class FaultProxy:
    """The proxy while it runs.

    Attributes:
        url: where it answers.
        target: `host:port` of the server; may be set anew when that was started at another port.
        script: what it does; may be exchanged at any time.
        done: the faults that were done so far, with what they were done to.
        seen: every request.
    """

    url: str
    target: str
    script: Script = nothing
    done: list[tuple[Kind, Asked]] = field(default_factory=list)
    seen: list[Asked] = field(default_factory=list)
    _counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def behave(self, script: Script) -> None:
        """From now on follow a script; requests are counted anew."""
        with self._lock:
            self.script, self._counts = script, Counter()
            self.done, self.seen = [], []

    def decide(self, method: str, path: str, *, conditional: bool) -> Kind | None:
        """What is to be done to a request."""
        key = _RANDOM.sub("*", unquote(urlsplit(path).path))
        with self._lock:
            self._counts[method, key] += 1
            asked = Asked(method, key, self._counts[method, key], conditional)
            self.seen.append(asked)
            kind = self.script(asked)
            if kind is not None:
                self.done.append((kind, asked))
        return kind


@contextmanager
def fault_proxy(target_url: str) -> Iterator[FaultProxy]:
    """A proxy in front of the server at a URL."""
    proxy = FaultProxy("", urlsplit(target_url).netloc)

    class Handler(_Handler):
        faults = proxy

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        proxy.url = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield proxy
        server.shutdown()


class _Handler(BaseHTTPRequestHandler):
    """Hands requests on, and does what the proxy decides."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    faults: FaultProxy

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        conditional = "If-Match" in self.headers or "If-None-Match" in self.headers
        kind = self.faults.decide(self.command, self.path, conditional=conditional)
        if kind == "silent":
            self._stay_silent()
        elif kind in {"500", "503", "spurious_412"}:
            self._refuse(kind)
        else:
            self._hand_on(body, kind)

    do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = _serve  # noqa: N815  # the names that http.server looks for

    def _stay_silent(self) -> None:
        """Say nothing until the client has had enough."""
        self.connection.settimeout(SILENCE_S)
        with suppress(OSError):
            self.connection.recv(1)
        self.close_connection = True

    def _refuse(self, kind: str) -> None:
        status, code = _ERRORS[kind]
        self._answer(status, {"Content-Type": "application/xml"}, f"<Error><Code>{code}</Code></Error>".encode())

    def _hand_on(self, body: bytes, kind: Kind | None) -> None:
        connection = http.client.HTTPConnection(self.faults.target, timeout=SILENCE_S)
        try:
            connection.request(self.command, self.path, body, dict(self.headers.items()))
            answer = connection.getresponse()
            content = answer.read()
        except (OSError, http.client.HTTPException):
            self._cut()  # the server is not there: whoever asked finds the connection closed
            return
        finally:
            connection.close()
        headers = {name: value for name, value in answer.getheaders() if name.lower() not in _HOP_BY_HOP}
        if kind == "put_then_cut":
            self._cut()
        elif kind == "put_then_500":
            self._refuse(kind)
        else:
            if kind == "wrong_etag" and "ETag" in headers:
                headers["ETag"] = WRONG_ETAG
            length = int(answer.headers.get("Content-Length", len(content)))
            self._answer(answer.status, headers, content, length, cut=kind == "half_body" and len(content) > 1)

    def _answer(
        self, status: int, headers: dict[str, str], content: bytes, length: int | None = None, *, cut: bool = False
    ) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content) if length is None else length))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content[: len(content) // 2] if cut else content)
        if cut:
            self._cut()

    def _cut(self) -> None:
        self.close_connection = True
        try:
            self.connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            return

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # its signature
        """Stay quiet."""
