"""Crosstalk: where a channel holds nothing but the voice of another one, leaked into it by a line or a loudspeaker.

The echo that `tasks.echo` predicts from the other channel, by the methods named there, is held against this one in
frames of 20 ms: there is echo where it explains most of the sound, and a voice of this channel's own where more is left
over than usual in that minute. What is in doubt belongs to the speaker: only stretches of speech with echo, and at a
distance from any own voice, are crosstalk.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise, permutations

import numpy as np
from numpy.typing import NDArray

from tasks.echo import (
    BEFORE_FRAMES,
    FRAME,
    FRAME_S,
    MARGIN_FRAMES,
    RATE_HZ,
    TINY,
    Echo,
    Mask,
    Powers,
    Window,
    smooth,
    window,
)
from tasks.records import Region
from tasks.tracks import Track

Kinds = NDArray[np.int8]

# A call is looked at in windows of about a minute.
WINDOW_FRAMES = 3000

# What is in a frame.
NEITHER, ECHO, OWN = 0, 1, 2
# Energies are compared over 0.26 s, and what is left over in 0.1 s as well. The rest of a room's echo fades by 1.5 dB
# in each frame.
LONG, SHORT = 13, 5
FADE = 0.7
# Echo explains most of the sound, and stands out of the noise: the quietest tenth of the minute.
EXPLAINED = 0.6
RISE_RANGE = (0.1, 2.5)
NOISE_PERCENTILE = 10.0
# An own voice leaves 8 dB more than usual, and 13 dB in the shorter time, for 60 ms at least. However good the filter
# is, what lies 14 dB under the echo may come from it; however bad, what is as loud as the echo does not. Sound 35 dB
# under the loudest that is left over in that minute is breath and rustling, not words.
OVER_USUAL, SHORT_MARGIN = 6.0, 3.0
LEFT_RANGE = (0.04, 1.0)
OWN_FRAMES = 3
FAINT = 10**-3.5
LOUDEST_PERCENTILE = 98.0
# A stretch keeps 0.2 s away from an own voice and holds 0.3 s of echo.
GUARD_FRAMES = 10
LEAST_ECHO_FRAMES = 15
# Of two copies that differ less nobody knows who is speaking.
MOST_LEVEL = 10**-0.6
# Of two that come nearly at once the louder need not be the source: a faintly recorded voice may have louder echoes.
# It is the source if what it says comes back. Missing is what should stand 15 dB out of the noise and is 10 dB weaker.
UNSURE_LAG = round(0.02 * RATE_HZ)
AUDIBLE, MISSING = 30.0, 0.1
MOST_MISSING = 0.15
# With a word and its guards more than this is left of a region.
LEAST_LEFT_S = 0.3


@dataclass(frozen=True, slots=True)
class Crosstalk:
    """The voice of another channel in this one.

    `level_db` is how loud it is here relative to there, as recorded (negative); `delay_ms` is how much later it comes,
    slightly negative where the channels were not recorded at once; `source` is the index of the track that it comes
    from; `regions` are where this channel holds nothing else, ordered and inside its speech regions.
    """

    level_db: float
    delay_ms: float
    source: int
    regions: tuple[Region, ...]

    @property
    def seconds(self) -> float:
        """The length of all regions."""
        return math.fsum(region.duration_s for region in self.regions)


def find_crosstalk(tracks: Sequence[Track], regions: Sequence[tuple[Region, ...]]) -> tuple[Crosstalk | None, ...]:
    """The voice of another channel in each one, or None where none was found.

    Of several sources it is the one that fills most time.

    Args:
        tracks: the channels of a call; their gains do not matter.
        regions: where somebody seems to speak in each: ordered, disjoint.
    """
    frames = math.ceil(max((track.duration_s for track in tracks), default=0.0) / FRAME_S)
    spoken = [_mask(held, frames) for held in regions]
    paths = [_Path(heard, source) for heard, source in permutations(range(len(tracks)), 2)]
    windows = max(1, round(frames / WINDOW_FRAMES))
    for first, last in pairwise(round(index * frames / windows) for index in range(windows + 1)):
        channels = [window(track, mask, first, last) for track, mask in zip(tracks, spoken, strict=True)]
        for path in paths:
            path.hear(channels[path.heard], channels[path.source])
    found: list[Crosstalk | None] = [None] * len(tracks)
    for path in paths:
        one, best = path.crosstalk(regions[path.heard], spoken[path.heard]), found[path.heard]
        if one is not None and (best is None or one.seconds > best.seconds):
            found[path.heard] = one
    return tuple(found)


def without(regions: tuple[Region, ...], crosstalk: Crosstalk) -> tuple[Region, ...]:
    """Speech regions less the stretches of crosstalk; what is then too short to hold a word goes as well."""
    kept: list[Region] = []
    for region in regions:
        holes = _touching(crosstalk.regions, region)
        starts = [region.start, *(hole.end for hole in holes)]
        ends = [*(hole.start for hole in holes), region.end]
        left = [Region(start, end) for start, end in zip(starts, ends, strict=True)]
        kept += [part for part in left if part.duration_s >= LEAST_LEFT_S] if holes else [region]
    return tuple(kept)


def _touching(stretches: tuple[Region, ...], region: Region) -> tuple[Region, ...]:
    """Those of ordered, disjoint stretches that share time with a region."""
    first = bisect_right(stretches, region.start, key=lambda stretch: stretch.end)
    last = bisect_left(stretches, region.end, key=lambda stretch: stretch.start)
    return stretches[first:last]


class _Path:
    """The way from one channel (`source`) into another (`heard`), followed window by window."""

    def __init__(self, heard: int, source: int) -> None:
        self.heard = heard
        self.source = source
        self._echo = Echo()
        self._kinds: list[Kinds] = []
        self._totals = np.zeros(3)  # of the frames with echo: how many, their levels and delays
        self._expected = np.zeros(2)  # frames in which echo should be heard, and those in which it is not

    def hear(self, heard: Window, source: Window) -> None:
        """Take the next window of both channels."""
        predicted = self._echo.follow(heard, source)
        if predicted is None:
            self._kinds.append(np.zeros(len(heard.spoken), dtype=np.int8))
        else:
            self._judge(heard, source, *predicted)

    def crosstalk(self, regions: tuple[Region, ...], spoken: Mask) -> Crosstalk | None:
        """What was found in all windows, for the speech regions of the channel that was heard."""
        if not self._totals[0]:
            return None
        level, lag = (float(total / self._totals[0]) for total in self._totals[1:])
        missing = self._expected[1] > MOST_MISSING * self._expected[0]
        if not 0 < level < MOST_LEVEL or (lag < UNSURE_LAG and missing):
            return None
        runs = tuple(
            Region(start * FRAME_S, end * FRAME_S) for start, end in _stretches(np.concatenate(self._kinds), spoken)
        )
        found = tuple(
            Region(max(region.start, run.start), min(region.end, run.end))
            for region in regions
            for run in _touching(runs, region)
        )
        return Crosstalk(10 * math.log10(level), 1000 * lag / RATE_HZ, self.source, found) if found else None

    def _judge(self, heard: Window, source: Window, echo: Powers, both: Powers) -> None:
        """Tell what is in the frames of a window, from the power of the predicted echo and its product with `heard`."""
        around = slice(BEFORE_FRAMES - MARGIN_FRAMES, BEFORE_FRAMES + len(heard.spoken) + MARGIN_FRAMES)
        inner = slice(MARGIN_FRAMES, -MARGIN_FRAMES)
        powers = heard.powers[around]
        noise = max(float(np.percentile(smooth(powers, SHORT), NOISE_PERCENTILE)), TINY)
        kinds, rise = frame_kinds(powers, echo, both, noise)
        self._kinds.append(kinds[inner])
        held = np.flatnonzero((kinds[inner] == ECHO) & heard.spoken) + MARGIN_FRAMES
        if held.size:
            level = self._echo.level * float(np.sum(rise[held] ** 2 * echo[held]) / np.sum(echo[held]))
            self._totals += len(held) * np.array([1.0, level, self._echo.lag])
            shift = round(self._echo.lag / FRAME)
            there = smooth(source.powers[around.start - shift : around.stop - shift], LONG)
            expected = there * (np.sum(echo[held]) / max(np.sum(there[held]), TINY))
            audible = expected > AUDIBLE * noise
            missing = audible & (smooth(powers, LONG) < MISSING * expected)
            self._expected += [np.count_nonzero(audible), np.count_nonzero(missing)]


def frame_kinds(heard: Powers, echo: Powers, both: Powers, noise: float) -> tuple[Kinds, Powers]:
    """Tell echo from own voices in the frames of a window.

    Args:
        heard: power of each frame of the channel.
        echo: that of the predicted echo.
        both: the mean of their product.
        noise: power of the channel's background.

    Returns:
        what is in each frame, and the factor by which its echo is stronger than predicted.
    """
    from scipy.ndimage import binary_opening
    from scipy.signal import lfilter

    total, predicted, shared = (smooth(values, LONG) for values in (heard, echo, both))
    rise = np.clip(shared / np.maximum(predicted, TINY**2), 0.0, RISE_RANGE[1])
    explained = 2 * rise * shared - rise**2 * predicted
    left = total - noise - explained
    audible = (total > 2 * noise) & (rise > RISE_RANGE[0])
    clear = audible & (explained > 0) & (explained > EXPLAINED * (explained + np.maximum(left, 0.0)))
    # The same in a shorter time, in which the echo's own tail counts as it does in the longer one.
    predicted_short = rise**2 * smooth(echo, SHORT)
    left_short = smooth(heard, SHORT) - noise - 2 * rise * smooth(both, SHORT) + predicted_short
    tail_short = lfilter([1 - FADE], [1, -FADE], predicted_short)
    tail = lfilter([1 - FADE], [1, -FADE], rise**2 * predicted)

    strong = clear & (explained > 10 * noise)
    known = np.count_nonzero(strong) >= LONG
    usual = float(np.median(np.maximum(left[strong], 0.0) / tail[strong])) if known else LEFT_RANGE[1]
    margin = min(max(OVER_USUAL * usual, LEFT_RANGE[0]), LEFT_RANGE[1])
    faint = max(3 * noise, FAINT * float(np.percentile(left_short, LOUDEST_PERCENTILE)))
    own = (left > faint / 3) & (left > margin * tail)
    own |= (left_short > faint) & (left_short > SHORT_MARGIN * margin * tail_short)
    own &= ~clear | binary_opening(own, np.ones(OWN_FRAMES))
    return np.where(own, OWN, np.where(clear, ECHO, NEITHER)).astype(np.int8), rise


def _stretches(kinds: Kinds, spoken: Mask) -> list[tuple[int, int]]:
    """First and last frame (excluded) of the stretches of a channel's speech that hold echo and no own voice."""
    from scipy.ndimage import maximum_filter1d

    guarded = maximum_filter1d((kinds == OWN).astype(np.int8), 2 * GUARD_FRAMES + 1, mode="constant")
    borders = np.flatnonzero(np.diff(guarded | ~spoken, prepend=1, append=1)).reshape(-1, 2)
    return [(start, end) for start, end in borders.tolist() if np.sum(kinds[start:end] == ECHO) >= LEAST_ECHO_FRAMES]


def _mask(regions: Sequence[Region], frames: int) -> Mask:
    """Which of so many frames a region touches."""
    mask = np.zeros(frames, dtype=np.bool_)
    for region in regions:
        mask[math.floor(region.start / FRAME_S + 1e-6) : math.ceil(region.end / FRAME_S - 1e-6)] = True
    return mask
