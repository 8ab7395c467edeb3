"""The straight line: calls in, outcomes out. The one place where an error becomes a row.

Loading (fetch, decode, prepare, find speech, measure) of the next calls runs in threads while the models work on this
one. What is loaded lies on scratch disk, of a few calls at a time. A call can fail; nothing that happens to one call
touches another.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import count, islice
from pathlib import Path
from shutil import rmtree
from tempfile import TemporaryDirectory

from tasks.attribute import attribute_by_channel, attribute_by_turns, merge, to_utterances
from tasks.audio import PreparedAudio, prepare
from tasks.bundles import sha256_of
from tasks.crosstalk import Crosstalk, find_crosstalk, without
from tasks.decoder import DecoderPool
from tasks.decoding import DecodeOptions
from tasks.denoise import STEP, HeardChannel, is_candidate, listen, reduce_noise
from tasks.errors import CallError, EmptyObject, ProcessingError, ScratchFull, TooLarge, UsageError, is_full
from tasks.models import Models, prove
from tasks.quality import assess, measure, recording_reasons
from tasks.recognize import ordered
from tasks.records import (
    CallRef,
    CallSignals,
    CopiedAudio,
    DenoiseTrial,
    Failure,
    Outcome,
    PlannedCall,
    Recognition,
    Region,
    Segment,
    SourceFormat,
    StageTimings,
    Transcript,
)
from tasks.settings import Settings
from tasks.signals import measure as measure_signals
from tasks.tracks import Track
from tasks.vad import speech_regions

# Crosstalk is looked for between all pairs of channels, up to so many channels.
MOST_CROSSING = 8

Fetch = Callable[[CallRef, Path], None]
"""Puts the bytes of a call into a file; raises a `CallError` where they cannot be had."""


@dataclass(slots=True)
class _Attempt:
    """What is known so far of one attempt at a call; filled stage by stage, frozen into an `Outcome` at the end."""

    planned: PlannedCall
    scratch: Path
    sha256: str | None = None
    source: SourceFormat | None = None
    duration_s: float | None = None
    prepared: PreparedAudio | None = None
    regions: list[tuple[Region, ...]] = field(default_factory=list)
    crosstalk: tuple[Crosstalk | None, ...] | None = None
    signals: CallSignals | None = None
    denoised: list[Track | None] = field(default_factory=list)
    trials: list[DenoiseTrial] = field(default_factory=list)
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
        numbers = count()

        def load(planned: PlannedCall) -> _Attempt:
            attempt = _Attempt(planned, Path(scratch, str(next(numbers))))
            _stage(attempt, lambda: _load(attempt, fetch, decoders, settings))
            if attempt.failure or attempt.copied:
                rmtree(attempt.scratch, ignore_errors=True)  # its turn may be hours away
            return attempt

        for future in _ahead(pool, load, work, settings.run.loader_threads):
            attempt = future.result()
            if not attempt.copied:
                _stage(attempt, lambda attempt=attempt: _transcribe(attempt, models, settings))  # type: ignore[misc]
                _require_device(attempt, models)
            rmtree(attempt.scratch, ignore_errors=True)
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
        failed = ScratchFull() if is_full(error) else ProcessingError(f"{type(error).__name__}: {error}")
        attempt.failure = Failure(failed.code, failed.message, failed.transient)


def _load(attempt: _Attempt, fetch: Fetch, decoders: DecoderPool, settings: Settings) -> None:
    started = time.monotonic()
    attempt.scratch.mkdir()
    call = attempt.planned.call
    if call.size_bytes == 0:
        message = "the object is empty (0 bytes)"
        raise EmptyObject(message)
    if call.size_bytes > settings.archive.max_bytes:
        message = f"the object has {call.size_bytes:,} bytes, over the limit of {settings.archive.max_bytes:,}"
        raise TooLarge(f"{message} (archive.max_bytes)")
    path = attempt.scratch / "recording"
    fetch(call, path)
    attempt.sha256 = sha256_of(path)
    if attempt.copied:
        return
    options = DecodeOptions(
        settings.archive.max_duration_s, settings.decoder.max_output_bytes, settings.archive.raw_format(call.key)
    )
    recording = decoders.decode(path, options)
    path.unlink()
    attempt.source, attempt.duration_s = recording.source, recording.duration_s
    prepared = attempt.prepared = prepare(recording, settings.audio, attempt.scratch)
    recording.path.unlink()
    loaded = time.monotonic()
    attempt.regions = [speech_regions(track, settings.vad) for track in prepared.tracks]
    heard = time.monotonic()
    if settings.audio.set_crosstalk_aside and 1 < len(prepared.tracks) <= MOST_CROSSING:
        attempt.crosstalk = find_crosstalk(prepared.tracks, attempt.regions)
        attempt.regions = [
            without(regions, found) if found else regions
            for regions, found in zip(attempt.regions, attempt.crosstalk, strict=True)
        ]
    attempt.signals = measure_signals(prepared, attempt.regions, attempt.crosstalk)
    attempt.denoised = _denoised(attempt, prepared, attempt.signals, settings)
    attempt.timings += StageTimings(load_s=loaded - started + time.monotonic() - heard, vad_s=heard - loaded)


def _denoised(
    attempt: _Attempt, prepared: PreparedAudio, signals: CallSignals, settings: Settings
) -> list[Track | None]:
    """The tracks with noise reduced, of those channels where it is asked for or a question."""
    denoised: list[Track | None] = []
    for index, (track, regions) in enumerate(zip(prepared.tracks, attempt.regions, strict=True)):
        if not regions or not is_candidate(signals.channels[index].snr_db, settings.audio):
            denoised.append(None)
            continue
        other = attempt.crosstalk[index] if attempt.crosstalk else None
        voices = merge([*regions, *(other.regions if other else ())])
        denoised.append(reduce_noise(track, voices, attempt.scratch / f"denoised-{index}.f32", settings.audio))
    return denoised


def _transcribe(attempt: _Attempt, models: Models, settings: Settings) -> None:
    prepared, hints = attempt.prepared, attempt.planned.call.hints
    if prepared is None:  # pragma: no cover  # a loaded call that did not fail has been prepared
        message = "the call was not prepared"
        raise ProcessingError(message)
    started = time.monotonic()
    recognition = _recognize(attempt, prepared, models, settings)
    recognized = time.monotonic()
    if prepared.layout == "separate":
        spoken = attribute_by_channel(recognition.segments, channel_speakers(prepared, hints.channel_roles))
    elif recognition.segments:
        spoken = attribute_by_turns(recognition.segments, models.diarizer.diarize(prepared.tracks[0], hints.speakers))
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


def _recognize(attempt: _Attempt, prepared: PreparedAudio, models: Models, settings: Settings) -> Recognition:
    """All channels in one language, each as recorded or with noise reduced."""
    language, probability = attempt.planned.call.hints.language, None
    if language is None:
        language, probability = models.recognizer.detect_language(prepared.tracks, attempt.regions)
    segments: list[Segment] = []
    for index, measured in enumerate(attempt.signals.channels if attempt.signals else ()):
        channel = HeardChannel(
            prepared.tracks[index],
            attempt.denoised[index],
            attempt.regions[index],
            index,
            measured.channel,
            measured.snr_db,
        )
        heard, trial = listen(models.recognizer, channel, language, settings.audio)
        segments += heard
        attempt.trials += [trial] if trial else []
    return Recognition(ordered(segments), language, probability)


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
        preprocessing=_preprocessing(attempt),
        transcript=None if attempt.failure else attempt.transcript,
        failure=attempt.failure,
        timings=attempt.timings,
        signals=attempt.signals,
        denoise_trials=tuple(attempt.trials),
    )


def _preprocessing(attempt: _Attempt) -> tuple[str, ...]:
    """What was done to the sound that the transcript was made from, in order."""
    prepared = attempt.prepared
    if prepared is None:
        return ()
    tried = {trial.channel: trial.applied for trial in attempt.trials}
    reduced = [
        f"{channel} {20 * math.log10(track.gain):+.1f} dB"
        for channel, track in zip(prepared.source_channels, attempt.denoised, strict=False)
        if track is not None and attempt.transcript is not None and tried.get(channel, True)
    ]
    steps = [
        f"crosstalk(channel {one.channel}: {one.crosstalk_s:.1f} s of channel {one.crosstalk_source} set aside)"
        for one in (attempt.signals.channels if attempt.signals else ())
        if one.crosstalk_s
    ]
    steps += [f"denoise({STEP}: {', '.join(reduced)})"] if reduced else []
    return (*prepared.preprocessing, *steps)
