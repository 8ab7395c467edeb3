"""Pure: who talks in neighbouring short windows, followed from one to the next, and the turns that they take.

A segmentation model says which of a few local speakers talk at every moment of a window of a few seconds, whoever they
are. Windows overlap, so that a local speaker of one is found again in the next by when they talk: they make a tracklet.
Where a tracklet alone talks it takes turns, and a whole turn says more about a voice than what a window holds of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.floating]
"""How surely each local speaker of each window talks, `[window, frame, speaker]`."""
Flags = NDArray[np.bool_]
# Two local speakers of neighbouring windows are the same if they talk at the same time: this share of the frames in
# which either does, and this long, in seconds.
SAME_SHARE = 0.5
SAME_S = 0.2
# A pause within a turn, in seconds, in which nobody else talks.
PAUSE_S = 0.3


@dataclass(frozen=True, slots=True)
class Frames:
    """The grid: seconds of a frame, frames of a window, and frames from one window to the next, maybe a fraction."""

    seconds: float
    window: int
    step: float

    def first(self, window: int) -> int:
        """The frame of the call in which a window begins."""
        return round(window * self.step)


@dataclass(frozen=True, slots=True)
class Tracklet:
    """One speaker, followed through neighbouring windows.

    Attributes:
        members: (window, local speaker) of each window.
        first: the frame of the call that `talks` begins with.
        talks: whether the speaker talks, frame by frame.
    """

    members: tuple[tuple[int, int], ...]
    first: int
    talks: Flags


@dataclass(frozen=True, slots=True)
class SoleTurn:
    """A turn in which one tracklet alone talks: frames of the call, and which of them it talks in."""

    tracklet: int
    first: int
    talks: Flags

    @property
    def last(self) -> int:
        """The frame after it."""
        return self.first + len(self.talks)


def find_tracklets(scores: Scores, frames: Frames, onset: float) -> list[Tracklet]:
    """Follow local speakers from window to window.

    Args:
        scores: of all windows.
        frames: their grid.
        onset: score from which somebody talks.

    Returns:
        tracklets in order of their first window; every local speaker that ever talks is in exactly one.
    """
    talks = scores > onset
    covered = np.zeros(frames.first(len(scores) - 1) + frames.window if len(scores) else 0)
    for window in range(len(scores)):
        covered[frames.first(window) : frames.first(window) + frames.window] += 1
    groups = _linked(talks, frames)
    return [_tracklet(members, scores, covered, frames, onset) for members in groups]


def find_turns(tracklets: Sequence[Tracklet], frames: Frames) -> list[SoleTurn]:
    """Where each tracklet alone talks, parted at pauses and wherever somebody else talks; ordered by tracklet."""
    length = max((one.first + len(one.talks) for one in tracklets), default=0)
    together = np.zeros(length, dtype=np.int16)
    for one in tracklets:
        together[one.first : one.first + len(one.talks)] += one.talks
    most_pause = round(PAUSE_S / frames.seconds)
    turns: list[SoleTurn] = []
    for index, one in enumerate(tracklets):
        alone = one.talks & (together[one.first : one.first + len(one.talks)] == 1)
        joined: list[tuple[int, int]] = []
        for start, end in _runs(alone):
            before = joined[-1][1] if joined else 0
            silent = not together[one.first + before : one.first + start].any()
            if joined and silent and start - before <= most_pause:
                joined[-1] = (joined[-1][0], end)
            else:
                joined.append((start, end))
        turns += [SoleTurn(index, one.first + start, alone[start:end]) for start, end in joined]
    return turns


def label_frames(tracklet: Tracklet, turns: Sequence[tuple[SoleTurn, int]], otherwise: int) -> NDArray[np.int64]:
    """The cluster of each frame of a tracklet: that of its nearest turn.

    Args:
        tracklet: it.
        turns: its turns with their clusters, in order.
        otherwise: its cluster where it has no turn.
    """
    labels = np.full(len(tracklet.talks), otherwise, dtype=np.int64)
    if not turns:
        return labels
    cuts = [(before.last + after.first) // 2 - tracklet.first for (before, _), (after, _) in pairwise(turns)]
    for (start, end), (_, cluster) in zip(pairwise([0, *cuts, len(labels)]), turns, strict=True):
        labels[start:end] = cluster
    return labels


def _linked(talks: Flags, frames: Frames) -> list[list[tuple[int, int]]]:
    """Local speakers of all windows that are one speaker's, in order."""
    from scipy.optimize import linear_sum_assignment

    group_of: dict[tuple[int, int], int] = {}
    groups: list[list[tuple[int, int]]] = []
    for window, now in enumerate(talks):
        known: dict[int, int] = {}
        if window:
            shift = frames.first(window) - frames.first(window - 1)
            before, after = talks[window - 1, shift:], now[: frames.window - shift]
            both = (before[:, :, None] & after[:, None, :]).sum(axis=0)
            either = (before[:, :, None] | after[:, None, :]).sum(axis=0)
            for old, new in zip(*linear_sum_assignment(-both), strict=True):
                if both[old, new] * frames.seconds >= SAME_S and both[old, new] >= SAME_SHARE * either[old, new]:
                    known[int(new)] = group_of[window - 1, int(old)]
        for speaker in np.flatnonzero(now.any(axis=0)).tolist():
            if speaker not in known:
                known[speaker] = len(groups)
                groups.append([])
            group_of[window, speaker] = known[speaker]
            groups[known[speaker]].append((window, speaker))
    return groups


def _tracklet(
    members: Sequence[tuple[int, int]], scores: Scores, covered: NDArray[np.float64], frames: Frames, onset: float
) -> Tracklet:
    """A tracklet talks where the windows that cover a frame say so in the mean."""
    first, last = frames.first(members[0][0]), frames.first(members[-1][0]) + frames.window
    total = np.zeros(last - first)
    for window, speaker in members:
        start = frames.first(window) - first
        total[start : start + frames.window] += scores[window, :, speaker]
    return Tracklet(tuple(members), first, total / covered[first:last] > onset)


def _runs(flags: Flags) -> list[tuple[int, int]]:
    """Where flags are set: (first, after the last)."""
    edges = np.flatnonzero(np.diff(flags.astype(np.int8), prepend=0, append=0))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))
