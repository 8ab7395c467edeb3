"""Several audio streams of one file, as recorders write them that keep the sides of a call apart: one call.

The channels of the streams become those of the call, in the order of the streams. Streams keep their places in time:
silence stands before one that starts later than the others, and after one that ends earlier. All come out at the
highest sampling rate among them. Where a stream does not decode stands silence, and it is counted: the others are not
lost with it, and the call does not look complete.

Streams are decoded in step, each with a demuxer of its own: what is held at a time are a few blocks, wherever in the
file their packets lie.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np

from tasks.ffmpeg_frames import BLOCK_SAMPLES, MIN_GAP_S, PLAUSIBLE_RATES_HZ, Reader, interleaved, silence
from tasks.records import Samples

if TYPE_CHECKING:
    from av.audio.frame import AudioFrame

# Each costs a demuxer. No recorder is known that writes more.
MAX_STREAMS = 16
# What a header may say of a stream that does not decode, and so cannot be held against its samples.
MAX_LOST_CHANNELS = 8
# A stream that ends so much before the end that its header states has lost it: seconds, and share of its length.
LOST_MIN_S = 1.0
LOST_SHARE = 0.01
# Packets of a codec are up to this long, in seconds: lengths that differ by less are alike.
ALIKE_S = 0.5


@dataclass(slots=True)
class Stream:
    """One of the audio streams, on its way into the call.

    `reader` holds what the header says of it: no codec where there is no decoder, and then there are no frames.
    `declared_s` is the length in seconds that the header states of this stream alone. The rest is counted in samples at
    the rate of the call.
    """

    reader: Reader
    frames: Iterator[AudioFrame]
    declared_s: float | None = None
    first: AudioFrame | None = None
    blocks: Iterator[Samples] = field(default_factory=lambda: iter(()))
    offset: int = 0
    taken: int = 0
    ready: int = 0
    waiting: list[Samples] = field(default_factory=list)
    broken: bool = False

    @property
    def channels(self) -> int:
        """How many channels of the call are this stream's."""
        if self.first is not None:
            return int(self.first.layout.nb_channels)
        declared = self.reader.source.channels
        return declared if 1 <= declared <= MAX_LOST_CHANNELS else 1

    def find_first(self) -> None:
        """Decode up to the first frame, where there is one."""
        first = next(self.frames, None)
        if first is not None and first.sample_rate in PLAUSIBLE_RATES_HZ:
            self.first = first

    def start(self, rate: int, begin_s: float) -> None:
        """Lay the stream into a call of that rate which begins at that time stamp."""
        if self.first is None:
            return
        late_s = 0.0 if self.first.time is None else self.first.time - begin_s
        length_s = self.reader.length_s
        if length_s is None or late_s <= length_s + MIN_GAP_S:  # else the time stamp is damaged
            self.offset = round(late_s * rate)
        sound = interleaved(chain([self.first], self.frames), self.reader, rate)
        self.blocks = chain(silence(self.offset, self.channels), sound)

    def fill(self, wanted: int) -> int:
        """Have so many samples ready, or all that are left; how many of them there are."""
        while self.ready < wanted and (block := self._next()) is not None:
            self.waiting.append(block)
            self.ready += len(block)
        return min(self.ready, wanted)

    def take(self, count: int) -> Samples:
        """The next samples, `[sample, channel]`, of those that are ready."""
        held = np.concatenate(self.waiting)
        self.waiting = [held[count:]]
        self.ready -= count
        self.taken += count
        return held[:count]

    def undecoded_s(self, total: int, rate: int) -> float:
        """Seconds of a call of `total` samples in which this stream is silent because it did not decode."""
        if self.first is None:
            return total / rate
        lost = 0
        if self.broken or (self.reader.damaged and total - self.taken > LOST_MIN_S * rate):
            lost = total - self.taken
        elif self.declared_s is not None:
            promised = min(self.offset + round(self.declared_s * rate), total)
            if promised - self.taken > rate * max(LOST_MIN_S, LOST_SHARE * self.declared_s):
                lost = promised - self.taken
        return self.reader.source.undecoded_s + lost / rate

    def _next(self) -> Samples | None:
        import av

        try:
            return next(self.blocks, None)
        except MemoryError:  # which is one of FFmpeg's errors, too
            raise
        except av.FFmpegError:
            self.broken = True
            return None


def joined(streams: Sequence[Stream], declared_s: float | None) -> Reader:
    """The streams of a file as one recording.

    Args:
        streams: all of them, in their order; at least one has a decoder.
        declared_s: the length in seconds that the header states, where it states none of each stream.
    """
    known = next(stream.reader.source for stream in streams if stream.reader.source.codec)
    reader = Reader(replace(known, declared_s=declared_s, streams=len(streams)))
    reader.blocks = _side_by_side(streams, reader)
    return reader


def _side_by_side(streams: Sequence[Stream], reader: Reader) -> Iterator[Samples]:
    """All channels, `[sample, channel]`, until the last stream ends; `reader` gets the format."""
    for stream in streams:
        stream.find_first()
    found = [stream.first for stream in streams if stream.first is not None]
    if not found:
        reader.damaged = any(stream.reader.damaged for stream in streams)
        return
    rate, channels = max(frame.sample_rate for frame in found), sum(stream.channels for stream in streams)
    codecs = dict.fromkeys(stream.reader.source.codec for stream in streams if stream.first is not None)
    reader.source = replace(reader.source, codec="+".join(codecs), sampling_rate=rate, channels=channels)
    begin_s = min((frame.time for frame in found if frame.time is not None), default=0.0)
    for stream in streams:
        stream.start(rate, begin_s)
    size = max(1, BLOCK_SAMPLES // channels)
    total = 0
    while count := max(ready := [stream.fill(size) for stream in streams]):
        block = np.zeros((count, channels), dtype=np.float32)
        first = 0
        for stream, own in zip(streams, ready, strict=True):
            if own:
                block[:own, first : first + stream.channels] = stream.take(own)
            first += stream.channels
        total += count
        yield block
    _sum_up(streams, reader, total)


def _sum_up(streams: Sequence[Stream], reader: Reader, total: int) -> None:
    """Note what can only be said at the end of a call, of `total` samples."""
    rate = reader.source.sampling_rate
    ends = [stream.offset / rate + stream.declared_s for stream in streams if stream.declared_s is not None]
    lengths = [(stream.taken - stream.offset) / rate for stream in streams for _ in range(stream.channels)]
    alike = max(lengths) - min(lengths) < ALIKE_S
    reader.source = replace(
        reader.source,
        declared_s=max(ends, default=reader.source.declared_s),
        undecoded_s=round(max(stream.undecoded_s(total, rate) for stream in streams), 3),
        undecoded_streams=sum(stream.first is None for stream in streams),
        channel_s=() if alike else tuple(round(length, 3) for length in lengths),
    )
