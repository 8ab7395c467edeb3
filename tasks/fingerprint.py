"""The fingerprint of a transcript: a hash of everything that can change it."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC

from tasks.fallback_settings import address_of
from tasks.records import CallHints, Provenance
from tasks.settings import Settings

# Raise by hand when the code may give another transcript from the same audio and settings.
STAGES_VERSION = 8
RECOGNIZER_KIND = "faster-whisper"
WHISPER = "whisper"
# Settings of the recogniser that change its speed alone.
SPEED_SETTINGS = frozenset({"cpu_threads", "batch_size", "feature_threads"})
# Settings of the fallback recogniser that change what it makes of a call.
_FALLBACK_SETTINGS = {"chunk_s", "max_upload_bytes", "word_times"}


def fingerprint(
    settings: Settings, bundle_digest: str, compute_type: str, hints: CallHints, *, calibration: str = ""
) -> str:
    """Hash of audio settings, bundle, decoding options, kind of recogniser, compute type, hints and stages version.

    What only changes speed (threads, batch sizes, device) is left out.

    Args:
        settings: how calls are processed.
        bundle_digest: digest of the model bundle.
        compute_type: number format that the recogniser computes in; empty where nobody knows, as of the fallback.
        hints: what is known of the call.
        calibration: digest of the calibration of word probabilities (`Calibration.digest`); empty without.

    Returns:
        16 hexadecimal digits.
    """
    parts = {
        "stages": STAGES_VERSION,
        "bundle": bundle_digest,
        **_kind(settings),
        "compute_type": compute_type,
        "raw": settings.archive.model_dump(
            mode="json", include={"raw_encoding", "raw_sampling_rate", "raw_channels", "raw_extensions"}
        ),
        "audio": settings.audio.model_dump(mode="json", exclude=_unused(settings)),
        "vad": settings.vad.model_dump(mode="json"),
        "recognizer": settings.recognizer.model_dump(mode="json", exclude={"kind", *SPEED_SETTINGS}),
        "calibration": calibration,
        "diarization": settings.diarization.model_dump(mode="json"),
        "utterances": settings.utterances.model_dump(mode="json"),
        "hints": {
            "language": hints.language,
            "channel_roles": hints.channel_roles,
            "speakers": hints.speakers,
            "languages": sorted(hints.languages),
            "hot_words": hints.hot_words,
        },
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def recognizer_mark(settings: Settings) -> str:
    """Who recognises under these settings, as rows name it: `whisper`, or `openai:HOST/MODEL`."""
    return WHISPER if settings.recognizer.kind == "whisper" else address_of(settings.fallback).mark


def _kind(settings: Settings) -> dict[str, object]:
    """The kind of recogniser, and of the fallback where it is and how it is asked."""
    if settings.recognizer.kind == "whisper":
        return {"kind": RECOGNIZER_KIND}
    how = settings.fallback.model_dump(mode="json", include=_FALLBACK_SETTINGS)
    return {"kind": recognizer_mark(settings), "fallback": how}


def _unused(settings: Settings) -> set[str]:
    """Settings of the audio that decide nothing."""
    return set() if settings.audio.denoise == "auto" else {"denoise_below_snr_db", "denoise_probe_s"}


def transcript_id(call_id: str, audio_sha256: str | None, provenance: Provenance) -> str:
    """Identity of what one try at a call found: a hash of columns of its row; 32 hexadecimal digits.

    Run and time are in it, because a try that died before its commit leaves utterances under its identity, and the
    next one (which counts as the same attempt, and may find other words) must not meet them under its own.
    """
    tried_at = provenance.transcribed_at.astimezone(UTC).isoformat()
    parts = [call_id, audio_sha256, provenance.fingerprint, provenance.run_id, provenance.attempt, tried_at]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]
