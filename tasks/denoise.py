"""Optional noise reduction, and the evidence for it.

Off by default: recognisers that were trained on noisy speech seldom gain from it (evaluation/benchmarks/denoise.md).
Only the recogniser hears the reduced sound; speech detection, measurements and diarization work on the recorded one,
which stays as it is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from tasks.audio import amplified, gain_db
from tasks.loudness import LoudnessMeter, integrated_loudness, true_peak_dbtp
from tasks.quality import uncovered_speech_s
from tasks.records import DenoiseTrial, ProbeScore, Region, Samples, Segment
from tasks.setting_groups import AudioSettings
from tasks.tracks import MODEL_SAMPLING_RATE, Track
from tasks.vad import first_s, total_s

STEP = "noisereduce stationary"
WINDOW = 1024  # of noisereduce's transform, in samples; it refuses less than one
# Sound is reduced so much at a time, with so much of its neighbours heard, and the noise is known where there is at
# least so much of it outside of speech; all in samples.
PIECE = 300 * MODEL_SAMPLING_RATE
MARGIN = MODEL_SAMPLING_RATE
LEAST_NOISE = MODEL_SAMPLING_RATE // 2
# The reduced sound wins where the mean log-probability of the words rises by this, to no less than that, and no more
# speech than this share loses its words. Whisper is surer of its inventions in strange noise than of hard speech: both
# bounds were chosen on the mixtures of evaluation/benchmarks/denoise.md, where without the second `auto` lost.
LOGPROB_MARGIN = 0.1
LEAST_LOGPROB = -0.7
COVERAGE_SLACK = 0.02


class Transcriber(Protocol):
    """What of a recogniser is needed here."""

    def transcribe(
        self, track: Track, regions: tuple[Region, ...], channel: int, language: str | None
    ) -> list[Segment]:
        """Transcribe the speech regions of one channel."""


def reduce_noise(track: Track, regions: Sequence[Region], path: Path, settings: AudioSettings) -> Track:
    """Stationary spectral gating (noisereduce; Sainburg and Zorea, 2024) of one channel, into a new track.

    The noise is what lies outside of the voices, or, where that is too little, all of the sound.

    Args:
        track: the channel.
        regions: where somebody is heard, also somebody of another channel.
        path: where the new track is put.
        settings: its target loudness.
    """
    meter = LoudnessMeter()
    with path.open("wb") as file:
        for start in range(0, track.samples, PIECE):
            reduced = _reduced_piece(track.recorded, regions, start)
            file.write(reduced.data)
            meter.add(reduced)
    reduced_track = Track(path, track.samples)
    loudness = integrated_loudness([meter.block_powers()])
    return amplified(reduced_track, gain_db(loudness, true_peak_dbtp(reduced_track), settings))


def is_candidate(snr_db: float | None, settings: AudioSettings) -> bool:
    """Whether a channel of this SNR is reduced, or tried."""
    if settings.denoise == "auto":
        return snr_db is not None and snr_db < settings.denoise_below_snr_db
    return settings.denoise == "always"


@dataclass(frozen=True, slots=True)
class HeardChannel:
    """One channel as the recogniser gets it.

    `denoised` is None where noise reduction is no question. `channel` is its index in the call, `source_channel` the
    one in the file.
    """

    recorded: Track
    denoised: Track | None
    regions: tuple[Region, ...]
    channel: int
    source_channel: int
    snr_db: float | None


def choose(
    recognizer: Transcriber, heard: HeardChannel, language: str | None, settings: AudioSettings
) -> tuple[Track, DenoiseTrial | None]:
    """Which sound of a channel is recognised: as recorded, with noise reduced, or what the recogniser itself prefers.

    With `auto`, the first `denoise_probe_s` seconds of its speech (0: all of it) are recognised both ways.

    Returns:
        the track, and the trial, where there was one.
    """
    if heard.denoised is None or not heard.regions:
        return heard.recorded, None
    if settings.denoise == "always":
        return heard.denoised, None
    probe = first_s(heard.regions, settings.denoise_probe_s or math.inf)
    tracks = (heard.recorded, heard.denoised)
    tried = [recognizer.transcribe(track, probe, heard.channel, language) for track in tracks]
    recorded, denoised = (score(segments, probe) for segments in tried)
    applied = is_better(denoised, recorded)
    probe_s = round(total_s(probe), 3)
    return tracks[applied], DenoiseTrial(heard.source_channel, heard.snr_db, probe_s, recorded, denoised, applied)


def score(segments: Sequence[Segment], regions: Sequence[Region]) -> ProbeScore:
    """How a recogniser took the speech regions of a channel."""
    words = [word for segment in segments for word in segment.words]
    weight = sum(len(segment.words) for segment in segments)
    likelihood = sum(segment.avg_logprob * len(segment.words) for segment in segments)
    speech_s = total_s(tuple(regions))
    return ProbeScore(
        avg_logprob=likelihood / weight if weight else None,
        coverage=1 - uncovered_speech_s(regions, words) / speech_s if speech_s else 1.0,
    )


def is_better(denoised: ProbeScore, recorded: ProbeScore) -> bool:
    """Whether the recogniser is surer of the reduced sound, sure enough, and hears no less in it."""
    if denoised.avg_logprob is None or denoised.avg_logprob < LEAST_LOGPROB:
        return False
    if recorded.avg_logprob is None:
        return True
    surer = denoised.avg_logprob - recorded.avg_logprob >= LOGPROB_MARGIN
    return bool(surer and denoised.coverage >= recorded.coverage - COVERAGE_SLACK)


def _reduced_piece(track: Track, regions: Sequence[Region], start: int) -> Samples:
    """The piece of a track that begins at a sample, reduced."""
    import noisereduce

    lead = min(start, MARGIN)
    sound = track.read(start - lead, start + PIECE + MARGIN)
    inner = min(PIECE, track.samples - start)
    speech = np.zeros(len(sound), dtype=np.bool_)
    for region in regions:
        first, last = (round(time * MODEL_SAMPLING_RATE) - start + lead for time in (region.start, region.end))
        speech[max(first, 0) : max(last, 0)] = True
    noise = sound[~speech]
    reduced = noisereduce.reduce_noise(
        y=np.pad(sound, (0, max(0, WINDOW - len(sound)))),
        sr=MODEL_SAMPLING_RATE,
        stationary=True,
        y_noise=noise if len(noise) >= LEAST_NOISE else None,
        n_fft=WINDOW,
    )
    return np.ascontiguousarray(reduced[lead : lead + inner], dtype=np.float32)
