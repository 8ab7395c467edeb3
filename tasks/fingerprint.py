"""The fingerprint of a transcript: a hash of everything that can change it."""

from __future__ import annotations

import hashlib
import json

from tasks.records import CallHints
from tasks.settings import Settings

# Raise by hand when the code may give another transcript from the same audio and settings.
STAGES_VERSION = 1
RECOGNIZER_KIND = "faster-whisper"


def fingerprint(settings: Settings, bundle_digest: str, compute_type: str, hints: CallHints) -> str:
    """Hash of audio settings, bundle, decoding options, kind of recogniser, compute type, hints and stages version.

    What only changes speed (threads, batch sizes, device) is left out.

    Returns:
        16 hexadecimal digits.
    """
    recognizer = settings.recognizer.model_dump(mode="json", exclude={"cpu_threads"})
    parts = {
        "stages": STAGES_VERSION,
        "bundle": bundle_digest,
        "kind": RECOGNIZER_KIND,
        "compute_type": compute_type,
        "audio": settings.audio.model_dump(mode="json"),
        "vad": settings.vad.model_dump(mode="json"),
        "recognizer": recognizer,
        "diarization": settings.diarization.model_dump(mode="json"),
        "utterances": settings.utterances.model_dump(mode="json"),
        "hints": {
            "language": hints.language,
            "channel_roles": hints.channel_roles,
            "speakers": hints.speakers,
        },
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def transcript_id(call_id: str, audio_sha256: str | None, call_fingerprint: str, attempt: int) -> str:
    """Identity of one attempt's transcript: hash of call, bytes, fingerprint and attempt; 32 hexadecimal digits."""
    text = json.dumps([call_id, audio_sha256, call_fingerprint, attempt])
    return hashlib.sha256(text.encode()).hexdigest()[:32]
