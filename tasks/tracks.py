"""Sound on scratch disk, read piece by piece: memory is bounded, however long the call.

A recording is decoded into one file, and its channels become tracks, files of their own, that every later step reads
as far as it needs to.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from tasks.records import Region, Samples, SourceFormat

MODEL_SAMPLING_RATE = 16_000
BLOCK_SAMPLES = 60 * MODEL_SAMPLING_RATE
_BYTES = np.dtype(np.float32).itemsize


@dataclass(frozen=True, slots=True)
class Recording:
    """A decoded recording: a file of interleaved float32 samples, at the rate and with the channels of its source.

    `samples` counts those of each channel.
    """

    path: Path
    source: SourceFormat
    samples: int

    @property
    def duration_s(self) -> float:
        """The length in seconds."""
        return self.samples / self.source.sampling_rate

    def blocks(self, multiple: int = 1) -> Iterator[Samples]:
        """All samples, `[sample, channel]`, in order, in blocks of a multiple; the last one may be shorter."""
        channels = self.source.channels
        size = max(BLOCK_SAMPLES // channels // multiple, 1) * multiple
        for start in range(0, self.samples, size):
            count = min(size, self.samples - start) * channels
            found = np.fromfile(self.path, dtype=np.float32, count=count, offset=start * channels * _BYTES)
            yield found.reshape(-1, channels)


@dataclass(frozen=True, slots=True)
class Track:
    """One channel at 16 kHz: a file of float32 samples, and the gain (a factor) with which it is heard.

    `samples` is their number. Where a track starts and ends, so does the call.
    """

    path: Path
    samples: int
    gain: float = 1.0

    @property
    def duration_s(self) -> float:
        """The length in seconds."""
        return self.samples / MODEL_SAMPLING_RATE

    @property
    def recorded(self) -> Track:
        """The track as it is on disk, without gain."""
        return replace(self, gain=1.0)

    def read(self, start: int = 0, end: int | None = None) -> Samples:
        """The samples from `start` to `end` (excluded), with the gain; fewer where the track ends before."""
        begin = min(max(start, 0), self.samples)
        count = min(self.samples if end is None else end, self.samples) - begin
        found = np.fromfile(self.path, dtype=np.float32, count=max(count, 0), offset=begin * _BYTES)
        return found if self.gain == 1.0 else found * np.float32(self.gain)

    def read_region(self, region: Region) -> Samples:
        """The samples of a region."""
        return self.read(round(region.start * MODEL_SAMPLING_RATE), round(region.end * MODEL_SAMPLING_RATE))

    def blocks(self, size: int = BLOCK_SAMPLES) -> Iterator[Samples]:
        """All samples, in order, in blocks of `size`; the last one may be shorter."""
        for start in range(0, self.samples, size):
            yield self.read(start, start + size)
