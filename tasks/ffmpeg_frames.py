"""One audio stream of a file: from packets to frames, from frames to blocks of samples."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from tasks.errors import UndecodableAudio
from tasks.records import Samples, SourceFormat

if TYPE_CHECKING:
    from av.audio.frame import AudioFrame
    from av.audio.layout import AudioLayout
    from av.container import InputContainer

PLAUSIBLE_RATES_HZ = range(1000, 768_001)
BLOCK_SAMPLES = 65_536
# Frames shorter than this are gathered; of more channels than this they are left alone, see `_Converter`.
GATHERED_SAMPLES = 8192
GATHERED_CHANNELS = 2
# A shorter gap between time stamps is their raggedness.
MIN_GAP_S = 0.1
# So many errors of the demuxer in a row mean that it finds nothing more.
MAX_REFUSALS = 100


@dataclass(slots=True)
class Reader:
    """An open recording: its format (from the first block on as it is, before as the header says) and its blocks."""

    source: SourceFormat
    blocks: Iterator[Samples] = field(default_factory=lambda: iter(()))
    damaged: bool = False
    length_s: float | None = None
    """What FFmpeg takes for the length: from the header, the last page or the bit rate."""


def plausible(source: SourceFormat) -> SourceFormat:
    """Refuse a sampling rate that no recorder writes: resampling it would cost without bound."""
    if source.sampling_rate not in PLAUSIBLE_RATES_HZ:
        message = f"the {source.container} file says that it has a sampling rate of {source.sampling_rate} Hz"
        raise UndecodableAudio(message)
    return source


def interleaved(frames: Iterator[AudioFrame], reader: Reader, rate: int | None = None) -> Iterator[Samples]:
    """Frames as float32 `[sample, channel]`, in the rate and layout of the first, whatever later ones change to.

    Silence stands in place of frames that did not decode, so that what follows them keeps its time.

    Args:
        frames: of one stream.
        reader: gets the format of the first frame.
        rate: another sampling rate to come out, in Hz.
    """
    seen: tuple[str, str, int] | None = None
    begin: float | None = None
    written = 0
    converter: _Converter | None = None
    for frame in frames:
        looks = (frame.format.name, frame.layout.name, frame.sample_rate)
        if converter is None:
            layout, rate = frame.layout, rate or frame.sample_rate
            reader.source = plausible(replace(reader.source, sampling_rate=rate, channels=layout.nb_channels))
        if converter is None or looks != seen:
            for block in converter.rest() if converter else ():
                written += len(block)
                yield block
            converter, seen = _Converter(layout, reader.source.sampling_rate), looks
        begin = frame.time if begin is None else begin
        there = written + converter.gathered
        if frame.time is not None and begin is not None and (missing := _missing(frame.time - begin, there, reader)):
            for block in converter.flushed():
                written += len(block)
                yield block
            written += missing
            yield from silence(missing, reader.source.channels)
        for block in converter.take(frame):
            written += len(block)
            yield block
    if converter is not None:
        yield from converter.rest()


class _Converter:
    """Frames of one look into interleaved float32 of a rate; small ones are gathered, as each costs turns of Python.

    Args:
        layout: the channels that come out.
        rate: the sampling rate that comes out, in Hz.
    """

    def __init__(self, layout: AudioLayout, rate: int) -> None:
        import av

        # Interleaved: PyAV reads past the end of a planar frame's eight pointers, and crashes, from eight channels.
        self._resampler = av.AudioResampler(format="flt", layout=layout, rate=rate)
        self._fifo = av.AudioFifo()
        self._rate = rate
        self._frame_rate = rate

    @property
    def gathered(self) -> int:
        """Samples of the coming rate that have been taken and not given yet, but for those in the resampler."""
        return round(self._fifo.samples * self._rate / self._frame_rate)

    def take(self, frame: AudioFrame) -> Iterator[Samples]:
        """Take a frame; gives blocks when enough are there."""
        if frame.samples >= GATHERED_SAMPLES or frame.layout.nb_channels > GATHERED_CHANNELS:
            yield from _arrays(self._resampler.resample(frame))
            return
        self._frame_rate = frame.sample_rate
        frame.pts = None  # times have been looked at, and a queue refuses those that do not follow each other
        self._fifo.write(frame)
        if self._fifo.samples >= GATHERED_SAMPLES:
            yield from self.flushed()

    def flushed(self) -> Iterator[Samples]:
        """What has been gathered."""
        if self._fifo.samples:
            yield from _arrays(self._resampler.resample(self._fifo.read()))

    def rest(self) -> Iterator[Samples]:
        """What has been gathered, and what the resampler holds; there is no more after it."""
        yield from self.flushed()
        yield from _arrays(self._resampler.resample(None))


def silence(samples: int, channels: int) -> Iterator[Samples]:
    """Silence of a length, block by block."""
    size = max(1, BLOCK_SAMPLES // channels)
    for start in range(0, samples, size):
        yield np.zeros((min(size, samples - start), channels), dtype=np.float32)


def _missing(time_s: float, written: int, reader: Reader) -> int:
    """How many samples are missing before a frame at `time_s`, when `written` are there; counted in the source."""
    rate = reader.source.sampling_rate
    missing = round(time_s * rate) - written
    plausible_s = math.inf if reader.length_s is None else reader.length_s + MIN_GAP_S
    if missing < MIN_GAP_S * rate or time_s > plausible_s:
        return 0  # the raggedness of time stamps, or one that is damaged itself
    reader.source = replace(reader.source, undecoded_s=round(reader.source.undecoded_s + missing / rate, 3))
    return missing


def _arrays(frames: Sequence[AudioFrame | None]) -> Iterator[Samples]:
    for frame in frames:
        if frame is not None:
            yield frame.to_ndarray().astype(np.float32, copy=False).reshape(-1, frame.layout.nb_channels)


def valid_frames(container: InputContainer, reader: Reader, index: int = 0) -> Iterator[AudioFrame]:
    """The frames of an audio stream, the `index`-th of the file, without those that do not decode."""
    import av

    packets = container.demux(audio=index)
    refusals = 0
    while refusals < MAX_REFUSALS:
        try:
            packet = next(packets, None)
        except MemoryError:
            raise
        except av.FFmpegError:
            # An error ends PyAV's generator, and not the file: go on behind it.
            reader.damaged = True
            refusals += 1
            packets = container.demux(audio=index)
            continue
        if packet is None:
            return
        refusals = 0
        try:
            frames = packet.decode()
        except MemoryError:
            raise
        except av.FFmpegError:
            reader.damaged = True
            continue
        yield from (frame for frame in frames if frame.samples)
    reader.damaged = True
