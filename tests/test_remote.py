"""The endpoint of the fallback recogniser, over real HTTP: what it is sent, its errors, and what nobody ever sees."""

import logging
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from fake_endpoint import KEY, MODEL, SPOKEN, FakeEndpoint, Reply, error, fake_endpoint, says, verbose_json
from sounds import noise, sine

from tasks.errors import FallbackRefused, FallbackRejected, FallbackUnavailable, SettingsError
from tasks.fallback_settings import FallbackSettings
from tasks.remote import Endpoint, longest_s, to_flac

SOUND = sine(300, 1.5)
FIRST_WORD = SPOKEN.split(",")[0]


@pytest.fixture
def server() -> Iterator[FakeEndpoint]:
    """A server that says `SPOKEN`."""
    with fake_endpoint() as found:
        yield found


def test_what_is_sent(server: FakeEndpoint) -> None:
    """The sound without a name, what the endpoint must know, the key; and nothing else."""
    answer = Endpoint(server.settings()).transcribe(SOUND, "en", ("Ms Grey", "ACME"))
    assert ["Zarquonflute, indeed.", "It costs $142.50 today."] == [segment.text for segment in answer.segments]
    (request,) = server.requests
    assert "/v1/audio/transcriptions" == request.path
    assert {
        "model": [MODEL],
        "response_format": ["verbose_json"],
        "timestamp_granularities[]": ["word", "segment"],
        "temperature": ["0"],
        "language": ["en"],
        "prompt": ["Ms Grey, ACME"],
    } == request.fields
    assert "speech.flac" == request.file_name
    assert np.allclose(SOUND, request.samples, atol=1e-4)
    assert f"Bearer {KEY}" == request.headers["Authorization"]
    assert {
        "Host",
        "Accept-Encoding",
        "Content-Length",
        "Content-Type",
        "Accept",
        "User-Agent",
        "Authorization",
    } == set(request.headers)
    assert "callscribe" == request.headers["User-Agent"]


def test_what_is_not_known_is_not_sent(server: FakeEndpoint) -> None:
    """No language, no hot words, no key."""
    Endpoint(server.settings(key=None)).transcribe(SOUND)
    (request,) = server.requests
    assert not {"language", "prompt"} & request.fields.keys()
    assert "Authorization" not in request.headers


def test_the_key_may_lie_in_a_file(server: FakeEndpoint, tmp_path: Path) -> None:
    """As a mounted secret does, with a line end."""
    file = tmp_path / "key"
    file.write_text(f"{KEY}\n")
    Endpoint(server.settings(key=None, key_file=file)).transcribe(SOUND)
    assert f"Bearer {KEY}" == server.requests[0].headers["Authorization"]
    file.write_text(" \n")
    with pytest.raises(SettingsError, match=r"fallback\.key_file .* is empty"):
        Endpoint(server.settings(key=None, key_file=file))
    file.unlink()
    with pytest.raises(SettingsError, match="cannot be read: FileNotFoundError"):
        Endpoint(server.settings(key=None, key_file=file))


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_refusal_stops_the_job(server: FakeEndpoint, status: int) -> None:
    """A wrong key, address or model would fail every call: no second try, and one sentence without the key."""
    server.script = [error(status, f"the key {KEY} is not welcome")]
    with pytest.raises(FallbackRefused, match=rf"127\.0\.0\.1 refuses \({status} .*: the key … is not welcome\)"):
        Endpoint(server.settings()).transcribe(SOUND)
    assert 1 == len(server.requests)


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 599])
def test_a_passing_trouble_is_tried_again(server: FakeEndpoint, status: int) -> None:
    """As often as settings say; then the call fails for now."""
    server.script = [error(status), error(status)]
    assert Endpoint(server.settings()).transcribe(SOUND).segments
    assert 3 == len(server.requests)
    server.script = [error(status, "busy")] * 3
    with pytest.raises(FallbackUnavailable, match=rf"did not answer well in 3 tries \({status}.*: busy\)"):
        Endpoint(server.settings()).transcribe(SOUND)
    assert 6 == len(server.requests)


