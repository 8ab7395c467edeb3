"""Loading a call, in threads ahead of the models: fetch, decode, prepare, find speech, set crosstalk aside, measure."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from tasks.attempts import Attempt
from tasks.audio import PreparedAudio, prepare
from tasks.bundles import sha256_of
from tasks.crosstalk import find_crosstalk, without
from tasks.decoder import DecoderPool
from tasks.decoding import DecodeOptions
from tasks.denoise import is_candidate, reduce_noise
from tasks.errors import CallError, EmptyObject, TooLarge
from tasks.heard import within
from tasks.leg_audio import require_mono, resampled_step, side_by_side
from tasks.legs import sha256_of_legs
from tasks.records import CallRef, CallSignals, StageTimings
from tasks.regions import merge
from tasks.settings import Settings
from tasks.signals import measure
from tasks.tracks import Recording, Track
from tasks.vad import find_speech

# Crosstalk is looked for between all pairs of channels, up to so many channels.
MOST_CROSSING = 8

Fetch = Callable[[CallRef, Path], None]
"""Puts the bytes of a call in one file, or of one of its files, onto disk; a `CallError` where they cannot be had."""


def load(attempt: Attempt, fetch: Fetch, decoders: DecoderPool, settings: Settings) -> None:
    """Load a call onto scratch disk, and fill in what is found on the way: of one that is a copy, its digest alone.

    Args:
        attempt: the call; its scratch folder is made here.
        fetch: how its bytes are had.
        decoders: processes that decode.
        settings: how to process.

    Raises:
        CallError: the call cannot be processed.
    """
    started = time.monotonic()
    attempt.scratch.mkdir()
    if attempt.planned.call.legs:
        recording, resampled = _of_legs(attempt, fetch, decoders, settings)
    else:
        recording, resampled = _of_one(attempt, fetch, decoders, settings), ()
    if recording is None:
        return
    attempt.source, attempt.duration_s = recording.source, recording.duration_s
    prepared = prepare(recording, settings.audio, attempt.scratch)
    prepared = attempt.prepared = replace(prepared, preprocessing=(*resampled, *prepared.preprocessing))
    recording.path.unlink()
    loaded = time.monotonic()
    speech = [find_speech(track, settings.vad) for track in prepared.tracks]
    attempt.regions = [found.regions for found in speech]
    heard = time.monotonic()
    if settings.audio.set_crosstalk_aside and 1 < len(prepared.tracks) <= MOST_CROSSING:
        attempt.crosstalk = find_crosstalk(prepared.tracks, attempt.regions)
        attempt.regions = [
            without(regions, found) if found else regions
            for regions, found in zip(attempt.regions, attempt.crosstalk, strict=True)
        ]
    attempt.voices = [
        tuple(within(found.voices, regions)) for found, regions in zip(speech, attempt.regions, strict=True)
    ]
    attempt.signals = measure(prepared, attempt.regions, attempt.crosstalk)
    attempt.denoised = _denoised(attempt, prepared, attempt.signals, settings)
    attempt.timings += StageTimings(load_s=loaded - started + time.monotonic() - heard, vad_s=heard - loaded)


def _of_one(attempt: Attempt, fetch: Fetch, decoders: DecoderPool, settings: Settings) -> Recording | None:
    """The decoded sound of a call in one file; None where these bytes have a transcript."""
    path = attempt.scratch / "recording"
    _fetched(attempt.planned.call, path, fetch, settings)
    attempt.sha256 = sha256_of(path)
    return None if attempt.copied else _decoded(attempt.planned.call, path, decoders, settings)


def _of_legs(
    attempt: Attempt, fetch: Fetch, decoders: DecoderPool, settings: Settings
) -> tuple[Recording | None, tuple[str, ...]]:
    """The decoded sound of a call in several files, and what was done to some of them; None as of one file.

    Raises:
        CallError: that of the first file with which something is wrong, whatever it is; its message names the file.
    """
    files = attempt.planned.call.files
    paths = [attempt.scratch / f"recording-{channel}" for channel in range(len(files))]
    missing: CallError | None = None
    for channel, (file, path) in enumerate(zip(files, paths, strict=True)):
        try:
            _fetched(file, path, fetch, settings)
        except CallError as error:
            missing = _named(error, channel, file)
            break
        attempt.leg_sha256 += (sha256_of(path),)
    if missing is None:
        attempt.sha256 = sha256_of_legs(attempt.leg_sha256)
        if attempt.copied:
            return None, ()
    legs = []
    for channel in range(len(attempt.leg_sha256)):  # where one is missing, those before it may be wrong, too
        try:
            legs.append(_decoded(files[channel], paths[channel], decoders, settings))
            require_mono(legs[-1].source)
        except CallError as error:
            raise _named(error, channel, files[channel]) from error
    if missing is not None:
        raise missing
    recording = side_by_side(legs, attempt.scratch / "recording", settings.decoder.max_output_bytes)
    return recording, resampled_step([leg.source for leg in legs])


def _named(error: CallError, channel: int, file: CallRef) -> CallError:
    """The same failure, of one file of several."""
    return type(error)(f"channel {channel}, {file.key}: {error.message}")


def _fetched(file: CallRef, path: Path, fetch: Fetch, settings: Settings) -> None:
    """Put the bytes of a file onto scratch disk, unless there are none or too many."""
    if file.size_bytes == 0 and file.etag:  # without an ETag, it was not there when it was listed
        message = "the object is empty (0 bytes)"
        raise EmptyObject(message)
    if file.size_bytes > settings.archive.max_bytes:
        message = f"the object has {file.size_bytes:,} bytes, over the limit of {settings.archive.max_bytes:,}"
        raise TooLarge(f"{message} (archive.max_bytes)")
    fetch(file, path)


def _decoded(file: CallRef, path: Path, decoders: DecoderPool, settings: Settings) -> Recording:
    """The sound of a file, whose bytes are then removed."""
    raw = settings.archive.raw_format(file.key)
    options = DecodeOptions(settings.archive.max_duration_s, settings.decoder.max_output_bytes, raw)
    recording = decoders.decode(path, options)
    path.unlink()
    return recording


def _denoised(
    attempt: Attempt, prepared: PreparedAudio, signals: CallSignals, settings: Settings
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
