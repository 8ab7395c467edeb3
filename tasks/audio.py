"""From the samples of a recording to sound that the models can use.

Channels are kept apart; a file whose channels say the same thing, or of which all but one are silent, becomes one
channel.
"""

from __future__ import annotations

import math

import numpy as np

from tasks.denoise import reduce_noise
from tasks.records import Audio, ChannelLayout, ChannelLevels, PreparedAudio, Samples, SourceFormat
from tasks.setting_groups import AudioSettings

MODEL_SAMPLING_RATE = 16_000

# A channel counts as silent when its loudest frame lies this low, and this far under that of the loudest channel.
SILENT_DBFS = -50.0
SILENT_BELOW_LOUDEST_DB = 30.0
LEVEL_FRAME = 800  # a tenth of a second at 8 kHz, less at higher rates
# Two channels say the same when one, scaled, explains all but this share of the other's energy (-20 dB).
SAME_RESIDUAL = 0.01
# ITU-R BS.1770-4 asks for four-fold oversampling to find the true peak; done in blocks to bound memory.
TRUE_PEAK_OVERSAMPLING = 4
TRUE_PEAK_BLOCK = 10 * MODEL_SAMPLING_RATE
# Samples of its neighbours that a block is filtered with, so that the cut is not heard as a click; the filter has 21.
TRUE_PEAK_MARGIN = 32
# Samples at or over this count as clipped: the largest value of 10-bit and finer codecs, and of mu-law.
FULL_SCALE = 0.98
# A channel that varies less than this, as a mean square relative to its peak, is constant but for rounding.
CONSTANT = 1e-12


def prepare(audio: Audio, source: SourceFormat, settings: AudioSettings) -> PreparedAudio:
    """Reduce to the channels that matter, resample to 16 kHz, denoise where asked, bring to the target loudness.

    Args:
        audio: decoded sound, `[channel, sample]` at its own sampling rate.
        source: what the file said of itself.
        settings: targets.
    """
    kept, layout = distinct_channels(audio.samples)
    samples = audio.samples[list(kept)]
    clipped = np.mean(np.abs(samples) >= FULL_SCALE, axis=1)
    steps = [f"channels({layout}: {','.join(map(str, kept))} of {audio.channels})"]
    if audio.sampling_rate != MODEL_SAMPLING_RATE:
        samples = resample(samples, audio.sampling_rate)
        steps.append(f"resample(soxr_hq: {audio.sampling_rate} to {MODEL_SAMPLING_RATE} Hz)")
    recorded = samples
    levels = tuple(
        ChannelLevels(integrated_loudness(channel[np.newaxis]), true_peak_dbtp(channel), float(ratio))
        for channel, ratio in zip(samples, clipped, strict=True)
    )
    if settings.denoise == "always":
        samples = np.stack([reduce_noise(channel, MODEL_SAMPLING_RATE) for channel in samples])
        steps.append("denoise(noisereduce stationary)")
        gains_db = [loudness_gain_db(channel, settings) for channel in samples]
    else:
        gains_db = [_gain_db(one.loudness_lufs, one.true_peak_dbtp, settings) for one in levels]
    samples = samples * np.power(10, np.array(gains_db, dtype=np.float32) / 20)[:, np.newaxis]
    steps.append(f"loudness({settings.loudness_lufs:g} LUFS: {','.join(f'{gain:+.1f}' for gain in gains_db)} dB)")
    return PreparedAudio(
        audio=Audio(samples, MODEL_SAMPLING_RATE),
        source=source,
        layout=layout,
        source_channels=kept,
        duration_s=audio.duration_s,
        loudness_lufs=levels[0].loudness_lufs if len(levels) == 1 else integrated_loudness(recorded),
        clipped_ratio=float(np.mean(clipped)),
        preprocessing=tuple(steps),
        recorded=recorded,
        levels=levels,
        channel_correlation=correlation(audio.samples[0], audio.samples[1]) if audio.channels == 2 else None,
    )


def distinct_channels(samples: Samples) -> tuple[tuple[int, ...], ChannelLayout]:
    """Which channels carry something of their own.

    Of channels that say the same (also in antiphase, where summing would cancel them), the first stays; silent ones
    go, unless all are silent.

    Args:
        samples: `[channel, sample]`.

    Returns:
        the channels to keep, in order, and what kind of recording this is.
    """
    channels = samples.shape[0]
    if channels == 1:
        return (0,), "mono"
    levels = [_level_dbfs(channel) for channel in samples]
    loudest = max(levels)
    audible = [
        index for index, level in enumerate(levels) if level > SILENT_DBFS or level >= loudest - SILENT_BELOW_LOUDEST_DB
    ]
    kept: list[int] = []
    for index in audible:
        if not any(_same(samples[other], samples[index]) for other in kept):
            kept.append(index)
    if len(kept) > 1:
        return tuple(kept), "separate"
    return tuple(kept), "dual_mono" if len(audible) > 1 else "one_sided"


