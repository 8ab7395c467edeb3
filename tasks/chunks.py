"""Chunks: stretches of one channel's speech that Whisper hears in one go, at most its window of 30 seconds long.

A chunk is made of whole speech regions, with the silence between them taken out. Where regions are parted into chunks
decides what the recogniser gets as context, so that it should not hang on the order of lengths: a channel is cut into
as few chunks as hold it, and these are as equal as its pauses allow. No short rest is left over, and a region that
begins a second later moves no cut far.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np

from tasks.records import Region, Samples
from tasks.tracks import MODEL_SAMPLING_RATE, Track

# A region that is longer than a chunk is cut into equal pieces, each at the quietest moment that lies no further from
# where it would end than this share of it. Where fewer seconds than these are left to choose from, there is one more.
CUT_AROUND = 0.4
LEAST_ROOM_S = 4.0
# The quietest moment is the middle of the quietest stretch of so many seconds.
QUIET_S = 0.1


@dataclass(frozen=True, slots=True)
class Chunk:
    """Speech regions of one channel, in order, that are heard joined. Times in a chunk count from its start."""

    regions: tuple[Region, ...]

    @property
    def start(self) -> float:
        """Where it starts in the call, in seconds."""
        return self.regions[0].start

    @property
    def end(self) -> float:
        """Where it ends in the call, in seconds."""
        return self.regions[-1].end

    @property
    def duration_s(self) -> float:
        """Seconds of sound in it."""
        return sum(region.duration_s for region in self.regions)

    def read(self, track: Track) -> Samples:
        """Its samples, `[sample]` at 16 kHz."""
        return np.concatenate([track.read_region(region) for region in self.regions])

    def in_call(self, start: float, end: float) -> tuple[float, float]:
        """Times in the chunk as times in the call: both in the region that their middle lies in.

        Returns:
            start and end in seconds, rounded to milliseconds; the end is not before the start.
        """
        offsets = [0.0, *accumulate(region.duration_s for region in self.regions)]
        index = min(max(bisect_right(offsets, (start + end) / 2) - 1, 0), len(self.regions) - 1)
        region, offset = self.regions[index], offsets[index]
        first = min(max(region.start + start - offset, region.start), region.end)
        last = min(max(region.start + end - offset, first), region.end)
        return round(first, 3), round(last, 3)

    def halves(self, track: Track, near: float | None = None) -> tuple[Chunk, ...]:
        """The chunk in two: parted at the pause that is nearest to a time, else at the quietest moment of its middle.

        Args:
            track: the channel.
            near: time in the call, in seconds; None means the middle of the sound.

        Returns:
            two chunks, or the chunk itself where it is too short to be parted.
        """
        if self.duration_s < 4 * QUIET_S:
            return (self,)
        middle = self._time_at(self.duration_s / 2) if near is None else near
        if len(self.regions) > 1:
            pauses = range(1, len(self.regions))
            cut = min(pauses, key=lambda index: self._distance(index, middle))
            return Chunk(self.regions[:cut]), Chunk(self.regions[cut:])
        (region,) = self.regions
        quarter = region.duration_s / 4
        moment = quietest(track, Region(region.start + quarter, region.end - quarter))
        return Chunk((Region(region.start, moment),)), Chunk((Region(moment, region.end),))

    def _distance(self, index: int, time: float) -> float:
        """Seconds from a time in the call to the pause before a region; 0 within it."""
        return max(self.regions[index - 1].end - time, time - self.regions[index].start, 0.0)

    def _time_at(self, seconds: float) -> float:
        """The time in the call of a time in the chunk."""
        left = seconds
        for region in self.regions:
            if left <= region.duration_s:
                return region.start + left
            left -= region.duration_s
        return self.end


def cut(track: Track, regions: Sequence[Region], longest_s: float) -> tuple[Chunk, ...]:
    """Cut a channel's speech into chunks: the fewest that hold it, as equal as its pauses allow.

    Fewest first, then the least sum of squared lengths, by dynamic programming over the regions.

    Args:
        track: the channel.
        regions: where somebody speaks; ordered and disjoint.
        longest_s: the longest chunk, in seconds; longer regions are cut at quiet moments.

    Returns:
        chunks in order; every moment of every region is in exactly one.
    """
    pieces = [piece for region in regions for piece in _pieces(track, region, longest_s)]
    # best[j] is the (chunks, sum of squares, first piece of the last chunk) of the best way to part the first j pieces.
    best: list[tuple[int, float, int]] = [(0, 0.0, 0)]
    for last in range(1, len(pieces) + 1):
        held_s = 0.0
        ways = []
        for first in range(last - 1, -1, -1):
            held_s += pieces[first].duration_s
            # A piece alone always fits, whatever floats make of its length.
            if held_s > longest_s and first < last - 1:
                break
            ways.append((best[first][0] + 1, best[first][1] + held_s**2, first))
        best.append(min(ways))
    chunks: list[Chunk] = []
    last = len(pieces)
    while last:
        first = best[last][2]
        chunks.append(Chunk(tuple(pieces[first:last])))
        last = first
    return tuple(reversed(chunks))


def quietest(track: Track, region: Region) -> float:
    """The middle of the quietest tenth of a second of a region, as a time in the call."""
    samples = track.read_region(region)
    frame = round(MODEL_SAMPLING_RATE * QUIET_S)
    powers = np.square(samples[: len(samples) // frame * frame].reshape(-1, frame)).mean(axis=1)
    return region.start + (int(np.argmin(powers)) + 0.5) * QUIET_S


def _pieces(track: Track, region: Region, longest_s: float) -> Iterator[Region]:
    """A region, or pieces of it that are no longer than that, cut at quiet moments, about as long as each other."""
    start = region.start
    while (left_s := region.end - start) > longest_s:
        pieces = math.ceil(left_s / longest_s)
        room = _room(left_s, pieces, longest_s)
        if room.duration_s < min(LEAST_ROOM_S, longest_s / 4):
            room = _room(left_s, pieces + 1, longest_s)
        moment = quietest(track, Region(start + room.start, start + room.end))
        yield Region(start, moment)
        start = moment
    yield Region(start, region.end)


def _room(left_s: float, pieces: int, longest_s: float) -> Region:
    """Where the first of so many pieces may end, in seconds from its start, so that the others can hold the rest."""
    equal_s = left_s / pieces
    first = max(left_s - (pieces - 1) * longest_s, (1 - CUT_AROUND) * equal_s)
    return Region(first, max(first + 2 * QUIET_S, min(longest_s, (1 + CUT_AROUND) * equal_s)))
