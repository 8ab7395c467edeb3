"""What only a bucket as a store can get wrong: credentials, addresses, broken connections, pages."""

import http.server
import os
import secrets
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from conftest import BUCKET

from flows.s3_server import LocalS3Server
from tasks.errors import (
    CallscribeError,
    ObjectChanged,
    ObjectVanished,
    PreconditionFailed,
    SettingsError,
    StorageRefused,
    StorageUnavailable,
)
from tasks.storage import S3Access, Storage, StorageOptions, open_storage, prove_conditional_writes

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


@dataclass(frozen=True, slots=True)
class _Answer:
    """An HTTP answer; `length` is what Content-Length says, None for the truth."""

    status: int = 200
    body: bytes = b""
    length: int | None = None
    content_type: str = "application/xml"


def _error(status: int, code: str) -> _Answer:
    return _Answer(status, f"<Error><Code>{code}</Code><Message>as told</Message></Error>".encode())


@contextmanager
def _server_that_answers(*answers: _Answer) -> Iterator[str]:
    """A server on loopback that gives these answers in turn, the last one for ever; yields its URL."""
    remaining = list(answers)

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            answer = remaining.pop(0) if len(remaining) > 1 else remaining[0]
            self.send_response(answer.status)
            self.send_header("Content-Length", str(len(answer.body) if answer.length is None else answer.length))
            self.send_header("Content-Type", answer.content_type)
            self.send_header("ETag", '"etag"')
            self.send_header("Last-Modified", "Sun, 01 Nov 2026 10:00:00 GMT")
            self.end_headers()
            self.wfile.write(answer.body)
            self.close_connection = True

        do_GET = do_PUT = do_HEAD = do_DELETE = _answer  # noqa: N815 - the names that http.server looks for

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its signature
            """Stay quiet."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def _some_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")


def _open(endpoint_url: str, *, max_attempts: int = 2) -> Storage:
    quick = StorageOptions(
        endpoint_url=endpoint_url, connect_timeout_s=0.5, read_timeout_s=0.5, max_attempts=max_attempts
    )
    return open_storage("s3://bucket/prefix", quick)


@pytest.fixture
def storage(request: pytest.FixtureRequest) -> Storage:
    """An empty store in the real server."""
    request.getfixturevalue("s3_environment")
    return open_storage(f"s3://{BUCKET}/{secrets.token_hex(8)}")


def test_endpoint_and_keys_from_options_and_environment(
    s3_server: LocalS3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The endpoint may come from the options, while the keys come from boto3's chain only."""
    environment = s3_server.environment()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, environment[name])
    for path_style in (None, True):
        options = StorageOptions(endpoint_url=s3_server.endpoint_url, region="eu-central-1", path_style=path_style)
        open_storage(f"s3://{BUCKET}", options).check()


def test_list_over_a_thousand(storage: Storage) -> None:
    """A listing of more than one page has every key once, in order."""
    keys = tuple(f"2026/10/{number:05}.wav" for number in range(1005))
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda key: storage.put(key, b"x"), keys))
    assert keys == tuple(info.key for info in storage.list("2026/"))


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("reports/2026-11.html", "text/html; charset=utf-8"),
        ("_runs/1/certificate.json", "application/json"),
        ("calls/month=2026-11/shard.parquet", "application/vnd.apache.parquet"),
    ],
)
def test_objects_say_what_they_are(storage: Storage, key: str, expected: str) -> None:
    """A browser that is led to a report shows it."""
    storage.put(key, b"content")
    client: S3Client = storage._client  # type: ignore[attr-defined]
    where = {"Bucket": storage._bucket, "Key": storage._full_key(key)}  # type: ignore[attr-defined]
    assert expected == client.head_object(**where)["ContentType"]


def test_folder_markers_are_no_objects(storage: Storage) -> None:
    """The empty objects that S3 consoles make for folders are not listed."""
    storage.put("folder/", b"")
    storage.put("folder/call.wav", b"bytes")
    assert ["folder/call.wav"] == [info.key for info in storage.list()]


@pytest.mark.usefixtures("s3_environment")
def test_missing_bucket(tmp_path: Path) -> None:
    """A missing bucket stops with a sentence that names it and the endpoint, whatever is asked."""
    storage = open_storage("s3://no-such-bucket/prefix")
    for use in (
        storage.check,
        lambda: list(storage.list()),
        lambda: storage.get("k"),
        lambda: storage.put("k", b""),
        lambda: storage.put("k", b"", if_none_match=True),
        lambda: storage.download("k", tmp_path / "copy"),
    ):
        with pytest.raises(StorageRefused, match=r"no-such-bucket at http://127.*does not exist.*create the bucket"):
            use()


