"""The instruments of hold music, each of which turns a note into samples at 8 kHz.

`vowel`, `choir`, `wah` and `talk_box` send their partials through the formants of vowels (Peterson and Barney, 1952)
and move them: a detector of voices is meant to be tempted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from evaluation.sets.telephone import RATE_HZ, Signal

_TOP_HZ = 3600.0
_VOWELS: Final = ((730, 1090, 2440), (530, 1840, 2480), (270, 2290, 3010), (570, 840, 2410), (300, 870, 2240))
_FORMANT_WIDTHS_HZ = (90.0, 110.0, 170.0)
_FORMANT_GAINS = (1.0, 0.5, 0.25)


@dataclass(frozen=True, slots=True)
class Note:
    """One note: when it begins, how long it lasts (seconds), and its pitch (Hz)."""

    start_s: float
    length_s: float
    hz: float


Instrument = Callable[[Note, np.random.Generator], Signal]
"""Plays one note, at any level; the sound may last a little longer than the note."""


def _partials(hz: float) -> range:
    """The numbers of the partials that a telephone line lets through."""
    return range(1, int(_TOP_HZ / hz) + 1)


def _envelope(samples: int, attack_s: float, release_s: float) -> Signal:
    time_s = np.arange(samples) / RATE_HZ
    return np.asarray(np.clip(np.minimum(time_s / attack_s, (samples / RATE_HZ - time_s) / release_s), 0, 1))


def _formants(hz: Signal, centres_hz: Sequence[Signal]) -> Signal:
    """How strongly a vowel lets a frequency through; both may change with time."""
    gains = zip(centres_hz, _FORMANT_WIDTHS_HZ, _FORMANT_GAINS, strict=True)
    return np.asarray(sum(gain / (1 + ((hz - centre) / width) ** 2) for centre, width, gain in gains))


def _sung(hz: Signal, centres_hz: Sequence[Signal], rng: np.random.Generator) -> Signal:
    """Partials of a pitch (Hz over time) through the formants of a vowel (Hz over time)."""
    phase = 2 * np.pi * np.cumsum(hz) / RATE_HZ
    made = np.zeros(len(hz))
    for nth in _partials(float(np.max(hz))):
        made += _formants(nth * hz, centres_hz) / np.sqrt(nth) * np.sin(nth * phase + rng.uniform(0, 2 * np.pi))
    return made


def _vibrato(note: Note, samples: int, rng: np.random.Generator, cents: float = 35.0) -> Signal:
    """The pitch of a note over time: some 5.5 turns a second, that set in after a while."""
    time_s = np.arange(samples) / RATE_HZ
    swing = cents * np.clip(time_s / 0.4, 0, 1) * np.sin(2 * np.pi * rng.uniform(5, 6) * time_s + rng.uniform(0, 6))
    return np.asarray(note.hz * 2 ** (swing / 1200))


def piano(note: Note, rng: np.random.Generator) -> Signal:
    """Partials that die away, the high ones first."""
    time_s = np.arange(round((note.length_s + 0.5) * RATE_HZ)) / RATE_HZ
    partials = (
        nth**-1.4 * np.exp(-time_s * (1.2 + 0.5 * nth)) * np.sin(2 * np.pi * nth * note.hz * time_s)
        for nth in _partials(note.hz)
    )
    return np.asarray(sum(partials) * _envelope(len(time_s), 0.004, 0.1) * rng.uniform(0.7, 1))


def pluck(note: Note, rng: np.random.Generator) -> Signal:
    """A string after Karplus and Strong."""
    from scipy.signal import lfilter

    period = round(RATE_HZ / note.hz)
    struck = np.zeros(round((note.length_s + 0.6) * RATE_HZ))
    struck[:period] = rng.uniform(-1, 1, period)
    return np.asarray(lfilter([1], [1, *np.zeros(period - 1), -0.498, -0.498], struck))


def strings(note: Note, rng: np.random.Generator) -> Signal:
    """Three detuned saws, bowed softly."""
    samples = round((note.length_s + 0.3) * RATE_HZ)
    made = np.zeros(samples)
    for detuned in (-0.004, 0.0, 0.004):
        hz = _vibrato(note, samples, rng, 12) * (1 + detuned)
        phase = 2 * np.pi * np.cumsum(hz) / RATE_HZ + rng.uniform(0, 6)
        made += sum(np.sin(nth * phase) / nth for nth in _partials(note.hz))
    return np.asarray(made * _envelope(samples, 0.35, 0.35) / 3)


def lead(note: Note, rng: np.random.Generator) -> Signal:
    """A reed: vibrato, and one broad resonance."""
    samples = round(note.length_s * RATE_HZ)
    phase = 2 * np.pi * np.cumsum(_vibrato(note, samples, rng)) / RATE_HZ
    partials = (np.sin(nth * phase) / (1 + ((nth * note.hz - 1100) / 500) ** 2) for nth in _partials(note.hz))
    return np.asarray(sum(partials) * _envelope(samples, 0.03, 0.06))


def vowel(note: Note, rng: np.random.Generator, attack_s: float = 0.04) -> Signal:
    """A voice on one vowel, or on its way from one to another, without any consonant."""
    samples = round(note.length_s * RATE_HZ)
    first, last = (_VOWELS[rng.integers(len(_VOWELS))] for _ in range(2))
    way = np.clip(np.linspace(-0.5, 1.5, samples), 0, 1)
    centres = [begin + (end - begin) * way for begin, end in zip(first, last, strict=True)]
    hz = np.asarray(_vibrato(note, samples, rng) * (1 - 0.06 * np.exp(-np.arange(samples) / (0.05 * RATE_HZ))))
    return np.asarray(_sung(hz, centres, rng) * _envelope(samples, attack_s, 0.08))


def talk_box(note: Note, rng: np.random.Generator) -> Signal:
    """A synthesizer through a mouth that moves without saying anything: five vowels a second, each with an onset."""
    samples = round(note.length_s * RATE_HZ)
    time_s = np.arange(samples) / RATE_HZ
    rate = rng.uniform(4, 6)
    moments = np.arange(int(note.length_s * rate) + 2) / rate
    shapes = np.asarray([_VOWELS[rng.integers(len(_VOWELS))] for _ in moments], dtype=np.float64)
    centres = [np.interp(time_s, moments, formant) for formant in shapes.T]
    mouth = 1 - 0.9 * np.exp(-(((time_s * rate + 0.5) % 1 - 0.5) ** 2) / 0.01)
    pitch = np.asarray(note.hz * (1 + 0.04 * np.sin(2 * np.pi * rng.uniform(0.5, 2) * time_s + rng.uniform(0, 6))))
    onset = 0.3 * rng.standard_normal(samples) * np.exp(-((time_s * rate) % 1) / 0.08)
    voiced = _sung(pitch, centres, rng)
    return np.asarray((voiced * mouth + onset * np.std(voiced)) * _envelope(samples, 0.01, 0.05))


def choir(note: Note, rng: np.random.Generator) -> Signal:
    """Three voices on one note."""
    return np.asarray(np.sum([vowel(note, rng, attack_s=0.25) for _ in range(3)], axis=0))


def wah(note: Note, rng: np.random.Generator) -> Signal:
    """A guitar whose pedal opens and closes four times a second, as a mouth does."""
    samples = round(note.length_s * RATE_HZ)
    open_ = 0.5 - 0.5 * np.cos(2 * np.pi * rng.uniform(3, 5) * np.arange(samples) / RATE_HZ)
    centres = [300 + 500 * open_, 800 + 900 * open_, 2300 + 300 * open_]
    return np.asarray(_sung(np.full(samples, note.hz), centres, rng) * _envelope(samples, 0.01, 0.05))
