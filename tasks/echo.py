"""An echo: the voice of one channel in another, followed through a call and predicted.

It is a delayed, filtered and weaker copy. Its delay is the one that most half seconds agree on, each by its own
cross-correlation with phase transform (GCC-PHAT, Knapp and Carter 1976); its filter is the least squares one over these
half seconds (Wiener), found anew about every minute. What the filter makes of the other channel is the echo to expect.

All of it at 8 kHz and with raised highs, so that hum and the strong lows of voices do not decide alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tasks.records import Samples
from tasks.tracks import MODEL_SAMPLING_RATE, Track

Powers = NDArray[np.float64]
Mask = NDArray[np.bool_]
Indices = NDArray[np.int64]

RATE_HZ = MODEL_SAMPLING_RATE // 2
FRAME_S = 0.02
FRAME = round(FRAME_S * RATE_HZ)
EMPHASIS = 0.9
BLOCK = RATE_HZ  # what is read at once fits into a processor's cache
# A window of a channel comes with this much of its neighbours before and after.
BEFORE_FRAMES, AFTER_FRAMES = 64, 80

# Half seconds are compared with a second of the other channel: the echo may come up to 0.4 s later, and 30 ms earlier,
# as recorders do not always start their channels at once.
CHUNK_FRAMES, HOP_FRAMES = 25, 25
CHUNK = 4096
LEAST_LAG, MOST_LAG = -round(0.03 * RATE_HZ), round(0.4 * RATE_HZ)
LEAD_FRAMES, TRAIL_FRAMES = MOST_LAG // FRAME, 6
BAND_HZ = (200, 3700)
BATCH = 16
# A peak that stands five deviations over the rest is a vote: a fifth of the half seconds of unrelated voices have one,
# at any delay. Three that agree within a millisecond make an echo. A minute's votes fade in those that follow.
CLEAR_PEAK, FAINT_PEAK = 5.0, 4.0
AGREEING = round(0.001 * RATE_HZ)
LEAST_VOTES, LEAST_HEIGHT = 2.5, 12.0
FADING = 0.7
# Inside a minute the delay may go so far from there, as clocks drift and jitter buffers jump; five half seconds decide.
WANDERING = round(0.02 * RATE_HZ)
FOLLOWED = 5

# The filter is 48 ms long, 8 ms of it before the strongest path. Old minutes count half in it.
TAPS, TAPS_BEFORE = 384, 64
REGULARISATION = 1.002
OLD_SHARE = 0.5
# It is applied to rows of 48 frames, led by what it needs before them.
ROW_FRAMES, ROW_LEAD, ROWS = 48, 512, 8
ROW = ROW_LEAD + ROW_FRAMES * FRAME
# Prediction goes so far beyond a window on both sides.
MARGIN_FRAMES = 16
TINY = 1e-12


@dataclass(frozen=True, slots=True)
class Window:
    """A minute of a channel: `sound` and frame `powers` with their neighbourhood, `spoken` without it."""

    sound: Samples
    powers: Powers
    spoken: Mask


def window(track: Track, spoken: Mask, first: int, last: int) -> Window:
    """The frames from `first` to `last` (excluded) of a channel, with their neighbourhood."""
    begin, end = (first - BEFORE_FRAMES) * FRAME, (last + AFTER_FRAMES) * FRAME
    sound = np.concatenate([_read(track, at, min(at + BLOCK, end)) for at in range(begin, end, BLOCK)])
    return Window(sound, _products(sound, sound), spoken[first:last])


class _Delays:
    """The delay of an echo over a window, from those half seconds that show it."""

    def __init__(self, starts: Indices, lags: Indices) -> None:
        from scipy.ndimage import median_filter

        self._lags = median_filter(lags, FOLLOWED, mode="nearest")
        self._borders = (starts[1:] + starts[:-1]) // 2

    def at(self, samples: Indices) -> Indices:
        """The delay at each of these samples: that of the nearest half second, less outliers."""
        found: Indices = self._lags[np.searchsorted(self._borders, samples)]
        return found


class Echo:
    """The echo of one channel in another, followed window by window.

    `lag` is its median delay, in samples, in the last window that showed one; `level` is how strong the filter makes
    it, relative to the source as recorded (a ratio of powers).
    """

    def __init__(self) -> None:
        self.lag = 0
        self.level = 0.0
        self._votes = np.zeros((2, MOST_LAG - LEAST_LAG))  # for each delay: how many, and how high in all
        self._spectra = np.zeros((3, CHUNK // 2 + 1), dtype=np.complex64)  # across, of the source, and unweighted
        self._taps: Samples | None = None

    def follow(self, heard: Window, source: Window) -> tuple[Powers, Powers] | None:
        """Take the next window of both channels, and predict the echo in it; None until one was seen.

        Returns:
            the power of the predicted echo in each frame of the window and of a margin on both sides, and its product
            with what is heard.
        """
        delays = self._delays(heard, source)
        return None if self._taps is None else _predicted(heard, source, self._taps, delays)

    def _delays(self, heard: Window, source: Window) -> _Delays:
        """Find the delays in a window, and the filter from where they are seen; else those of the last one stand."""
        self._votes *= FADING
        starts = _candidates(heard, source)
        if starts.size:
            lags, heights = _peaks(heard.sound, source.sound, starts)
            clear = heights > CLEAR_PEAK
            np.add.at(self._votes[0], lags[clear] - LEAST_LAG, 1.0)
            np.add.at(self._votes[1], lags[clear] - LEAST_LAG, heights[clear] - FAINT_PEAK)
            counts, sums = (np.convolve(votes, np.ones(2 * AGREEING + 1), mode="same") for votes in self._votes)
            best = int(np.argmax(sums))
            off = np.abs(lags - best - LEAST_LAG)
            shown = (clear & (off <= WANDERING)) | ((heights > FAINT_PEAK) & (off <= AGREEING))
            if counts[best] >= LEAST_VOTES and sums[best] >= LEAST_HEIGHT and np.count_nonzero(shown) > 1:
                starts, lags = starts[shown], lags[shown]
                delays = _Delays(starts, lags)
                self.lag = int(np.median(lags))
                self._fit(heard.sound, source.sound, starts, delays.at(starts))
                return delays
        return _Delays(np.zeros(1, dtype=np.int64), np.full(1, self.lag))

    def _fit(self, heard: Samples, source: Samples, starts: Indices, lags: Indices) -> None:
        """The filter that makes most of `heard` out of `source`, from half seconds and their delays.

        Loud ones count no more than quiet ones: they are those in which both are speaking.
        """
        from scipy import fft
        from scipy.linalg import solve_toeplitz

        fading = np.hanning(CHUNK).astype(np.float32)
        self._spectra *= np.float32(OLD_SHARE)
        for batch in np.array_split(np.arange(len(starts)), math.ceil(len(starts) / BATCH)):
            own = fft.rfft(_rows(heard, starts[batch], CHUNK) * fading)
            other = fft.rfft(_rows(source, starts[batch] - lags[batch], CHUNK) * fading)
            weights = 1 / np.maximum(np.mean(np.square(np.abs(own)), axis=1, keepdims=True), TINY)
            power = np.square(np.abs(other))
            self._spectra += np.stack([own * np.conj(other) * weights, power * weights, power]).sum(axis=1)
        across = np.roll(fft.irfft(self._spectra[0]), TAPS_BEFORE)[:TAPS].astype(np.float64)
        itself = fft.irfft(self._spectra[1])[:TAPS].astype(np.float64)
        itself[0] = REGULARISATION * itself[0] + TINY
        self._taps = solve_toeplitz(itself, across).astype(np.float32)
        # The level is that of the sound as it was, before its highs were raised.
        hz = np.arange(CHUNK // 2 + 1) * RATE_HZ / CHUNK
        inside = (hz > BAND_HZ[0] / 2) & (hz < BAND_HZ[1])
        raised = np.square(np.abs(1 - EMPHASIS * np.exp(-2j * np.pi * hz / RATE_HZ)))
        sound = np.where(inside, self._spectra[2].real / raised, 0.0)
        self.level = float(np.sum(sound * np.square(np.abs(fft.rfft(self._taps, CHUNK)))) / max(np.sum(sound), TINY))


def _candidates(heard: Window, source: Window) -> Indices:
    """Where the half seconds of speech start that may be echo: in those around, the source is twice as strong."""
    at = np.arange(0, len(heard.spoken) - CHUNK_FRAMES, HOP_FRAMES)
    first, last = at - LEAD_FRAMES, at + CHUNK_FRAMES + TRAIL_FRAMES
    spoken = _means(heard.spoken, at, at + CHUNK_FRAMES) >= 0.5
    speaking = _means(source.spoken, np.maximum(first, 0), np.minimum(last, len(source.spoken))) > 0
    power = _means(heard.powers, at + BEFORE_FRAMES, at + BEFORE_FRAMES + CHUNK_FRAMES)
    louder = _means(source.powers, first + BEFORE_FRAMES, last + BEFORE_FRAMES) > 2 * power
    found: Indices = (at[spoken & speaking & louder & (power > TINY)] + BEFORE_FRAMES) * FRAME
    return found


def _peaks(heard: Samples, source: Samples, starts: Indices) -> tuple[Indices, Powers]:
    """For half seconds, the delay at which the source is most like them, and how far that stands over all others."""
    from scipy import fft

    size = 2 * CHUNK
    band = np.zeros(size // 2 + 1, dtype=np.float32)
    band[slice(*(hz * size // RATE_HZ for hz in BAND_HZ))] = 1
    lags, heights = [], []
    for batch in np.array_split(starts, math.ceil(len(starts) / BATCH)):
        cross = fft.rfft(_rows(heard, batch, CHUNK), size)
        cross *= np.conj(fft.rfft(_rows(source, batch - MOST_LAG, size)))
        cross *= band / np.maximum(np.abs(cross), TINY)
        values = fft.irfft(cross)[:, LEAST_LAG - MOST_LAG :]
        highest = np.argmax(values, axis=1)
        lags.append(highest + LEAST_LAG)
        heights.append(np.max(values, axis=1) / np.maximum(np.sqrt(np.mean(np.square(values), axis=1)), TINY))
    return np.concatenate(lags), np.concatenate(heights).astype(np.float64)


def _predicted(heard: Window, source: Window, taps: Samples, delays: _Delays) -> tuple[Powers, Powers]:
    """Power of the predicted echo in each frame where there is speech, and its product with the channel's sound.

    The frames are those of the window with a margin on both sides. Convolution is by overlap and save.
    """
    from scipy import fft

    frames = len(heard.spoken) + 2 * MARGIN_FRAMES
    rows = math.ceil(frames / ROW_FRAMES)
    wanted = np.zeros(rows * ROW_FRAMES)
    wanted[MARGIN_FRAMES : frames - MARGIN_FRAMES] = heard.spoken
    held = np.flatnonzero(smooth(wanted, 2 * MARGIN_FRAMES + 1).reshape(rows, -1).any(axis=1))
    starts = (BEFORE_FRAMES - MARGIN_FRAMES + held * ROW_FRAMES) * FRAME
    leads = starts - delays.at(starts + ROW // 2) + TAPS_BEFORE - ROW_LEAD
    response = fft.rfft(taps, ROW)
    powers = np.zeros((2, rows, ROW_FRAMES))
    for first in range(0, len(held), ROWS):
        batch = slice(first, first + ROWS)
        echo = fft.irfft(fft.rfft(_rows(source.sound, leads[batch], ROW)) * response)[:, ROW_LEAD:]
        own = _rows(heard.sound, starts[batch], ROW_FRAMES * FRAME)
        powers[:, held[batch]] = [_products(echo, echo), _products(echo, own)]
    both, shared = powers.reshape(2, -1)[:, :frames]
    return both, shared


def _read(track: Track, first: int, last: int) -> Samples:
    """Samples at 8 kHz, with raised highs: half of the track's, after a half-band filter; silence where it has none."""
    begin, end = 2 * first - 5, 2 * last + 3
    held = track.recorded.read(max(begin, 0), max(end, 0))
    if not held.size:
        return np.zeros(last - first, dtype=np.float32)
    if len(held) < end - begin:
        held = np.pad(held, (max(-begin, 0), end - begin - max(-begin, 0) - len(held)))
    odd, even = held[0::2], held[1::2]
    halved = 0.5 * even[1:-2] + (9 / 32) * (odd[1:-2] + odd[2:-1]) - (1 / 32) * (odd[:-3] + odd[3:])
    raised: Samples = halved[1:] - EMPHASIS * halved[:-1]
    return raised


def _rows(sound: Samples, starts: Indices, size: int) -> Samples:
    """Pieces of a sound as rows."""
    return np.stack([sound[start : start + size] for start in starts.tolist()])


def _products(one: Samples, other: Samples) -> Powers:
    """The mean product of two sounds in every frame of the last axis."""
    first, second = (sound.reshape(*sound.shape[:-1], -1, FRAME) for sound in (one, other))
    products: Powers = np.einsum("...fs,...fs->...f", first, second).astype(np.float64) / FRAME
    return products


def _means(values: Powers | Mask, starts: Indices, ends: Indices) -> Powers:
    """The means of pieces of a series."""
    sums = np.concatenate([[0.0], np.cumsum(values, dtype=np.float64)])
    means: Powers = (sums[ends] - sums[starts]) / (ends - starts)
    return means


def smooth(values: Powers | Mask, frames: int) -> Powers:
    """The mean of so many frames (an odd number) around each; there is silence before the first and after the last."""
    at = np.arange(len(values)) - frames // 2
    ends = np.minimum(at + frames, len(values))
    means: Powers = _means(values, np.maximum(at, 0), ends) * (ends - np.maximum(at, 0)) / frames
    return means