@pytest.mark.usefixtures("s3_environment")
def test_wrong_secret_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong secret key stops with a sentence that does not show it."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrongwrongwrong")
    with pytest.raises(StorageRefused, match="secret key is wrong") as caught:
        open_storage(f"s3://{BUCKET}").check()
    assert "wrongwrongwrong" not in caught.value.message


def test_no_credentials(s3_server: LocalS3Server) -> None:
    """Without credentials the sentence says which ones to set."""
    storage = open_storage(f"s3://{BUCKET}", StorageOptions(endpoint_url=s3_server.endpoint_url))
    with pytest.raises(StorageRefused, match=r"no usable credentials.*AWS_ACCESS_KEY_ID"):
        storage.check()


def test_unknown_profile(monkeypatch: pytest.MonkeyPatch) -> None:
    """A profile that does not exist is named when the store is opened."""
    monkeypatch.setenv("AWS_PROFILE", "no-such-profile")
    with pytest.raises(StorageRefused, match="no-such-profile"):
        open_storage("s3://bucket")


@pytest.mark.usefixtures("_some_keys")
def test_unreachable_endpoint() -> None:
    """An endpoint where nobody listens is named."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(StorageRefused, match=f"{url}: cannot be reached"):
            _open(url).check()


@pytest.mark.usefixtures("_some_keys")
def test_silent_endpoint() -> None:
    """An endpoint that accepts and says nothing is a time-out: transient for a call, a refusal for the check."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        storage = _open(f"http://127.0.0.1:{silent.getsockname()[1]}", max_attempts=1)
        with pytest.raises(StorageUnavailable, match=r"(?i)timeout"):
            storage.get("k")
        with pytest.raises(StorageRefused, match=r"(?i)timeout"):
            storage.check()


def test_plain_server_asked_for_tls(s3_environment: LocalS3Server) -> None:
    """A failed TLS handshake says what to set."""
    url = s3_environment.endpoint_url.replace("http:", "https:")
    with pytest.raises(StorageRefused, match=r"no trusted connection.*ca_bundle"):
        _open(url).check()


@pytest.mark.parametrize(
    "options",
    [
        StorageOptions(endpoint_url="127.0.0.1:9000"),
        StorageOptions(region="middle earth"),
        StorageOptions(ca_bundle="/no/such/file.pem"),
    ],
)
def test_options_that_boto3_cannot_use(options: StorageOptions) -> None:
    """Options that cannot work are refused when the store is opened, with their values."""
    value = options.endpoint_url or options.region or options.ca_bundle or ""
    with pytest.raises(SettingsError, match=value):
        open_storage("s3://bucket", options)


@pytest.mark.usefixtures("_some_keys")
def test_server_that_is_no_s3() -> None:
    """A web server that answers with a page is told apart from an empty bucket."""
    page = _Answer(200, b"Welcome to this server", content_type="text/plain")
    with _server_that_answers(page) as url, pytest.raises(StorageRefused, match="no good answer from s3://bucket at"):
        _open(url).check()


@pytest.mark.usefixtures("_some_keys")
def test_short_body_is_read_again(tmp_path: Path) -> None:
    """A body shorter than its Content-Length is asked for again, and only the whole one is kept."""
    short, whole = _Answer(body=b"half", length=10), _Answer(body=b"whole body")
    with _server_that_answers(short, whole) as url:
        assert b"whole body" == _open(url).get("k").data
    with _server_that_answers(short, whole) as url:
        _open(url).download("k", tmp_path / "copy")
        assert b"whole body" == (tmp_path / "copy").read_bytes()


@pytest.mark.usefixtures("_some_keys")
def test_body_that_stays_short(tmp_path: Path) -> None:
    """A body that breaks off each time is an outage, and leaves no file."""
    with _server_that_answers(_Answer(body=b"half", length=10)) as url:
        storage = _open(url)
        with pytest.raises(StorageUnavailable, match="broke off in each of 2 tries"):
            storage.get("k")
        with pytest.raises(StorageUnavailable, match="broke off"):
            storage.download("k", tmp_path / "copy")
    assert [] == list(tmp_path.iterdir())


