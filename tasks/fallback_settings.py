"""The settings of the fallback recogniser, and which address they allow. It is off unless it is asked for by name."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, field_validator

from tasks.errors import SettingsError
from tasks.setting_groups import Group


class FallbackSettings(Group):
    """An OpenAI-compatible transcription endpoint that may take the recogniser's place (docs/degradation.md)."""

    url: str | None = Field(
        None,
        description="Base URL of an OpenAI-compatible endpoint, such as `https://speech.example.com/v1`: sound is sent "
        "to `audio/transcriptions` under it, and only when a job is run with the fallback recogniser. Its host must be "
        "in `allowed_hosts`; https, but for loopback.",
    )
    allowed_hosts: tuple[str, ...] = Field(
        (),
        description="Hosts that sound of calls may be sent to, by exact name: those whose country and contract are "
        "right. Any other URL is refused before anything is sent, and redirects are not followed; empty: none.",
    )
    model: str | None = Field(None, min_length=1, description="The model that is asked for, as the endpoint names it.")
    key: SecretStr | None = Field(
        None,
        description="Key of the endpoint, sent as bearer token. From the environment (`CALLSCRIBE_FALLBACK__KEY`) or "
        "`key_file` alone: parameters of flows are kept by Prefect, so it is refused there.",
    )
    key_file: Path | None = Field(None, description="File that holds the key, such as a mounted secret.")
    ca_bundle: str | None = Field(None, description="File of the certificate authority that signed the endpoint.")
    timeout_s: float = Field(300.0, gt=0, description="Time-out for an answer, in seconds.")
    connect_timeout_s: float = Field(10.0, gt=0, description="Time-out for a connection, in seconds.")
    max_attempts: int = Field(5, ge=1, description="Tries of one request that is answered 408, 429 or 5xx, or not.")
    backoff_s: float = Field(1.0, ge=0, description="Wait before the third try, in seconds; doubles with each.")
    max_wait_s: float = Field(
        60.0, ge=0, description="Longest wait before a try, in seconds, also where the endpoint asks for more."
    )
    parallel: int = Field(4, ge=1, description="Requests that are under way at a time.")
    chunk_s: float = Field(
        600.0, ge=5, description="Most speech of one channel that is sent in one request, in seconds."
    )
    max_upload_bytes: int = Field(
        25_000_000, ge=1_000_000, description="Most bytes of sound that one request may hold; less speech is sent then."
    )
    word_times: Literal["required", "spread"] = Field(
        "required",
        description="`required`: an endpoint that gives no times of words is refused. `spread`: words are then spread "
        "evenly over their segment, and each such utterance is flagged `approximate_times`.",
    )
    minute_price: float | None = Field(
        None, ge=0, description="Price of a minute of sound, in `run.currency`, for the certificate; none when unset."
    )

    @field_validator("key_file")
    @classmethod
    def _home_is_meant(cls, value: Path | None) -> Path | None:
        return value.expanduser() if value else None

    def secret(self) -> SecretStr | None:
        """The key; None where there is none.

        Raises:
            SettingsError: the file that should hold it cannot be read, or is empty.
        """
        if self.key_file is None:
            return self.key
        try:
            held = self.key_file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            message = f"fallback.key_file {self.key_file} cannot be read: {type(error).__name__}"
            raise SettingsError(message) from None
        if not held:
            message = f"fallback.key_file {self.key_file} is empty"
            raise SettingsError(message)
        return SecretStr(held)


@dataclass(frozen=True, slots=True)
class Address:
    """Where sound may be sent: `host` is on the list, and is the one that is connected to."""

    scheme: str
    host: str
    port: int | None
    path: str
    model: str

    @property
    def mark(self) -> str:
        """How rows name the recogniser that is there."""
        return f"openai:{self.host}/{self.model}"


def address_of(settings: FallbackSettings) -> Address:
    """The address of the endpoint, if sound may go there.

    Raises:
        SettingsError: none is set, or it is none that sound may be sent to.
    """
    from urllib3.exceptions import LocationParseError
    from urllib3.util import parse_url

    if not settings.url or not settings.model:
        message = "the fallback recogniser needs an address and a model: set fallback.url and fallback.model"
        raise SettingsError(message)
    try:
        # By the library that connects: what is checked here is what is connected to.
        url = parse_url(settings.url)
    except LocationParseError:
        url = None
    if url is None or not url.host or url.scheme not in {"http", "https"}:
        message = "fallback.url is no URL of a server: give one such as https://speech.example.com/v1"
        raise SettingsError(message)
    if url.auth or url.query or url.fragment:
        message = "fallback.url must hold no user, password, query or fragment: the key goes into fallback.key"
        raise SettingsError(message)
    host = url.host.strip("[]").lower()
    if host not in {allowed.strip("[]").lower() for allowed in settings.allowed_hosts}:
        allowed = ", ".join(settings.allowed_hosts) or "none"
        message = (
            f"the host {host} of fallback.url is not among those that sound of calls may be sent to "
            f"(fallback.allowed_hosts: {allowed}); nothing was sent"
        )
        raise SettingsError(message)
    if url.scheme == "http" and not _is_loopback(host):
        message = f"fallback.url must be https: {host} is another machine; nothing was sent"
        raise SettingsError(message)
    path = f"{(url.path or '').rstrip('/')}/audio/transcriptions"
    return Address(url.scheme, host, url.port, path, settings.model)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
