"""A channel of a call on scratch disk, read piece by piece: memory is bounded, however long the call."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tasks.records import Region, Samples

TRACK_RATE_HZ = 16_000
BLOCK_S = 60


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
        return self.samples / TRACK_RATE_HZ

    def read(self, start: int = 0, end: int | None = None) -> Samples:
        """The samples from `start` to `end` (excluded), with the gain; fewer where the track ends before."""
        begin = min(max(start, 0), self.samples)
        count = min(self.samples if end is None else end, self.samples) - begin
        found = np.fromfile(self.path, dtype=np.float32, count=max(count, 0), offset=begin * 4)
        return found if self.gain == 1.0 else found * np.float32(self.gain)

    def read_region(self, region: Region) -> Samples:
        """The samples of a region."""
        return self.read(round(region.start * TRACK_RATE_HZ), round(region.end * TRACK_RATE_HZ))

    def blocks(self, size: int = BLOCK_S * TRACK_RATE_HZ) -> Iterator[Samples]:
        """All samples, in order, in blocks of `size`; the last one may be shorter."""
        for start in range(0, self.samples, size):
            yield self.read(start, start + size)


def write_track(path: Path, samples: Samples) -> Track:
    """Put samples (`[sample]` at 16 kHz) on disk as a track."""
    samples.astype(np.float32, copy=False).tofile(path)
    return Track(path, len(samples))
