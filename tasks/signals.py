"""Pure: what a recording sounds like, in numbers: levels, noise, band and silence of each channel.

Measured on the recording as it is: 16 kHz channels before any gain and any noise reduction. Levels are mean squares in
dB relative to a full scale of 1, and not under `SILENCE_DBFS`: the digital silence of a codec gives numbers, never
infinities. The detector's regions are padded by half a second and bridge a second, so that they hold pauses too: speech
is told from pauses by the power of frames of 20 ms, inside the regions as well.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from tasks.audio import PreparedAudio
from tasks.crosstalk import Crosstalk
from tasks.records import CallSignals, ChannelLevels, ChannelSignals, Region
from tasks.regions import merge
from tasks.spectrum import bandwidth_hz
from tasks.tracks import MODEL_SAMPLING_RATE, Track
from tasks.vad import total_s

Powers = NDArray[np.float64]
Mask = NDArray[np.bool_]

FRAME_S = 0.02
FRAME = round(FRAME_S * MODEL_SAMPLING_RATE)
BLOCK_FRAMES = 3000  # a minute
# Levels lie between these: the lower one is digital silence, the upper one is reached by broken float samples alone.
SILENCE_DBFS = -120.0
HIGHEST_DBFS = 60.0
SNR_RANGE_DB = (0.0, 60.0)
NOISE_FLOOR_PERCENTILE = 10.0
# Frames under -95 dBFS are what a codec or a gate puts in place of sound, and say nothing of the noise under speech.
DIGITAL_SILENCE = 10**-9.5
# The noise is known from frames outside of speech where there is half a second of them; clicks and speech that the
# detector missed stand out from their median by 10 dB and are left out.
MIN_NOISE_FRAMES = round(0.5 / FRAME_S)
NOISE_OUTLIER = 10.0
# Inside of speech regions it is the quietest tenth, smoothed over 0.1 s (minimum statistics), of which what lies in
# digital silence is no more to be found, and at least a fiftieth.
PAUSE_SHARE = 0.1
PAUSE_LEAST_SHARE = 0.02
PAUSE_FRAMES = 5
# A region whose loud frames are less than 3 dB over its quiet ones holds no pause at all.
PAUSE_CONTRAST = 2.0
LOUD_PERCENTILE = 95.0
# Sound outside of speech that is 6 dB louder than the pauses inside is music on hold, not the background of speech.
FOREGROUND = 10**0.6
# ITU-T P.56: speech is active where its envelope, held for 200 ms, is at most 15.9 dB under the active level.
ACTIVE_MARGIN = 10**1.59
HANGOVER_FRAMES = round(0.2 / FRAME_S)
ENVELOPE_FRAMES = 3
# In noise, what stands out of it by less than 3 dB cannot be told from it.
AUDIBLE_OVER_NOISE = 2.0


def measure(
    prepared: PreparedAudio,
    regions: Sequence[tuple[Region, ...]],
    crosstalk: Sequence[Crosstalk | None] | None = None,
) -> CallSignals:
    """Measure every kept channel of a recording, as it was recorded.

    Args:
        prepared: a recording.
        regions: for each kept channel, where somebody speaks.
        crosstalk: for each, what it holds of another one.
    """
    channels = []
    for index, track in enumerate(prepared.tracks):
        other = crosstalk[index] if crosstalk else None
        found = measure_channel(
            track.recorded,
            regions[index],
            prepared.levels[index],
            prepared.source.sampling_rate,
            prepared.source_channels[index],
            other.regions if other else (),
        )
        if other:
            found = replace(
                found,
                crosstalk_s=round(other.seconds, 3),
                crosstalk_db=other.level_db,
                crosstalk_delay_ms=other.delay_ms,
                crosstalk_source=prepared.source_channels[other.source],
            )
        channels.append(found)
    spoken = total_s(tuple(merge(chain.from_iterable(regions))))
    return CallSignals(tuple(channels), _silence_ratio(spoken, prepared.duration_s), prepared.channel_correlation)


def measure_channel(
    track: Track,
    regions: tuple[Region, ...],
    levels: ChannelLevels,
    source_rate_hz: int,
    index: int = 0,
    aside: tuple[Region, ...] = (),
) -> ChannelSignals:
    """Measure one channel.

    Args:
        track: the channel, before any gain; any finite values.
        regions: where somebody speaks: ordered, disjoint.
        levels: what was measured on the way to 16 kHz.
        source_rate_hz: sampling rate of the recording; bounds the bandwidth.
        index: number of the channel in the file, from 0.
        aside: what is neither this channel's speech nor its noise.
    """
    powers, offset = frame_powers(track)
    heard = np.nonzero(~speech_mask(aside, len(powers)))[0]
    powers, inside = powers[heard], speech_mask(regions, len(powers))[heard]
    noise = noise_power(powers, inside)
    speech = active_speech(powers, inside, noise or 0.0)
    snr_db = None
    if noise is not None and inside.any():
        snr_db = float(np.clip(_decibels(speech.power) - _decibels(noise), *SNR_RANGE_DB)) if speech.power > 0 else 0.0
    bandwidth = None
    if speech.power > 0:
        spoken = heard[inside & (powers >= speech.threshold)] * FRAME
        quiet = heard[(powers > DIGITAL_SILENCE) & (powers <= AUDIBLE_OVER_NOISE * (noise or 0.0))] * FRAME
        bandwidth = min(bandwidth_hz(track, spoken, quiet), source_rate_hz / 2)
    return ChannelSignals(
        channel=index,
        loudness_lufs=levels.loudness_lufs,
        true_peak_dbtp=float(np.clip(levels.true_peak_dbtp, SILENCE_DBFS, HIGHEST_DBFS)),
        clipped_ratio=levels.clipped_ratio,
        dc_offset=levels.dc_offset + offset,
        noise_floor_db=noise_floor_dbfs(powers, inside),
        snr_db=snr_db,
        bandwidth_hz=bandwidth,
        silence_ratio=_silence_ratio(total_s(regions), track.duration_s),
    )


def frame_powers(track: Track) -> tuple[Powers, float]:
    """The mean square of every whole 20 ms of a channel, less its DC offset, and that offset.

    A frame that does not vary is digital silence, whatever its offset. A channel shorter than a frame has none.
    """
    sums, squares, total = [], [], 0.0
    for block in track.blocks(BLOCK_FRAMES * FRAME):
        wide = block.astype(np.float64)
        total += float(wide.sum())
        frames = wide[: len(wide) // FRAME * FRAME].reshape(-1, FRAME)
        sums.append(frames.sum(axis=1))
        squares.append(np.einsum("ij,ij->i", frames, frames))
    if not track.samples:
        return np.zeros(0), 0.0
    offset = total / track.samples
    means, powers = np.concatenate(sums) / FRAME, np.concatenate(squares) / FRAME
    varying = np.maximum(powers - np.square(means), 0.0)
    # (x - o)² on average, of which one part varies and the other is the frame's own distance from the offset.
    return np.where(varying > DIGITAL_SILENCE, varying + np.square(means - offset), varying), offset


def speech_mask(regions: Sequence[Region], frames: int) -> Mask:
    """Which of the frames a speech region touches."""
    mask = np.zeros(frames, dtype=np.bool_)
    for region in regions:
        mask[math.floor(region.start / FRAME_S + 1e-6) : math.ceil(region.end / FRAME_S - 1e-6)] = True
    return mask


def noise_floor_dbfs(powers: Powers, inside: Mask) -> float | None:
    """The tenth percentile of the frames outside of speech, or of all where there are too few; None without frames."""
    if not powers.size:
        return None
    outside = powers[~inside]
    held = outside if len(outside) >= MIN_NOISE_FRAMES else powers
    return float(np.clip(_decibels(float(np.percentile(held, NOISE_FLOOR_PERCENTILE))), SILENCE_DBFS, HIGHEST_DBFS))


def noise_power(powers: Powers, inside: Mask) -> float | None:
    """The mean power of the noise that speech stands in.

    From the frames outside of speech; from the pauses inside where there are too few, or where what is outside is so
    much louder that it is no background (music on hold). The power of digital silence where that is all there is
    beside speech, and None where there is nothing beside speech.
    """
    audible = powers > DIGITAL_SILENCE
    outside = powers[audible & ~inside]
    background = None
    if len(outside) >= MIN_NOISE_FRAMES:
        background = float(np.mean(outside[outside <= NOISE_OUTLIER * np.median(outside)]))
    pause = _pause_power(powers, inside, audible)
    if pause is not None and (background is None or background > FOREGROUND * pause):
        return pause
    if background is None and np.count_nonzero(~audible) >= MIN_NOISE_FRAMES:
        return 10 ** (SILENCE_DBFS / 10)
    return background


@dataclass(frozen=True, slots=True)
class ActiveSpeech:
    """Mean power of speech while it is active, less the noise, and the frame power from which it counts as active."""

    power: float
    threshold: float


def active_speech(powers: Powers, inside: Mask, noise: float) -> ActiveSpeech:
    """The active speech level of ITU-T P.56, in noise.

    The energy of all frames in speech regions, less that of the noise, over the time in which the envelope is active:
    at most 15.9 dB under the level that comes of it, and not lost in the noise.
    """
    from scipy.ndimage import maximum_filter1d, uniform_filter1d

    energy = float(np.sum(powers[inside] - noise))
    if energy <= 0:
        return ActiveSpeech(0.0, 0.0)
    envelope = uniform_filter1d(powers, ENVELOPE_FRAMES, mode="nearest")
    held = maximum_filter1d(envelope, HANGOVER_FRAMES, mode="nearest", origin=(HANGOVER_FRAMES - 1) // 2)
    strongest_first = np.sort(held[inside])[::-1] - noise
    level = energy / np.arange(1, len(strongest_first) + 1)
    threshold = np.maximum(level / ACTIVE_MARGIN, (AUDIBLE_OVER_NOISE - 1) * noise)
    last = int(np.max(np.nonzero(strongest_first >= threshold)[0], initial=0))
    return ActiveSpeech(float(level[last]), float(threshold[last]) + noise)


def _pause_power(powers: Powers, inside: Mask, audible: Mask) -> float | None:
    """The mean power of the pauses in speech regions; None where there are none."""
    from scipy.ndimage import uniform_filter1d

    if np.count_nonzero(inside & audible) < MIN_NOISE_FRAMES:
        return None
    # The mean of the audible ones of neighbouring frames: what stands beside digital silence is no quieter for it.
    sound = uniform_filter1d(np.where(audible, powers, 0.0), PAUSE_FRAMES, mode="nearest")[inside & audible]
    found = sound / uniform_filter1d(audible.astype(np.float64), PAUSE_FRAMES, mode="nearest")[inside & audible]
    frames = np.count_nonzero(inside)
    wanted = max(PAUSE_SHARE * frames - (frames - len(found)), PAUSE_LEAST_SHARE * frames)
    quiet = np.sort(found)[: max(1, round(wanted))]
    pause = float(np.mean(quiet))
    return pause if np.percentile(found, LOUD_PERCENTILE) >= PAUSE_CONTRAST * pause else None


def _decibels(power: float) -> float:
    return 10 * math.log10(max(power, 10 ** (SILENCE_DBFS / 10)))


def _silence_ratio(spoken_s: float, duration_s: float) -> float:
    return min(max(1 - spoken_s / duration_s, 0.0), 1.0) if duration_s > 0 else 1.0
