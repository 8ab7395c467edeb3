"""Which addresses the fallback recogniser may have, and where its key may come from."""

import pytest
from fake_endpoint import KEY

from tasks.errors import SettingsError
from tasks.fallback_settings import FallbackSettings, address_of
from tasks.fingerprint import fingerprint, recognizer_mark
from tasks.records import CallHints
from tasks.remote import Endpoint
from tasks.settings import load_settings, setting_rows


def _settings(url: str, *hosts: str) -> FallbackSettings:
    return FallbackSettings(url=url, model="listener", allowed_hosts=hosts)


@pytest.mark.parametrize(
    ("url", "host", "path"),
    [
        ("https://speech.example.com/v1", "speech.example.com", "/v1/audio/transcriptions"),
        ("https://speech.example.com:8443/v1/", "speech.example.com", "/v1/audio/transcriptions"),
        ("https://SPEECH.Example.com", "speech.example.com", "/audio/transcriptions"),
        ("http://localhost:8000/v1", "localhost", "/v1/audio/transcriptions"),
        ("http://127.0.0.1:8000", "127.0.0.1", "/audio/transcriptions"),
        ("http://[::1]:8000", "::1", "/audio/transcriptions"),
    ],
)
def test_an_address_that_is_allowed(url: str, host: str, path: str) -> None:
    """Its host is on the list, in any case; without encryption only on this machine."""
    address = address_of(_settings(url, "elsewhere.example.com", host.upper()))
    assert (host, path, f"openai:{host}/listener") == (address.host, address.path, address.mark)


@pytest.mark.parametrize(
    ("url", "hosts", "wrong"),
    [
        ("https://speech.example.com", (), r"not among .*allowed_hosts: none\); nothing was sent"),
        ("https://speech.example.com", ("example.com", "speech.example.com.evil"), "host speech.* not among"),
        ("https://speech.example.com.", ("speech.example.com",), "not among"),
        ("https://allowed.example.com@evil.example.com", ("allowed.example.com",), "no user, password"),
        ("https://evil.example.com\\@allowed.example.com", ("allowed.example.com",), "not among|no URL|no user"),
        ("https://evil.example.com#@allowed.example.com", ("allowed.example.com",), "no user, password, query or frag"),
        ("https://evil.example.com/allowed.example.com", ("allowed.example.com",), "host evil.example.com"),
        ("https://allowed.example.com?key=1", ("allowed.example.com",), "no user, password, query"),
        ("http://allowed.example.com", ("allowed.example.com",), "https: allowed.example.com is another"),
        ("http://10.0.0.1", ("10.0.0.1",), "must be https"),
        ("ftp://allowed.example.com", ("allowed.example.com",), "no URL of a server"),
        ("allowed.example.com/v1", ("allowed.example.com",), "no URL of a server"),
        ("https://", ("",), "no URL of a server"),
        ("https://[::1", ("::1",), "no URL of a server"),
    ],
)  # fmt: skip
def test_an_address_that_is_not(url: str, hosts: tuple[str, ...], wrong: str) -> None:
    """Whatever it looks like: when settings are read, and again where sound would be sent."""
    with pytest.raises(SettingsError, match=wrong):
        address_of(_settings(url, *hosts))
    with pytest.raises(SettingsError, match=wrong):
        Endpoint(_settings(url, *hosts))
    with pytest.raises(SettingsError, match=wrong):
        load_settings(overrides={"fallback": {"url": url, "model": "listener", "allowed_hosts": hosts}})


@pytest.mark.parametrize("asked", [{"recognizer": {"kind": "fallback"}}, {"run": {"without_gpu": "fallback"}}])
def test_it_is_off_and_asked_for_only_with_an_address(asked: dict[str, dict[str, str]]) -> None:
    """By default nothing is sent anywhere; who asks for it must say where to."""
    plain = load_settings(overrides={})
    assert ("whisper", "wait", None, ()) == (
        plain.recognizer.kind, plain.run.without_gpu, plain.fallback.url, plain.fallback.allowed_hosts
    )  # fmt: skip
    with pytest.raises(SettingsError, match=r"set fallback\.url and fallback\.model"):
        load_settings(overrides=asked)


def test_the_key_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """And is in no representation of the settings."""
    monkeypatch.setenv("CALLSCRIBE_FALLBACK__KEY", KEY)
    settings = load_settings(overrides={})
    secret = settings.fallback.secret()
    assert secret is not None
    assert KEY == secret.get_secret_value()
    assert KEY not in f"{settings!r} {settings} {settings.model_dump()} {settings.model_dump_json()} {setting_rows()}"


def test_the_key_is_no_parameter() -> None:
    """Parameters of flows are kept by Prefect."""
    with pytest.raises(SettingsError, match=r"fallback\.key does not go through options") as failed:
        load_settings(overrides={"fallback": {"key": KEY}})
    assert KEY not in str(failed.value)


@pytest.mark.parametrize(
    "wrong", [{"CALLSCRIBE_FALLBACK__TIMEOUT_S": "-1"}, {"CALLSCRIBE_FALLBACK__URI": "x"}, {"CALLSCRIBE_FALLBACK": "7"}]
)
def test_a_wrong_setting_beside_the_key(monkeypatch: pytest.MonkeyPatch, wrong: dict[str, str]) -> None:
    """The message, and what it came from, name the setting and not the key."""
    monkeypatch.setenv("CALLSCRIBE_FALLBACK__KEY", KEY)
    for name, value in wrong.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as failed:
        load_settings(overrides={})
    assert KEY not in f"{failed.value} {failed.value.__cause__} {failed.value.__cause__!r}"


def test_marks_and_fingerprints() -> None:
    """Another recogniser, host or model is another transcript; the key and how often is tried are not."""
    given = {
        "url": "https://one.example.com/v1",
        "model": "listener",
        "allowed_hosts": ("one.example.com", "two.example.com"),
    }
    plain = load_settings(overrides={"fallback": given})
    whisper = fingerprint(plain, "bundle", "int8", CallHints())
    assert whisper == fingerprint(load_settings(overrides={}), "bundle", "int8", CallHints())
    assert "whisper" == recognizer_mark(plain)
    changes = [
        {},
        {"url": "https://two.example.com/v1"},
        {"model": "other"},
        {"word_times": "spread"},
        {"chunk_s": 60.0},
    ]
    fallbacks = [
        load_settings(overrides={"recognizer": {"kind": "fallback"}, "fallback": given | one}) for one in changes
    ]
    found = [fingerprint(settings, "bundle", "", CallHints()) for settings in fallbacks]
    assert len(found) == len({whisper, *found}) - 1
    assert ["openai:one.example.com/listener", "openai:two.example.com/listener", "openai:one.example.com/other"] == [
        recognizer_mark(settings) for settings in fallbacks[:3]
    ]
    same = given | {"key_file": "/key", "max_attempts": 9, "timeout_s": 1.0, "parallel": 1}
    settings = load_settings(overrides={"recognizer": {"kind": "fallback"}, "fallback": same})
    assert found[0] == fingerprint(settings, "bundle", "", CallHints())
