"""Short pieces of recordings that a browser plays, for people who read what went wrong in them.

They are MP3, which every browser plays, at 16 kHz and at most two channels: 20 seconds are about 100 kB.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import numpy as np

from evaluation.cases import Case
from evaluation.passages import Stretch
from tasks.decoder import DecoderPool
from tasks.decoding import DecodeOptions
from tasks.errors import CallError, ObjectVanished
from tasks.leg_audio import require_mono, side_by_side
from tasks.records import Samples
from tasks.settings import Settings
from tasks.storage import Storage
from tasks.tracks import MODEL_SAMPLING_RATE, Recording

BITS_PER_S: Final = 40_000
PEAK: Final = 0.7
MOST_GAIN: Final = 20.0
"""Quiet calls are made louder, by a factor of at most this."""


@dataclass(frozen=True, slots=True)
class Clip:
    """Encoded sound of a call from `start` on, in seconds of the call."""

    start: float
    end: float
    content: bytes
    media_type: str = "audio/mpeg"


def cut_clips(
    wanted: Mapping[str, Stretch], cases: Iterable[Case], storage: Storage, settings: Settings
) -> tuple[dict[str, Clip], dict[str, str]]:
    """Cut stretches out of the recordings of a set.

    Args:
        wanted: call_id → stretch.
        cases: those of the set; what has no recording is passed over.
        storage: the set.
        settings: limits of decoders, and how headerless files are read.

    Returns:
        call_id → clip, and call_id → why there is none.

    Raises:
        StorageUnavailable, StorageRefused: the store does not answer, or does not let one read.
    """
    clips: dict[str, Clip] = {}
    problems: dict[str, str] = {}
    with DecoderPool(settings.decoder.limits()) as decoders:
        for case in cases:
            if case.call_id not in wanted or not case.audio:
                continue
            with TemporaryDirectory(prefix="callscribe-clip-") as folder:
                try:
                    recording = _decoded(case, storage, Path(folder), decoders, settings)
                    clips[case.call_id] = _clip(recording, wanted[case.call_id])
                except (CallError, ObjectVanished) as error:
                    problems[case.call_id] = str(error)
    return clips, problems


def encode(samples: Samples, sampling_rate: int) -> bytes:
    """Sound as MP3 at 16 kHz.

    Args:
        samples: `[sample, channel]`, full scale 1; one or two channels.
        sampling_rate: of the samples, Hz.
    """
    import av
    import soxr

    at_rate = samples if sampling_rate == MODEL_SAMPLING_RATE else soxr.resample(samples, sampling_rate, 16_000)
    loudest = float(np.abs(at_rate).max(initial=0.0))
    gain = min(PEAK / loudest, MOST_GAIN) if loudest else 1.0
    layout = "stereo" if samples.shape[1] == 2 else "mono"
    planes = np.ascontiguousarray((at_rate * gain).T, dtype=np.float32)
    sink = io.BytesIO()
    with av.open(sink, "w", format="mp3") as output:
        stream = output.add_stream("libmp3lame", rate=MODEL_SAMPLING_RATE, layout=layout)
        stream.bit_rate = BITS_PER_S
        frame = av.AudioFrame.from_ndarray(planes, format="fltp", layout=layout)
        frame.sample_rate = MODEL_SAMPLING_RATE
        for packet in (*stream.encode(frame), *stream.encode(None)):
            output.mux(packet)
    return sink.getvalue()


def _decoded(case: Case, storage: Storage, folder: Path, decoders: DecoderPool, settings: Settings) -> Recording:
    """The recording of a case, however many files it is in."""
    legs = []
    for channel, key in enumerate(case.audio):
        path = folder / f"recording-{channel}"
        storage.download(key, path)
        raw = settings.archive.raw_format(key)
        options = DecodeOptions(settings.archive.max_duration_s, settings.decoder.max_output_bytes, raw)
        legs.append(decoders.decode(path, options))
        path.unlink()
    if len(legs) == 1:
        return legs[0]
    for leg in legs:
        require_mono(leg.source)
    return side_by_side(legs, folder / "recording", settings.decoder.max_output_bytes)


def _clip(recording: Recording, stretch: Stretch) -> Clip:
    """The part of a recording; channels beyond two are heard as one."""
    rate, channels = recording.source.sampling_rate, recording.source.channels
    first = min(round(stretch.start * rate), recording.samples)
    last = min(round(stretch.end * rate), recording.samples)
    if first == last:
        raise _nothing_there(stretch, recording)
    size = channels * np.dtype(np.float32).itemsize
    found = np.fromfile(recording.path, dtype=np.float32, count=(last - first) * channels, offset=first * size)
    samples = found.reshape(-1, channels)
    heard = samples if channels <= 2 else samples.mean(axis=1, keepdims=True)
    return Clip(first / rate, last / rate, encode(heard, rate))


def _nothing_there(stretch: Stretch, recording: Recording) -> CallError:
    return CallError(f"the recording ends after {recording.duration_s:.1f} s, before {stretch.start:.1f} s")
