"""An OpenAI-compatible transcription endpoint: sound out, an answer in. The one place that sends sound anywhere.

Nothing is sent but to the host that settings allow; redirects are not followed, and proxies of the environment are not
used. A request holds sound without a name, the model, the language and the words that may be said (hot words), and
nothing else of a call. No message of an error holds the key or what was recognised.
"""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING

import numpy as np

from tasks.errors import FallbackRefused, FallbackRejected, FallbackUnavailable
from tasks.fallback_settings import FallbackSettings, address_of
from tasks.records import Samples
from tasks.remote_answers import Answer, parse_answer
from tasks.tracks import MODEL_SAMPLING_RATE

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse

# Passing troubles: too slow, too early, too many; every 5xx besides.
_PASSING = frozenset({408, 425, 429, *range(500, 600)})
# Whoever answers so would answer every call so.
_REFUSALS = frozenset({401, 402, 403, 404, 405, 407, 410, 451})
# 16-bit samples; FLAC makes them fewer, and may add a little to noise that it cannot.
_BYTES_PER_S = 2 * MODEL_SAMPLING_RATE * 1.02
_FILE_BYTES = 16_384
_MOST_SAID = 200


def longest_s(settings: FallbackSettings) -> float:
    """How many seconds of sound one request holds at most."""
    return min(settings.chunk_s, (settings.max_upload_bytes - _FILE_BYTES) / _BYTES_PER_S)


def to_flac(samples: Samples) -> bytes:
    """Samples `[sample]` at 16 kHz as a FLAC file of 16 bit."""
    import soundfile

    file = io.BytesIO()
    soundfile.write(file, samples, MODEL_SAMPLING_RATE, format="FLAC", subtype="PCM_16")
    return file.getvalue()


class Endpoint:
    """The endpoint, with its connections; may be used from many threads.

    Args:
        settings: where it is, and how it is asked.

    Raises:
        SettingsError: sound may not be sent there, or the key cannot be read.
    """

    def __init__(self, settings: FallbackSettings) -> None:
        from urllib3 import HTTPConnectionPool, HTTPSConnectionPool, Retry, Timeout

        self.address = address_of(settings)
        self._settings = settings
        self._key = settings.secret()
        tries = settings.max_attempts - 1
        retries = Retry(
            tries,
            redirect=False,
            allowed_methods=None,  # a POST that is heard twice costs twice, and does nothing else
            status_forcelist=_PASSING,
            backoff_factor=settings.backoff_s / 2,
            backoff_max=settings.max_wait_s,
            backoff_jitter=settings.backoff_s / 2,
            retry_after_max=int(settings.max_wait_s),
            raise_on_status=False,
        )
        timeout = Timeout(connect=settings.connect_timeout_s, read=settings.timeout_s)
        host, port, most = self.address.host, self.address.port, settings.parallel
        self._pool = (
            HTTPSConnectionPool(
                host, port, timeout=timeout, maxsize=most, block=True, retries=retries, ca_certs=settings.ca_bundle
            )
            if self.address.scheme == "https"
            else HTTPConnectionPool(host, port, timeout=timeout, maxsize=most, block=True, retries=retries)
        )

    def prove(self) -> None:
        """Have two seconds of silence transcribed: whether the endpoint is there, takes the key, and answers well.

        Raises:
            FallbackRefused: it is or does not.
        """
        try:
            self.transcribe(np.zeros(2 * MODEL_SAMPLING_RATE, dtype=np.float32))
        except (FallbackRejected, FallbackUnavailable) as error:
            raise FallbackRefused(error.message) from None

    def transcribe(self, samples: Samples, language: str | None = None, hot_words: Sequence[str] = ()) -> Answer:
        """Have sound transcribed.

        Args:
            samples: `[sample]` at 16 kHz.
            language: ISO 639-1, where it is known.
            hot_words: words that may be said.

        Raises:
            FallbackRefused: it refuses us, whatever we send.
            FallbackRejected: it does not take this sound.
            FallbackUnavailable: it did not answer, or not well, after all tries.
        """
        from urllib3.exceptions import HTTPError, MaxRetryError
        from urllib3.filepost import encode_multipart_formdata

        prompt = ", ".join(hot_words)
        fields: list[tuple[str, str | tuple[str, bytes, str]]] = [
            ("model", self.address.model),
            ("response_format", "verbose_json"),
            ("timestamp_granularities[]", "word"),
            ("timestamp_granularities[]", "segment"),
            ("temperature", "0"),
            *([("language", language)] if language else []),
            *([("prompt", prompt)] if prompt else []),
            ("file", ("speech.flac", to_flac(samples), "audio/flac")),
        ]
        body, content_type = encode_multipart_formdata(fields)
        headers = {"Content-Type": content_type, "Accept": "application/json", "User-Agent": "callscribe"}
        if self._key is not None:
            headers["Authorization"] = f"Bearer {self._key.get_secret_value()}"
        failed = ""
        try:
            response = self._pool.urlopen("POST", self.address.path, body=body, headers=headers, redirect=False)
        except MaxRetryError as error:
            failed = type(error.reason).__name__
        except HTTPError as error:
            failed = type(error).__name__
        if failed:
            raise FallbackUnavailable(f"{self._who} did not answer in {self._tries} ({failed})")
        return self._answer(response, prompt)

    @property
    def _who(self) -> str:
        return f"the fallback recogniser at {self.address.host}"

    @property
    def _tries(self) -> str:
        count = self._settings.max_attempts
        return f"{count} tries" if count > 1 else "one try"

    def _answer(self, response: BaseHTTPResponse, prompt: str) -> Answer:
        status = response.status
        if 300 <= status < 400:
            raise FallbackRefused(
                f"{self._who} answered with a redirect ({status}), which is not followed: sound is sent to the host of "
                "fallback.url alone; give the URL itself"
            )
        if status >= 400:
            said = self._said(response.data, prompt)
            answered = f"{status} {_phrase(status)}".strip() + (f": {said}" if said else "")
            if status in _REFUSALS:
                raise FallbackRefused(
                    f"{self._who} refuses ({answered}); check fallback.url, fallback.model and the key"
                )
            if status in _PASSING:
                raise FallbackUnavailable(f"{self._who} did not answer well in {self._tries} ({answered})")
            raise FallbackRejected(f"{self._who} does not take this sound ({answered})")
        parsed = parse_answer(response.data) if status == HTTPStatus.OK else f"status {status}"
        if isinstance(parsed, str):
            raise FallbackUnavailable(f"{self._who} answered with what is no verbose_json transcription ({parsed})")
        if not parsed.has_word_times and self._settings.word_times == "required":
            raise FallbackRefused(
                f"{self._who} gives no times of words, by which speakers are told apart; take a model that does, or "
                "have them spread over their segments (fallback.word_times)"
            )
        return parsed

    def _said(self, data: bytes, prompt: str) -> str:
        """What a server says of an error, in short; of its own fields for that alone, without anything of ours."""
        try:
            held = json.loads(data)
        except (ValueError, RecursionError):
            return ""
        error = held.get("error", held) if isinstance(held, dict) else None
        if isinstance(error, dict):
            error = next((error[name] for name in ("message", "detail", "code") if name in error), None)
        if not isinstance(error, str):
            return ""
        for ours in (self._key.get_secret_value() if self._key else "", prompt):
            error = error.replace(ours, "…") if ours else error
        said = " ".join("".join(letter if letter.isprintable() else " " for letter in error).split())
        return said if len(said) <= _MOST_SAID else f"{said[:_MOST_SAID]}…"


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""