def resample(samples: Samples, sampling_rate: int) -> Samples:
    """Resample `[channel, sample]` to 16 kHz (soxr, high quality, through librosa)."""
    import librosa

    resampled: Samples = librosa.resample(
        samples, orig_sr=sampling_rate, target_sr=MODEL_SAMPLING_RATE, res_type="soxr_hq"
    ).astype(np.float32, copy=False)
    return resampled


def integrated_loudness(samples: Samples) -> float | None:
    """Integrated loudness (EBU R 128 / ITU-R BS.1770-4) of `[channel, sample]` at 16 kHz, in LUFS.

    None when the sound is shorter than one gating block (0.4 s) or never passes the absolute gate of -70 LUFS.
    """
    import pyloudnorm

    meter = pyloudnorm.Meter(MODEL_SAMPLING_RATE)
    if samples.shape[1] < meter.block_size * MODEL_SAMPLING_RATE:
        return None
    # pyloudnorm takes at most five channels; of more, the first two stand for the recording.
    loudness = float(meter.integrated_loudness(samples[: 5 if samples.shape[0] <= 5 else 2].T.astype(np.float64)))
    return loudness if math.isfinite(loudness) else None


def loudness_gain_db(channel: Samples, settings: AudioSettings) -> float:
    """The gain that brings one channel at 16 kHz to the target loudness and keeps its true peak under the ceiling."""
    return _gain_db(integrated_loudness(channel[np.newaxis]), true_peak_dbtp(channel), settings)


def true_peak_dbtp(channel: Samples) -> float:
    """The highest level between the samples of one channel (ITU-R BS.1770-4, annex 2), in dBTP; -inf for silence."""
    from scipy.signal import resample_poly

    peak = 0.0
    for start in range(0, len(channel), TRUE_PEAK_BLOCK):
        lead = min(start, TRUE_PEAK_MARGIN)
        end = min(start + TRUE_PEAK_BLOCK, len(channel))
        block = resample_poly(channel[start - lead : end + TRUE_PEAK_MARGIN], TRUE_PEAK_OVERSAMPLING, 1)
        inner = block[lead * TRUE_PEAK_OVERSAMPLING : (lead + end - start) * TRUE_PEAK_OVERSAMPLING]
        peak = max(peak, float(np.max(np.abs(inner))))
    return 20 * math.log10(peak) if peak > 0 else -math.inf


def correlation(first: Samples, second: Samples) -> float | None:
    """Pearson's correlation of two channels of one length, without delay; None when one of them is constant."""
    scaled = []
    for channel in (first, second):
        # Scaled first, so that the squares of absurdly large or small samples stay what they are.
        peak = float(np.max(np.abs(channel), initial=0.0))
        if peak == 0:
            return None
        unit = channel / np.float32(peak)
        scaled.append(unit - np.mean(unit, dtype=np.float64).astype(np.float32))
    powers = [float(np.dot(channel, channel)) for channel in scaled]
    if min(powers) <= CONSTANT * len(first):
        return None
    return min(max(float(np.dot(*scaled)) / math.sqrt(powers[0] * powers[1]), -1.0), 1.0)


def _gain_db(loudness_lufs: float | None, peak_dbtp: float, settings: AudioSettings) -> float:
    """The gain towards the target loudness: at most the allowed one, and none that lifts the peak over the ceiling."""
    if loudness_lufs is None:
        return 0.0
    return min(settings.loudness_lufs - loudness_lufs, settings.max_gain_db, settings.true_peak_dbtp - peak_dbtp)


def _level_dbfs(channel: Samples) -> float:
    """The level of the loudest tenth of a second, in dBFS: who says one word in an hour is not silent."""
    frame = LEVEL_FRAME
    if channel.size == 0:
        return -math.inf
    whole = channel[: len(channel) // frame * frame].reshape(-1, frame) if len(channel) >= frame else channel[None]
    power = float(np.max(np.mean(np.square(whole, dtype=np.float64), axis=1)))
    return 10 * math.log10(power) if power > 0 else -math.inf


def _same(first: Samples, second: Samples) -> bool:
    """Whether one channel is the other but for a (possibly negative) factor."""
    power = float(np.dot(first, first))
    energy = float(np.dot(second, second))
    if power == 0 or energy == 0:
        return power == energy
    shared = float(np.dot(first, second)) ** 2 / power
    return (energy - shared) / energy < SAME_RESIDUAL
