"""The straight line: calls in, outcomes out. The one place where an error becomes a row.

Loading (fetch, decode, prepare, find speech) of the next calls runs in threads while the models work on this one. A
call can fail; nothing that happens to one call touches another.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from tasks.attribute import attribute_by_channel, attribute_by_turns, to_utterances
from tasks.audio import prepare
from tasks.bundles import sha256_of
from tasks.decoder import DecoderPool
from tasks.decoding import DecodeOptions
from tasks.errors import CallError, EmptyObject, ProcessingError, TooLarge, UsageError
from tasks.models import Models, prove
from tasks.quality import assess, measure, recording_reasons
from tasks.records import (
    CallRef,
    CallSignals,
    CopiedAudio,
    Failure,
    Outcome,
    PlannedCall,
    PreparedAudio,
    Region,
    SourceFormat,
    StageTimings,
    Transcript,
)
from tasks.settings import Settings
from tasks.signals import measure as measure_signals
from tasks.vad import speech_regions

Fetch = Callable[[CallRef, Path], None]
"""Puts the bytes of a call into a file; raises a `CallError` where they cannot be had."""


@dataclass(slots=True)
class _Attempt:
    """What is known so far of one attempt at a call; filled stage by stage, frozen into an `Outcome` at the end."""

    planned: PlannedCall
    sha256: str | None = None
    source: SourceFormat | None = None
    duration_s: float | None = None
    prepared: PreparedAudio | None = None
    regions: list[tuple[Region, ...]] = field(default_factory=list)
    signals: CallSignals | None = None
    transcript: Transcript | None = None
    failure: Failure | None = None
    timings: StageTimings = field(default_factory=StageTimings)

    @property
    def copied(self) -> bool:
        """Whether these very bytes have a good transcript already."""
        return self.sha256 is not None and self.sha256 == self.planned.known_sha256


def process(
    work: Iterable[PlannedCall], fetch: Fetch, models: Models, settings: Settings
) -> Iterator[Outcome | CopiedAudio]:
    """Transcribe calls, one after another, in order; every call gives exactly one outcome.

    Args:
        work: the calls; taken as they are needed.
        fetch: how their bytes are had.
        models: loaded models.
        settings: how to process.

    Raises:
        UsageError: something around the calls is wrong; what was not yielded was not done.
    """
    with (
        TemporaryDirectory(prefix="callscribe-") as scratch,
        DecoderPool(settings.decoder.limits()) as decoders,
        ThreadPoolExecutor(settings.run.loader_threads) as pool,
    ):

        def load(planned: PlannedCall) -> _Attempt:
            attempt = _Attempt(planned)
            _stage(attempt, lambda: _load(attempt, fetch, decoders, Path(scratch), settings))
            return attempt

        for future in _ahead(pool, load, work, settings.run.loader_threads):
            attempt = future.result()
            if not attempt.copied:
                _stage(attempt, lambda attempt=attempt: _transcribe(attempt, models, settings))  # type: ignore[misc]
                _require_device(attempt, models)
            yield CopiedAudio(attempt.planned.call, str(attempt.sha256)) if attempt.copied else _outcome(attempt)


def _require_device(attempt: _Attempt, models: Models) -> None:
    """After a call that a library failed on a GPU, make sure that it was the call: a dead GPU would fail all others.

    Raises:
        DeviceError: the device does not run the models any more; the call has no outcome.
    """
    if models.device.kind == "cuda" and attempt.failure is not None and attempt.failure.code == ProcessingError.code:
        prove(models)


def _ahead(
    pool: ThreadPoolExecutor, load: Callable[[PlannedCall], _Attempt], work: Iterable[PlannedCall], ahead: int
) -> Iterator[Future[_Attempt]]:
    """Submit calls in order, never more than `ahead` before the one that is handed out."""
    calls = iter(work)
    pending = deque(pool.submit(load, planned) for planned in islice(calls, ahead))
    while pending:
        ready = pending.popleft()
        pending.extend(pool.submit(load, planned) for planned in islice(calls, 1))
        yield ready


def _stage(attempt: _Attempt, step: Callable[[], None]) -> None:
    """Run one stage of one call; whatever goes wrong is this call's failure, and no other's."""
    if attempt.failure is not None:
        return
    try:
        step()
    except UsageError:
        raise
    except CallError as error:
        attempt.failure = Failure(error.code, error.message, error.transient)
    except Exception as error:  # noqa: BLE001  # a batch cannot be failed by a call, whatever a library raises
        attempt.failure = Failure(ProcessingError.code, f"{type(error).__name__}: {error}", ProcessingError.transient)


def _load(attempt: _Attempt, fetch: Fetch, decoders: DecoderPool, scratch: Path, settings: Settings) -> None:
    started = time.monotonic()
    call = attempt.planned.call
    if call.size_bytes == 0:
        message = "the object is empty (0 bytes)"
        raise EmptyObject(message)
    if call.size_bytes > settings.archive.max_bytes:
        message = f"the object has {call.size_bytes:,} bytes, over the limit of {settings.archive.max_bytes:,}"
        raise TooLarge(f"{message} (archive.max_bytes)")
    with TemporaryDirectory(dir=scratch) as folder:
        path = Path(folder) / "recording"
        fetch(call, path)
        attempt.sha256 = sha256_of(path)
        if attempt.copied:
            return
        options = DecodeOptions(
            settings.archive.max_duration_s, settings.decoder.max_output_bytes, settings.archive.raw_format(call.key)
        )
        audio, attempt.source = decoders.decode(path, options)
    attempt.duration_s = audio.duration_s
    attempt.prepared = prepare(audio, attempt.source, settings.audio)
    loaded = time.monotonic()
    attempt.regions = [speech_regions(channel, settings.vad) for channel in attempt.prepared.audio.samples]
    heard = time.monotonic()
    attempt.signals = measure_signals(attempt.prepared, attempt.regions)
    attempt.prepared = replace(attempt.prepared, recorded=np.empty((0, 0), dtype=np.float32))
    attempt.timings += StageTimings(load_s=loaded - started + time.monotonic() - heard, vad_s=heard - loaded)


def _transcribe(attempt: _Attempt, models: Models, settings: Settings) -> None:
    prepared, hints = attempt.prepared, attempt.planned.call.hints
    if prepared is None:  # pragma: no cover  # a loaded call that did not fail has been prepared
        message = "the call was not prepared"
        raise ProcessingError(message)
    started = time.monotonic()
    channels = prepared.audio.samples
    recognition = models.recognizer.recognize(channels, attempt.regions, hints.language)
    recognized = time.monotonic()
    if prepared.layout == "separate":
        spoken = attribute_by_channel(recognition.segments, channel_speakers(prepared, hints.channel_roles))
    elif recognition.segments:
        spoken = attribute_by_turns(recognition.segments, models.diarizer.diarize(channels[0], hints.speakers))
    else:
        spoken = []
    attempt.timings += StageTimings(recognize_s=recognized - started, diarize_s=time.monotonic() - recognized)
    utterances = to_utterances(spoken, prepared.source_channels, recognition.language, settings.utterances.max_pause_s)
    attempt.transcript = Transcript(
        utterances=utterances,
        language=recognition.language if utterances else None,
        language_probability=recognition.language_probability if utterances else None,
        speakers=tuple(sorted({item.speaker for item in utterances})),
        quality=assess(
            attempt.regions,
            prepared.source_channels,
            utterances,
            recording_reasons(prepared.source, prepared.duration_s),
        ),
        metrics=measure(utterances),
    )


def channel_speakers(prepared: PreparedAudio, roles: tuple[str, ...]) -> list[str]:
    """Who speaks on each kept channel: its role where one is named, else `SPEAKER_<channel>`."""
    return [
        roles[channel] if channel < len(roles) else f"SPEAKER_{channel:02d}" for channel in prepared.source_channels
    ]


def _outcome(attempt: _Attempt) -> Outcome:
    prepared = attempt.prepared
    return Outcome(
        call=attempt.planned.call,
        audio_sha256=attempt.sha256,
        source=attempt.source,
        duration_s=attempt.duration_s,
        layout=prepared.layout if prepared else None,
        loudness_lufs=prepared.loudness_lufs if prepared else None,
        clipped_ratio=prepared.clipped_ratio if prepared else None,
        preprocessing=prepared.preprocessing if prepared else (),
        transcript=None if attempt.failure else attempt.transcript,
        failure=attempt.failure,
        timings=attempt.timings,
        signals=attempt.signals,
    )
