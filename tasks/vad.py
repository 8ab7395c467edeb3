"""Speech regions by Silero's voice activity detector, which faster-whisper ships; shared by every later step.

The model and the rule that turns its probabilities into regions are faster-whisper's. Here both read a track piece by
piece, of any length, and the model runs over small batches, which stay in a processor's cache.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from tasks.records import Region, Samples
from tasks.setting_groups import VadSettings
from tasks.tracks import MODEL_SAMPLING_RATE, Track

WINDOW = 512
CONTEXT = 64  # samples of the window before, which the model hears again
BATCH = 128
STATE_SIZE = 128
# Speech goes on until the probability falls this far under the threshold (Silero's rule), and never under the least.
HYSTERESIS = 0.15
LEAST_THRESHOLD = 0.01

Probabilities = NDArray[np.float32]


# Voices are regions without padding, that part at shorter silences: evidence of where there is something to hear.
VOICE_SILENCE_MS = 200
VOICE_PAD_MS = 30


@dataclass(frozen=True, slots=True)
class Speech:
    """Where somebody speaks in one channel.

    `regions` are what a recogniser is given: padded, and over short pauses, as settings say. `voices` are where a voice
    is heard, without. Both are ordered and disjoint.
    """

    regions: tuple[Region, ...]
    voices: tuple[Region, ...]


def find_speech(track: Track, settings: VadSettings) -> Speech:
    """Find where somebody speaks in one channel."""
    probabilities = speech_probabilities(track)
    close = settings.model_copy(
        update={"min_silence_ms": VOICE_SILENCE_MS, "pad_ms": VOICE_PAD_MS, "min_speech_ms": settings.min_speech_ms}
    )
    return Speech(to_regions(probabilities, track.samples, settings), to_regions(probabilities, track.samples, close))


def speech_regions(track: Track, settings: VadSettings) -> tuple[Region, ...]:
    """Where somebody speaks in one channel: ordered, disjoint regions, padded as settings say."""
    return find_speech(track, settings).regions


def speech_probabilities(track: Track) -> Probabilities:
    """The probability of speech in every window of 32 ms; the last one is filled with silence."""
    from faster_whisper.vad import get_vad_model

    session = get_vad_model().session
    hidden = cell = np.zeros((1, 1, STATE_SIZE), dtype=np.float32)
    found = []
    for windows in _windows(track):
        for start in range(0, len(windows), BATCH):
            batch = windows[start : start + BATCH]
            probabilities, hidden, cell = session.run(None, {"input": batch, "h": hidden, "c": cell})
            found.append(probabilities.reshape(-1))
    return np.concatenate(found) if found else np.zeros(0, dtype=np.float32)


def to_regions(probabilities: Probabilities, samples: int, settings: VadSettings) -> tuple[Region, ...]:
    """Regions of speech from the probabilities of windows, by the rule of Silero's `get_speech_timestamps`.

    Speech starts with the first window over the threshold and ends where a silence of `min_silence_ms` begins.

    Args:
        probabilities: of each window of 32 ms.
        samples: length of the channel.
        settings: thresholds and lengths.
    """
    least_silence = settings.min_silence_ms * MODEL_SAMPLING_RATE / 1000
    least_speech = settings.min_speech_ms * MODEL_SAMPLING_RATE / 1000
    found = [
        (start, end)
        for start, end in _stretches(probabilities, settings.threshold, least_silence, samples)
        if end - start > least_speech
    ]
    return tuple(
        Region(start / MODEL_SAMPLING_RATE, end / MODEL_SAMPLING_RATE)
        for start, end in _padded(found, settings.pad_ms * MODEL_SAMPLING_RATE // 1000, samples)
        if end > start
    )


def first_s(regions: Sequence[Region], seconds: float) -> tuple[Region, ...]:
    """The first so many seconds of speech of a channel."""
    found: list[Region] = []
    left_s = seconds
    for region in regions:
        if left_s <= 0:
            break
        found.append(Region(region.start, min(region.end, region.start + left_s)))
        left_s -= region.duration_s
    return tuple(found)


def total_s(regions: tuple[Region, ...]) -> float:
    """Seconds of speech in disjoint regions."""
    return sum(region.duration_s for region in regions)


def _windows(track: Track) -> Iterator[Samples]:
    """The windows of a track with their contexts, `[window, sample]`, many at a time."""
    context = np.zeros(CONTEXT, dtype=np.float32)
    last = track.samples // WINDOW * WINDOW  # where the window starts that is filled with silence
    for block in track.blocks(WINDOW * BATCH * 16):
        filled = np.pad(block, (0, -len(block) % WINDOW))
        windows = np.empty((len(filled) // WINDOW, CONTEXT + WINDOW), dtype=np.float32)
        windows[:, CONTEXT:] = filled.reshape(-1, WINDOW)
        windows[0, :CONTEXT] = context
        windows[1:, :CONTEXT] = windows[:-1, -CONTEXT:]
        context = windows[-1, -CONTEXT:]
        yield windows
    if last == track.samples:
        # A channel of whole windows is followed by one of silence, as faster-whisper has it.
        yield np.concatenate([context, np.zeros(WINDOW, dtype=np.float32)])[np.newaxis]


def _stretches(
    probabilities: Probabilities, threshold: float, least_silence: float, samples: int
) -> Iterator[tuple[int, int]]:
    """Where speech starts and ends, in samples."""
    speech = probabilities >= threshold
    silence = probabilities < max(threshold - HYSTERESIS, LEAST_THRESHOLD)
    start: int | None = None
    pause: int | None = None
    # Windows between the two thresholds change nothing.
    for index in np.nonzero(speech | silence)[0]:
        position = int(index) * WINDOW
        if speech[index]:
            pause = None
            start = position if start is None else start
        elif start is not None:
            pause = position if pause is None else pause
            if position - pause >= least_silence:
                yield start, pause
                start = pause = None
    if start is not None:
        yield start, samples


def _padded(stretches: list[tuple[int, int]], pad: int, samples: int) -> list[tuple[int, int]]:
    """Stretches with so much on each side; neighbours share the silence between them where it is shorter than both."""
    padded = [[max(0, start - pad), min(samples, end + pad)] for start, end in stretches]
    for index, ((_, end), (start, _)) in enumerate(pairwise(stretches)):
        if start - end < 2 * pad:
            half = (start - end) // 2
            padded[index][1], padded[index + 1][0] = end + half, start - half
    return [(start, end) for start, end in padded]