def test_retry_after_is_obeyed(server: FakeEndpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    """The endpoint says how long to wait, and `max_wait_s` how long at most."""
    waited: list[float] = []
    monkeypatch.setattr("urllib3.util.retry.time.sleep", waited.append)
    server.script = [error(429, Retry_After="3"), error(503, Retry_After="3600")]
    assert Endpoint(server.settings(max_wait_s=5.0)).transcribe(SOUND).segments
    assert [3, 5] == waited


def test_a_header_that_makes_no_sense(server: FakeEndpoint) -> None:
    """It is one more way not to answer well."""
    server.always = lambda _: error(429, Retry_After="soon")
    with pytest.raises(FallbackUnavailable, match="InvalidHeader"):
        Endpoint(server.settings()).transcribe(SOUND)


def test_no_answer(server: FakeEndpoint) -> None:
    """A server that takes the sound and says nothing is tried again, and then given up."""
    server.always = lambda _: Reply(hangs=True)
    with pytest.raises(FallbackUnavailable, match=r"did not answer in 2 tries \(ReadTimeoutError\)"):
        Endpoint(server.settings(timeout_s=0.2, max_attempts=2)).transcribe(SOUND)
    assert 2 == len(server.requests)


def test_nobody_is_there() -> None:
    """A port that nobody listens on."""
    with fake_endpoint() as gone:
        settings = gone.settings(max_attempts=1)
    with pytest.raises(FallbackUnavailable, match=r"did not answer in one try \(NewConnectionError\)"):
        Endpoint(settings).transcribe(SOUND)


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (error(400, "the  audio\nfile is corrupt"), r"\(400 Bad Request: the audio file is corrupt\)"),
        (error(413, "x" * 500), rf"\(413 Request Entity Too Large: {'x' * 200}…\)"),
        (Reply(415, b"<html>nothing that is quoted</html>"), r"\(415 Unsupported Media Type\)"),
        (Reply(422, {"detail": "no such thing"}), r"\(422 Unprocessable Entity: no such thing\)"),
        (Reply(400, {"text": "zarquonflute", "error": {"message": 7}}), r"\(400 Bad Request\)"),
        (error(499, "heard: ACME and Ms Grey, ACME"), r"\(499: heard: ACME and …\)"),
    ],
)
def test_a_sound_that_is_not_taken(server: FakeEndpoint, reply: Reply, said: str) -> None:
    """The call's own failure, with what the server says of it, in short, and nothing of what was sent or heard."""
    server.script = [reply]
    with pytest.raises(FallbackRejected, match=f"does not take this sound {said}"):
        Endpoint(server.settings()).transcribe(SOUND, hot_words=("Ms Grey", "ACME"))
    assert 1 == len(server.requests)


def test_a_redirect_is_not_followed(server: FakeEndpoint) -> None:
    """Neither to another host nor to this one: sound goes where the URL says, and nowhere else."""
    with fake_endpoint() as elsewhere:
        for status, target in ((307, elsewhere.url.replace("127.0.0.1", "localhost")), (301, "/v2"), (302, "")):
            server.script = [Reply(status, b"", {"Location": target})]
            with pytest.raises(FallbackRefused, match=rf"a redirect \({status}\), which is not followed"):
                Endpoint(server.settings()).transcribe(SOUND)
        assert [] == elsewhere.requests
    assert 3 == len(server.requests)


@pytest.mark.parametrize(
    ("reply", "wrong"),
    [
        (Reply(body=b"<html>zarquonflute</html>"), "body: json_invalid"),
        (Reply(body={"text": "zarquonflute"}), "segments: missing"),
        (Reply(204, b""), "status 204"),
    ],
)
def test_an_answer_that_is_none(server: FakeEndpoint, reply: Reply, wrong: str) -> None:
    """Said by the place of what is wrong."""
    server.script = [reply]
    with pytest.raises(FallbackUnavailable, match=rf"no verbose_json transcription \({wrong}\)"):
        Endpoint(server.settings()).transcribe(SOUND)


