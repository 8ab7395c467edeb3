"""Speech regions by Silero's voice activity detector, which faster-whisper ships; shared by every later step."""

from __future__ import annotations

from tasks.audio import MODEL_SAMPLING_RATE
from tasks.records import Region, Samples
from tasks.setting_groups import VadSettings


def speech_regions(channel: Samples, settings: VadSettings) -> tuple[Region, ...]:
    """Where somebody speaks in one channel at 16 kHz: ordered, disjoint regions, padded as settings say."""
    from faster_whisper.vad import VadOptions, get_speech_timestamps

    options = VadOptions(
        threshold=settings.threshold,
        min_speech_duration_ms=settings.min_speech_ms,
        min_silence_duration_ms=settings.min_silence_ms,
        speech_pad_ms=settings.pad_ms,
    )
    found = get_speech_timestamps(channel, options, sampling_rate=MODEL_SAMPLING_RATE)
    return tuple(
        Region(chunk["start"] / MODEL_SAMPLING_RATE, chunk["end"] / MODEL_SAMPLING_RATE)
        for chunk in found
        if chunk["end"] > chunk["start"]
    )


def total_s(regions: tuple[Region, ...]) -> float:
    """Seconds of speech in disjoint regions."""
    return sum(region.duration_s for region in regions)
