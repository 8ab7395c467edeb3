"""The kinds of noise that benchmarks add to speech, and the level of speech that an SNR starts from.

- white: Gaussian noise, flat up to 4 kHz.
- pink: the same, falling by 3 dB per octave over 50 Hz.
- babble: six voices from other clips at one level, backwards, their pauses cut out.
- hum: mains hum of 50 or 60 Hz with its harmonics.
- clicks: the crackle of a bad contact. Impulses at random moments, 10 a second, and 200 a second in stretches of
  a quarter second, three in ten of which are bad; each of either sign, its size log-normal (4 dB), and ringing on the
  line as a tick around 2 kHz (0.3 ms) or a pop around 600 Hz (3 ms), within the telephone band. Their peaks lie about
  25 dB over their mean power, as much as full scale leaves over speech of the usual level.

The level is the active speech level of ITU-T P.56, method B: that of the moments in which somebody speaks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

import numpy as np

from evaluation.sets.telephone import RATE_HZ, Signal, band_limit, db, rms, shape

KINDS: Final = ("white", "babble", "hum", "clicks")
"""What mixtures are made with."""

_TALKERS = 6
_P56_MARGIN_DB = 15.9


class Speech(Protocol):
    """What noise is made for, and babble of: speech at 8 kHz, and its active speech level in dBFS."""

    @property
    def samples(self) -> Signal:
        """One channel."""

    @property
    def level_dbfs(self) -> float:
        """As `active_level_dbfs` finds it."""


def active_level_dbfs(signal: Signal, rate_hz: int) -> float:
    """The active speech level of ITU-T P.56, method B, in dB of full scale.

    The envelope is the magnitude, smoothed twice with 30 ms; speech is active while it is over a threshold, and 200 ms
    longer. The threshold is the one that lies 15.9 dB under the level that comes of it, between powers of two.
    """
    from scipy.ndimage import maximum_filter1d
    from scipy.signal import lfilter

    keep = math.exp(-1 / (0.03 * rate_hz))
    envelope = lfilter([(1 - keep) ** 2], [1, -2 * keep, keep**2], np.abs(signal))
    hangover = round(0.2 * rate_hz)
    held = maximum_filter1d(envelope, hangover, origin=(hangover - 1) // 2)
    energy = float(np.sum(signal**2))
    before: tuple[float, float] | None = None
    # From the lowest threshold up: at the top, where next to nothing is active, the margin grows again.
    for power in range(15, -1, -1):
        active = np.count_nonzero(held >= 2.0**-power)
        if not active:
            break
        level = 10 * math.log10(energy / active)
        margin = level - 20 * math.log10(2.0**-power)
        if margin <= _P56_MARGIN_DB:
            if before is None:
                return level
            share = (_P56_MARGIN_DB - before[1]) / (margin - before[1])
            return before[0] + share * (level - before[0])
        before = (level, margin)
    message = "the signal holds no speech"
    raise ValueError(message)


def noise(kind: str, clips: Sequence[Speech], index: int, rng: np.random.Generator) -> Signal:
    """Noise of a kind for one of the clips: of its length, without offset, with a mean power of 1."""
    made = _GENERATORS[kind](clips, index, rng)
    even = made - np.mean(made)
    return np.asarray(even / rms(even))


def _white(clips: Sequence[Speech], index: int, rng: np.random.Generator) -> Signal:
    return rng.standard_normal(len(clips[index].samples))


def _pink(clips: Sequence[Speech], index: int, rng: np.random.Generator) -> Signal:
    return shape(_white(clips, index, rng), lambda hz: 1 / np.sqrt(np.maximum(hz, 50)))


def _hum(clips: Sequence[Speech], index: int, rng: np.random.Generator) -> Signal:
    """50 Hz for one clip, 60 Hz for the next."""
    time_s = np.arange(len(clips[index].samples)) / RATE_HZ
    mains_hz = 50 + 10 * (index % 2)
    partials = ((1, 1.0), (2, 0.5), (3, 0.4), (5, 0.2))
    made = sum(size * np.sin(2 * np.pi * mains_hz * nth * time_s + rng.uniform(0, 6)) for nth, size in partials)
    return np.asarray(made)


def _babble(clips: Sequence[Speech], index: int, rng: np.random.Generator) -> Signal:
    """Six voices of other clips at one level, backwards, their pauses cut out; of fewer clips, some talk twice."""
    samples = len(clips[index].samples)
    others = [*clips[index + 1 :], *clips[:index]] or [clips[index]]
    mixed = np.zeros(samples)
    for talker in range(_TALKERS):
        other = others[talker % len(others)]
        frames = other.samples[: len(other.samples) // 160 * 160].reshape(-1, 160)
        active = np.mean(frames**2, axis=1) > db(other.level_dbfs - _P56_MARGIN_DB) ** 2
        voice = frames[active].ravel()[::-1] / db(other.level_dbfs)
        mixed += np.roll(np.resize(voice, samples), rng.integers(samples))
    return mixed


def _clicks(clips: Sequence[Speech], index: int, rng: np.random.Generator) -> Signal:
    """Ticks and pops, singly and in crackling stretches."""
    from scipy.signal import lfilter

    samples = len(clips[index].samples)
    stretch = RATE_HZ // 4
    bad = np.repeat(rng.random(samples // stretch + 1) < 0.3, stretch)[:samples]
    struck = rng.random(samples) < np.where(bad, 200, 10) / RATE_HZ
    struck[rng.integers(samples)] = True  # none at all would be no noise
    impulses = struck * rng.lognormal(0, 0.5, samples) * rng.choice([-1.0, 1.0], samples)
    ticks = rng.random(samples) < 0.5
    made = np.zeros(samples)
    for own, hz, decay_s in ((ticks, 2000, 0.0003), (~ticks, 600, 0.003)):
        radius = math.exp(-1 / (decay_s * RATE_HZ))
        ring = [1, -2 * radius * math.cos(2 * math.pi * hz / RATE_HZ), radius**2]
        made += lfilter([1], ring, impulses * own)
    return band_limit(made)


_GENERATORS: Final[Mapping[str, Callable[[Sequence[Speech], int, np.random.Generator], Signal]]] = {
    "white": _white,
    "pink": _pink,
    "hum": _hum,
    "babble": _babble,
    "clicks": _clicks,
}