def test_no_times_of_words(server: FakeEndpoint) -> None:
    """Refused, unless they may be spread."""
    server.always = says(word_times=False)
    with pytest.raises(FallbackRefused, match=r"gives no times of words.*fallback\.word_times"):
        Endpoint(server.settings()).transcribe(SOUND)
    assert Endpoint(server.settings(word_times="spread")).transcribe(SOUND).segments


def test_proof(server: FakeEndpoint) -> None:
    """Silence alone is sent for it; whatever is wrong then stops the job before it takes work."""
    Endpoint(server.settings()).prove()
    assert [(2.0, 0.0)] == [(request.seconds, np.abs(request.samples).max()) for request in server.requests]
    for reply in (error(400, "this model has no verbose_json"), error(401), error(500), Reply(body=b"x")):
        server.always = lambda _, reply=reply: reply  # type: ignore[misc]
        with pytest.raises(FallbackRefused):
            Endpoint(server.settings(max_attempts=1)).prove()


def test_proxies_of_the_environment_are_not_used(server: FakeEndpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy would be another host that hears."""
    with fake_endpoint() as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        monkeypatch.delenv("no_proxy", raising=False)
        assert Endpoint(server.settings()).transcribe(SOUND).segments
        assert [] == proxy.requests


def test_the_certificate_of_the_server_is_checked(tmp_path: Path) -> None:
    """One that nobody known has signed hears nothing; one of an authority that settings name does."""
    file = tmp_path / "certificate.pem"
    file.write_bytes(_certificate("127.0.0.1"))
    with fake_endpoint(certificate=file) as server:
        with pytest.raises(FallbackUnavailable, match=r"did not answer in one try \(SSLError\)"):
            Endpoint(server.settings(max_attempts=1)).transcribe(SOUND)
        assert [] == server.requests
        assert Endpoint(server.settings(ca_bundle=str(file))).transcribe(SOUND).segments
    other = tmp_path / "other.pem"
    other.write_bytes(_certificate("127.0.0.2"))
    with fake_endpoint(certificate=other) as server:
        with pytest.raises(FallbackUnavailable, match="SSLError"):
            Endpoint(server.settings(max_attempts=1, ca_bundle=str(other))).transcribe(SOUND)
        assert [] == server.requests


def _certificate(address: str) -> bytes:
    """A certificate for an address, which has signed itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, address)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address(address))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    plain = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return made.public_bytes(serialization.Encoding.PEM) + plain


def test_nothing_of_it_is_logged(server: FakeEndpoint, caplog: pytest.LogCaptureFixture) -> None:
    """Neither the key nor what was said, at any level, whatever happens."""
    caplog.set_level(logging.DEBUG)
    body = verbose_json(SPOKEN, 1.5)
    del body["segments"][0]["avg_logprob"]
    server.script = [
        Reply(body=body),
        error(500, KEY),
        error(401, KEY),
        error(400, KEY),
        Reply(307, b"", {"Location": "/"}),
    ]
    endpoint = Endpoint(server.settings(max_attempts=1))
    said = [repr(endpoint), repr(server.settings()), str(server.settings().model_dump(mode="json"))]
    refused = (FallbackRefused, FallbackRejected, FallbackUnavailable)
    while server.script:
        with pytest.raises(refused) as failed:
            endpoint.transcribe(SOUND)
        assert failed.value.__context__ is None
        said.append(str(failed.value))
    assert 8 == len(said)
    text = "\n".join([*said, *(record.getMessage() for record in caplog.records)])
    assert KEY not in text
    assert FIRST_WORD not in text


def test_the_limit_of_an_upload(server: FakeEndpoint) -> None:
    """Sound that no codec can make smaller fits too."""
    settings = server.settings(max_upload_bytes=1_000_000)
    longest = longest_s(settings)
    assert 30 < longest < 31.25
    assert len(to_flac(noise(seconds=longest, level=0.5))) <= 1_000_000
    assert 600.0 == longest_s(FallbackSettings())
