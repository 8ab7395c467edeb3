"""Loading a call, in threads ahead of the models: fetch, decode, prepare, find speech, set crosstalk aside, measure."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from tasks.attempts import Attempt
from tasks.audio import PreparedAudio, prepare
from tasks.bundles import sha256_of
from tasks.crosstalk import find_crosstalk, without
from tasks.decoder import DecoderPool
from tasks.decoding import DecodeOptions
from tasks.denoise import is_candidate, reduce_noise
from tasks.errors import EmptyObject, TooLarge
from tasks.heard import within
from tasks.records import CallRef, CallSignals, StageTimings
from tasks.regions import merge
from tasks.settings import Settings
from tasks.signals import measure
from tasks.tracks import Track
from tasks.vad import find_speech

# Crosstalk is looked for between all pairs of channels, up to so many channels.
MOST_CROSSING = 8

Fetch = Callable[[CallRef, Path], None]
"""Puts the bytes of a call into a file; raises a `CallError` where they cannot be had."""


def load(attempt: Attempt, fetch: Fetch, decoders: DecoderPool, settings: Settings) -> None:
    """Load a call onto scratch disk, and fill in what is found on the way.

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
    call = attempt.planned.call
    if call.size_bytes == 0 and call.etag:  # without an ETag, it was not there when it was listed
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