@pytest.mark.usefixtures("_some_keys")
def test_a_read_that_is_refused_for_no_reason(tmp_path: Path) -> None:
    """A busy store says that the object is another one; a look at it says that it is not, and it is read again."""
    refused, whole = _error(412, "PreconditionFailed"), _Answer(body=b"whole body")
    for tries in (2, 3):
        answers = [refused, whole] * (tries - 1)  # a GET that is refused, a HEAD that finds the object as it was
        with _server_that_answers(*answers, whole) as url:
            storage = _open(url, max_attempts=3)
            assert b"whole body" == storage.get("k", if_match="etag").data
        with _server_that_answers(*answers, whole) as url:
            _open(url, max_attempts=3).download("k", tmp_path / "copy", if_match="etag")
            assert b"whole body" == (tmp_path / "copy").read_bytes()
    with (
        _server_that_answers(refused, whole, refused, whole) as url,
        pytest.raises(StorageUnavailable, match=rf"{url} refused 2 times what it has"),
    ):
        _open(url).get("k", if_match="etag")
    with (
        _server_that_answers(refused, whole) as url,
        pytest.raises(ObjectChanged, match="has ETag etag, expected older"),
    ):
        _open(url).get("k", if_match="older")


@pytest.mark.usefixtures("_some_keys")
@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (_error(503, "SlowDown"), StorageUnavailable),
        (_error(500, "InternalError"), StorageUnavailable),
        (_Answer(502, b"<html>bad gateway</html>", content_type="text/html"), StorageUnavailable),
        (_error(429, "TooManyRequests"), StorageUnavailable),
        (_error(400, "RequestTimeout"), StorageUnavailable),
        (_error(403, "InvalidObjectState"), StorageUnavailable),
        (_error(403, "AccessDenied"), StorageRefused),
        (_error(400, "ExpiredToken"), StorageRefused),
        (_error(501, "NotImplemented"), StorageRefused),
        (_error(400, "SomethingNew"), StorageRefused),
        (_error(404, "NoSuchBucket"), StorageRefused),
        (_error(404, "NoSuchKey"), ObjectVanished),
    ],
)
def test_answers_to_a_read(answer: _Answer, expected: type[CallscribeError]) -> None:
    """Each answer of a store becomes the error that says whether another try may work."""
    with _server_that_answers(answer) as url, pytest.raises(expected) as caught:
        _open(url, max_attempts=1).get("k")
    assert expected is type(caught.value)
    assert "s3://bucket" in caught.value.message


@pytest.mark.usefixtures("_some_keys")
@pytest.mark.parametrize(
    "answer",
    [_error(412, "PreconditionFailed"), _error(409, "ConditionalRequestConflict"), _error(404, "NoSuchKey")],
)
def test_answers_to_a_conditional_write(answer: _Answer) -> None:
    """Everything that S3 may say to If-Match over another version, or none, is one error."""
    with _server_that_answers(answer) as url, pytest.raises(PreconditionFailed):
        _open(url).put("k", b"bytes", if_match="etag")


@pytest.mark.usefixtures("_some_keys")
def test_store_that_ignores_conditions_is_refused() -> None:
    """A store that accepts every write cannot hold a data set."""
    with (
        _server_that_answers(_Answer()) as url,
        pytest.raises(StorageRefused, match="cannot hold a callscribe data set"),
    ):
        prove_conditional_writes(_open(url), "_control/probe")


@pytest.mark.usefixtures("_some_keys")
def test_store_without_conditions_is_refused() -> None:
    """A store that knows no conditions at all is refused too."""
    with _server_that_answers(_error(501, "NotImplemented")) as url, pytest.raises(StorageRefused, match="lacks"):
        prove_conditional_writes(_open(url), "_control/probe")


def test_direct_access_opens_in_pyarrow(storage: Storage) -> None:
    """What `direct_access` tells is enough for pyarrow to read the same objects."""
    fs = pytest.importorskip("pyarrow.fs")
    storage.put("k", b"bytes")
    access = storage.direct_access()
    assert isinstance(access, S3Access)
    assert os.environ["AWS_SECRET_ACCESS_KEY"] not in repr(access)
    arrow = fs.S3FileSystem(
        access_key=access.access_key,
        secret_key=access.secret_key,
        session_token=access.session_token,
        region=access.region,
        scheme=access.scheme,
        endpoint_override=access.endpoint,
    )
    with arrow.open_input_stream(f"{access.bucket}/{access.prefix}/k") as stream:
        assert b"bytes" == stream.read()


@pytest.mark.usefixtures("_some_keys")
def test_direct_access_to_amazon() -> None:
    """Amazon's own endpoint is left to the other library; path style only where it is asked for or an endpoint set."""
    amazon = open_storage("s3://bucket/a/b/", StorageOptions(region="eu-central-1")).direct_access()
    expected = S3Access("bucket", "a/b", None, "https", "eu-central-1", False, None, "key", "secret", None)  # noqa: FBT003
    assert expected == amazon
    own = open_storage("s3://bucket", StorageOptions(endpoint_url="https://s3.example:9000")).direct_access()
    assert isinstance(own, S3Access)
    assert ("", "s3.example:9000", "https", True) == (own.prefix, own.endpoint, own.scheme, own.path_style)
