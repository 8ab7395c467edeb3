"""From the bytes of a recording to sound that the models can use.

Decoding is by content, never by file name, through FFmpeg's libraries (PyAV). Channels are kept apart; a file whose
channels say the same thing, or of which all but one are silent, becomes one channel.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tasks.denoise import reduce_noise
from tasks.errors import TooLong, UndecodableAudio, ZeroLengthAudio
from tasks.records import Audio, ChannelLayout, PreparedAudio, Samples, SourceFormat
from tasks.settings import AudioSettings

if TYPE_CHECKING:
    from av.audio.frame import AudioFrame
    from av.container import InputContainer

MODEL_SAMPLING_RATE = 16_000

# A channel counts as silent when almost all of its samples lie this low, and this far under the loudest channel.
SILENT_DBFS = -50.0
SILENT_BELOW_LOUDEST_DB = 30.0
# Two channels say the same when one, scaled, explains all but this share of the other's energy (-20 dB).
SAME_RESIDUAL = 0.01
# ITU-R BS.1770-4 asks for four-fold oversampling to find the true peak; done in blocks to bound memory.
TRUE_PEAK_OVERSAMPLING = 4
TRUE_PEAK_BLOCK = 10 * MODEL_SAMPLING_RATE
# Samples of its neighbours that a block is filtered with, so that the cut is not heard as a click; the filter has 21.
TRUE_PEAK_MARGIN = 32
# Samples at or over this count as clipped: the largest value of 10-bit and finer codecs, and of mu-law.
FULL_SCALE = 0.98


def decode(path: Path, max_duration_s: float) -> tuple[Audio, SourceFormat]:
    """Decode a recording at its own sampling rate, channels apart.

    Frames that do not decode are left out, as players do.

    Args:
        path: any file that FFmpeg's libraries read.
        max_duration_s: decoding stops, with an error, past this length.

    Raises:
        UndecodableAudio: nothing in the file can be decoded as sound.
        ZeroLengthAudio: the file is sound, of no length.
        TooLong: the recording is longer than `max_duration_s`.
    """
    import av

    try:
        with av.open(str(path), mode="r", metadata_errors="ignore") as container:
            if not container.streams.audio:
                message = "the file holds no audio stream"
                raise UndecodableAudio(message)
            source, blocks, damaged = _decode_stream(container, max_duration_s)
    except av.FFmpegError as error:
        message = f"no decoder can read the file ({error.strerror})"
        raise UndecodableAudio(message) from error
    if not blocks:
        if damaged:
            message = f"none of the {source.codec} frames in the {source.container} file can be decoded"
            raise UndecodableAudio(message)
        message = f"the {source.container} file is valid and holds no samples"
        raise ZeroLengthAudio(message)
    return Audio(np.concatenate(blocks, axis=1), source.sampling_rate), source


def prepare(audio: Audio, source: SourceFormat, settings: AudioSettings) -> PreparedAudio:
    """Reduce to the channels that matter, resample to 16 kHz, denoise where asked, bring to the target loudness.

    Args:
        audio: decoded sound, `[channel, sample]` at its own sampling rate.
        source: what the file said of itself.
        settings: targets.
    """
    kept, layout = distinct_channels(audio.samples)
    samples = audio.samples[list(kept)]
    clipped_ratio = float(np.mean(np.abs(samples) >= FULL_SCALE))
    steps = [f"channels({layout}: {','.join(map(str, kept))} of {audio.channels})"]
    if audio.sampling_rate != MODEL_SAMPLING_RATE:
        samples = resample(samples, audio.sampling_rate)
        steps.append(f"resample(soxr_hq: {audio.sampling_rate} to {MODEL_SAMPLING_RATE} Hz)")
    loudness = integrated_loudness(samples)
    if settings.denoise == "always":
        samples = np.stack([reduce_noise(channel, MODEL_SAMPLING_RATE) for channel in samples])
        steps.append("denoise(noisereduce stationary)")
    gains_db = [loudness_gain_db(channel, settings) for channel in samples]
    samples *= np.power(10, np.array(gains_db, dtype=np.float32) / 20)[:, np.newaxis]
    steps.append(f"loudness({settings.loudness_lufs:g} LUFS: {','.join(f'{gain:+.1f}' for gain in gains_db)} dB)")
    return PreparedAudio(
        audio=Audio(samples, MODEL_SAMPLING_RATE),
        source=source,
        layout=layout,
        source_channels=kept,
        duration_s=audio.duration_s,
        loudness_lufs=loudness,
        clipped_ratio=clipped_ratio,
        preprocessing=tuple(steps),
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
    loudness = integrated_loudness(channel[np.newaxis])
    if loudness is None:
        return 0.0
    wanted = min(settings.loudness_lufs - loudness, settings.max_gain_db)
    return min(wanted, settings.true_peak_dbtp - true_peak_dbtp(channel))


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


def _decode_stream(container: InputContainer, max_duration_s: float) -> tuple[SourceFormat, list[Samples], bool]:
    """Decode the first audio stream: its format, blocks `[channel, sample]`, and whether any packet was damaged."""
    import av

    stream = container.streams.audio[0]
    source = SourceFormat(stream.codec_context.name, container.format.name, stream.rate, stream.channels)
    # Interleaved: PyAV reads past the end of a planar frame's eight pointers, and crashes, from eight channels on.
    resampler = av.AudioResampler(format="flt")
    blocks: list[Samples] = []
    samples = 0
    damage = _Damage()
    for frame in _valid_frames(container, damage):
        for converted in resampler.resample(frame):
            block = converted.to_ndarray().astype(np.float32, copy=False).reshape(-1, converted.layout.nb_channels).T
            samples += block.shape[1]
            blocks.append(block)
        if samples > max_duration_s * source.sampling_rate:
            message = f"the recording is longer than the limit of {max_duration_s:g} s (archive.max_duration_s)"
            raise TooLong(message)
    return source, blocks, damage.seen


class _Damage:
    """Whether a packet failed to decode."""

    seen = False


def _valid_frames(container: InputContainer, damage: _Damage) -> Iterator[AudioFrame]:
    """The frames of the first audio stream, without those that do not decode."""
    import av

    packets = container.demux(audio=0)
    while True:
        try:
            packet = next(packets)
            for frame in packet.decode():
                if frame.samples:
                    yield frame
        except StopIteration:
            return
        except av.error.InvalidDataError:
            damage.seen = True


def _level_dbfs(channel: Samples) -> float:
    """The level that all but the loudest thousandth of the samples stay under, in dBFS."""
    if channel.size == 0:
        return -math.inf
    level = float(np.quantile(np.abs(channel), 0.999))
    return 20 * math.log10(level) if level > 0 else -math.inf


def _same(first: Samples, second: Samples) -> bool:
    """Whether one channel is the other but for a (possibly negative) factor."""
    power = float(np.dot(first, first))
    energy = float(np.dot(second, second))
    if power == 0 or energy == 0:
        return power == energy
    shared = float(np.dot(first, second)) ** 2 / power
    return (energy - shared) / energy < SAME_RESIDUAL
