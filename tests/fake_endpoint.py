"""A transcription endpoint on loopback: a real HTTP server that keeps what it is sent and answers by a script.

Without a script it answers as OpenAI's does: text with punctuation in segments, words without, times that fill the
sound evenly.
"""

import io
import json
import ssl
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.parser import BytesParser
from email.policy import HTTP
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from tasks.fallback_settings import FallbackSettings
from tasks.records import Samples

KEY = "sk-brindlewhisk-5581"
"""A key that is nowhere else: where it turns up, it leaked."""
MODEL = "large/listener-1"
SPOKEN = "Zarquonflute, indeed. It costs $142.50 today."
"""What the endpoint hears in everything; its first word is nowhere else."""


@dataclass(frozen=True)
class Request:
    """What was sent."""

    path: str
    headers: dict[str, str]
    fields: dict[str, list[str]]
    file_name: str
    samples: Samples
    bytes: int

    @property
    def seconds(self) -> float:
        """Of sound."""
        return len(self.samples) / 16_000


@dataclass(frozen=True)
class Reply:
    """An answer of the server; `hangs`: it reads the request and never answers."""

    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    hangs: bool = False


Answer = Callable[[Request], Reply]


@dataclass
class FakeEndpoint:
    """The server: `script` answers the first requests, one each, and `always` all others."""

    url: str
    always: Answer
    script: list[Reply] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)
    over: threading.Event = field(default_factory=threading.Event)

    def settings(self, **changes: Any) -> FallbackSettings:  # noqa: ANN401  # fields of the settings
        """Settings that lead here, with retries that do not wait."""
        return FallbackSettings(**{**self.values(), "key": KEY, **changes})

    def values(self) -> dict[str, Any]:
        """The same without the key, as overrides have it."""
        return {
            "url": self.url, "model": MODEL, "allowed_hosts": ["127.0.0.1"], "backoff_s": 0.0, "max_attempts": 3,
            "max_wait_s": 5.0,
        }  # fmt: skip

    def answer(self, request: Request) -> Reply:
        """Keep the request, and answer it."""
        with self.lock:
            self.requests.append(request)
            if self.script:
                return self.script.pop(0)
        return self.always(request)

    @property
    def heard_s(self) -> float:
        """Seconds of sound that is no digital silence, as that of a proof is."""
        return sum(request.seconds for request in self.requests if np.abs(request.samples).max() > 0)


def says(text: str = SPOKEN, language: str = "english", *, word_times: bool = True) -> Answer:
    """An answer that says a text, over all of the sound; nothing in digital silence."""

    def answer(request: Request) -> Reply:
        said = text if np.abs(request.samples).max() > 0 else ""
        return Reply(body=verbose_json(said, request.seconds, language, word_times=word_times))

    return answer


def verbose_json(text: str, seconds: float, language: str = "english", *, word_times: bool = True) -> dict[str, Any]:
    """As OpenAI answers: a segment for each sentence, and words of all of them without punctuation."""
    sentences = [f" {part.strip()}" for part in text.replace(". ", ".|").split("|") if part.strip()]
    pieces = text.split()
    each = seconds / max(len(pieces), 1)
    segments: list[dict[str, Any]] = []
    at = 0
    for sentence in sentences:
        count = len(sentence.split())
        segments.append(
            {
                "id": len(segments), "seek": 0, "start": at * each, "end": (at + count) * each, "text": sentence,
                "tokens": [1], "temperature": 0.0, "avg_logprob": -0.25, "compression_ratio": 1.1,
                "no_speech_prob": 0.01,
            }
        )  # fmt: skip
        at += count
    body: dict[str, Any] = {"task": "transcribe", "language": language, "duration": seconds, "text": text}
    body["segments"] = segments
    if word_times:
        body["words"] = [
            {"word": piece.strip(".,$"), "start": index * each, "end": (index + 0.9) * each}
            for index, piece in enumerate(pieces)
        ]
    return body


def error(status: int, message: str = "no", **headers: str) -> Reply:
    """An error as OpenAI has them."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(status, {"error": {"message": message, "type": "x", "code": None}}, named)


@contextmanager
def fake_endpoint(
    always: Answer | None = None, script: Sequence[Reply] = (), certificate: Path | None = None
) -> Iterator[FakeEndpoint]:
    """A server for the length of the block; over TLS with a certificate, whose file holds its key too."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            reply = endpoint.answer(_request(self.path, dict(self.headers), body))
            if reply.hangs:
                endpoint.over.wait()
                self.close_connection = True
                return
            content = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
            self.send_response(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # a signature of the library
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    scheme = "https" if certificate else "http"
    endpoint = FakeEndpoint(f"{scheme}://127.0.0.1:{server.server_port}/v1", always or says(), list(script))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield endpoint
    finally:
        endpoint.over.set()
        server.shutdown()
        server.server_close()
        thread.join()


def _request(path: str, headers: dict[str, str], body: bytes) -> Request:
    message = BytesParser(policy=HTTP).parsebytes(f"Content-Type: {headers['Content-Type']}\r\n\r\n".encode() + body)
    fields: dict[str, list[str]] = {}
    file_name, samples, size = "", np.zeros(0, dtype=np.float32), 0
    for part in message.iter_parts():
        content = part.get_payload(decode=True)
        name = part.get_param("name", header="content-disposition")
        if name == "file":
            file_name, size = str(part.get_filename()), len(content)
            samples, rate = soundfile.read(io.BytesIO(content), dtype="float32")
            assert (16_000, 1) == (rate, samples.ndim)
        else:
            fields.setdefault(str(name), []).append(content.decode())
    return Request(path, headers, fields, file_name, samples, size)
