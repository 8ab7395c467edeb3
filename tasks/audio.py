"""From the samples of a recording to sound that the models can use.

Channels are kept apart; a file whose channels say the same thing, or of which all but one are silent, becomes one
channel. What is made lies on scratch disk, so that memory does not grow with the call.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tasks.channels import survey
from tasks.loudness import LoudnessMeter, integrated_loudness, true_peak_dbtp
from tasks.records import ChannelLayout, ChannelLevels, Samples, SourceFormat
from tasks.setting_groups import AudioSettings
from tasks.tracks import MODEL_SAMPLING_RATE, Recording, Track

# An offset of less than this stays unmentioned: it is that of rounding, or of the speech itself.
NOTED_OFFSET = 0.0005


@dataclass(frozen=True, slots=True)
class PreparedAudio:
    """A call ready for the models: one track, or one per speaker, at the target loudness.

    `source_channels[i]` is the channel of the file that track `i` came from, and `levels[i]` what was measured in it
    before any gain. `loudness_lufs` is the loudness of the whole recording before any gain (None when it holds nothing
    loud enough to measure), `clipped_ratio` the mean of the channels', `channel_correlation` that of a file's two
    channels. `preprocessing` lists what was done to the sound, in order, with parameters.
    """

    tracks: tuple[Track, ...]
    source: SourceFormat
    layout: ChannelLayout
    source_channels: tuple[int, ...]
    duration_s: float
    loudness_lufs: float | None
    clipped_ratio: float
    preprocessing: tuple[str, ...]
    levels: tuple[ChannelLevels, ...]
    channel_correlation: float | None


def prepare(recording: Recording, settings: AudioSettings, folder: Path) -> PreparedAudio:
    """Reduce to the channels that matter, take their DC offset away, resample to 16 kHz, bring to the target loudness.

    An offset costs headroom, and the speech detector hears nothing over one that is as large as the speech.

    Args:
        recording: decoded sound; read twice, and not needed after this.
        settings: targets.
        folder: where the tracks are put.
    """
    source = recording.source
    found = survey(recording)
    kept, layout = found.distinct()
    steps = [f"channels({layout}: {','.join(map(str, kept))} of {source.channels})"]
    offsets = [float(found.means[channel]) for channel in kept]
    if any(abs(offset) >= NOTED_OFFSET for offset in offsets):
        steps.append(f"dc_offset({','.join(f'{-offset:+.4f}' for offset in offsets)})")
    if source.sampling_rate != MODEL_SAMPLING_RATE:
        steps.append(f"resample(soxr_hq: {source.sampling_rate} to {MODEL_SAMPLING_RATE} Hz)")
    tracks, meters = _resampled(recording, kept, offsets, folder)
    powers = [meter.block_powers() for meter in meters]
    levels = tuple(
        ChannelLevels(integrated_loudness([power]), true_peak_dbtp(track), found.clipped_ratio[channel], offset)
        for power, track, channel, offset in zip(powers, tracks, kept, offsets, strict=True)
    )
    gains_db = [gain_db(one.loudness_lufs, one.true_peak_dbtp, settings) for one in levels]
    steps.append(f"loudness({settings.loudness_lufs:g} LUFS: {','.join(f'{gain:+.1f}' for gain in gains_db)} dB)")
    return PreparedAudio(
        tracks=tuple(amplified(track, gain) for track, gain in zip(tracks, gains_db, strict=True)),
        source=source,
        layout=layout,
        source_channels=kept,
        duration_s=recording.duration_s,
        loudness_lufs=integrated_loudness(powers),
        clipped_ratio=math.fsum(one.clipped_ratio for one in levels) / len(levels),
        preprocessing=tuple(steps),
        levels=levels,
        channel_correlation=found.correlation(),
    )


def gain_db(loudness_lufs: float | None, peak_dbtp: float, settings: AudioSettings) -> float:
    """The gain towards the target loudness: at most the allowed one, and none that lifts the peak over the ceiling."""
    if loudness_lufs is None:
        return 0.0
    return min(settings.loudness_lufs - loudness_lufs, settings.max_gain_db, settings.true_peak_dbtp - peak_dbtp)


def amplified(track: Track, gain: float) -> Track:
    """A track with a gain in dB."""
    return Track(track.path, track.samples, 10 ** (gain / 20))


def _resampled(
    recording: Recording, kept: Sequence[int], offsets: Sequence[float], folder: Path
) -> tuple[tuple[Track, ...], tuple[LoudnessMeter, ...]]:
    """Channels of a recording as tracks, less their offsets, without gain, with what their loudness is made of."""
    paths = [folder / f"channel-{channel}.f32" for channel in kept]
    meters = tuple(LoudnessMeter() for _ in kept)
    samples = 0
    with ExitStack() as files:
        opened = [files.enter_context(path.open("wb")) for path in paths]
        for block in at_model_rate(recording, kept, offsets):
            for file, meter, channel in zip(opened, meters, block.T, strict=True):
                own = np.ascontiguousarray(channel)
                file.write(own.data)
                meter.add(own)
            samples += len(block)
    return tuple(Track(path, samples) for path in paths), meters


def at_model_rate(recording: Recording, kept: Sequence[int], offsets: Sequence[float]) -> Iterator[Samples]:
    """Blocks `[sample, channel]` of the kept channels at 16 kHz (soxr, high quality), less an offset of each."""
    import soxr

    rate = recording.source.sampling_rate
    centre = np.asarray(offsets, dtype=np.float32)
    every = list(kept) == list(range(recording.source.channels))
    blocks = ((block if every else block[:, kept]) - centre for block in recording.blocks())
    if rate == MODEL_SAMPLING_RATE:
        yield from blocks
        return
    resampler = soxr.ResampleStream(rate, MODEL_SAMPLING_RATE, len(kept), dtype="float32", quality="HQ")
    for block in blocks:
        yield resampler.resample_chunk(block)
    yield resampler.resample_chunk(np.zeros((0, len(kept)), dtype=np.float32), last=True)
