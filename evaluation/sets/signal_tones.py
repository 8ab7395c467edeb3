"""The tones that a telephone network and its machines make: ringing, busy, digits, fax and modem, announcements, beeps.

Frequencies and cadences are those of ITU-T E.180 and national practice, Q.23 (digits), T.30, V.8 and V.21 (fax and
modem), Telcordia GR-674 (special information tones). Nothing here is scaled or limited to the line's band:
`evaluation.sets.nonspeech` does both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

import numpy as np

from evaluation.sets.telephone import RATE_HZ, Signal

Maker = Callable[[int, np.random.Generator], Signal]
"""Makes so many samples of a sound at 8 kHz, at any level."""

_RAMP_S = 0.003
_DIGITS: Final = tuple((low_hz, high_hz) for low_hz in (697, 770, 852, 941) for high_hz in (1209, 1336, 1477))
# Three tones, each in Hz and seconds: vacant number, no circuit, and the European form.
_SIT: Final = (
    ((985.2, 0.380), (1370.6, 0.276), (1776.7, 0.380)),
    ((985.2, 0.380), (1428.5, 0.380), (1776.7, 0.380)),
    ((950.0, 0.330), (1400.0, 0.330), (1800.0, 0.330)),
)


def cadence(samples: int, tones_hz: Sequence[float], pattern_s: Sequence[float]) -> Signal:
    """Tones that sound together, come and go.

    Args:
        samples: how many are made.
        tones_hz: what sounds.
        pattern_s: seconds on, off, on, off …, over and over.
    """
    lengths = [round(length_s * RATE_HZ) for length_s in pattern_s]
    gate = np.resize(np.repeat(np.resize([1.0, 0.0], len(lengths)), lengths), samples)
    return np.asarray(_sines(samples, tones_hz) * _soft(gate))


def _sines(samples: int, tones_hz: Sequence[float]) -> Signal:
    time_s = np.arange(samples) / RATE_HZ
    return np.asarray(np.sum([np.sin(2 * np.pi * hz * time_s) for hz in tones_hz], axis=0))


def _soft(gate: Signal) -> Signal:
    """A gate that opens and closes in some milliseconds."""
    ramp = np.hanning(2 * round(_RAMP_S * RATE_HZ) + 1)
    return np.convolve(gate, ramp / ramp.sum(), "same")[: len(gate)]


def _silence(seconds: float) -> Signal:
    return np.zeros(round(seconds * RATE_HZ))


def _tone(tones_hz: Sequence[float], seconds: float) -> Signal:
    """One tone or several at once, that begins and ends softly."""
    samples = round(seconds * RATE_HZ)
    return np.asarray(_sines(samples, tones_hz) * _soft(np.pad(np.ones(samples - 2), 1)))


def _always(tones_hz: Sequence[float], *pattern_s: float) -> Maker:
    """The maker of a cadence, which begins anywhere in its pattern."""

    def make(samples: int, rng: np.random.Generator) -> Signal:
        skipped = int(rng.integers(round(sum(pattern_s) * RATE_HZ)))
        return cadence(samples + skipped, tones_hz, pattern_s)[skipped:]

    return make


def _in_turn(parts: Callable[[np.random.Generator], Iterator[Signal]]) -> Maker:
    """The maker of what consists of parts, one after another without end."""

    def make(samples: int, rng: np.random.Generator) -> Signal:
        made: list[Signal] = []
        while sum(len(part) for part in made) < samples:
            made += parts(rng)
        return np.concatenate(made)[:samples]

    return make


def _warble(samples: int, rng: np.random.Generator) -> Signal:
    """Japan's ringing tone: 400 Hz, its level changing 16 times a second, 1 s in 3 s."""
    del rng
    swell = 1 + 0.8 * np.sin(2 * np.pi * 16 * np.arange(samples) / RATE_HZ)
    return np.asarray(swell * cadence(samples, (400,), (1.0, 2.0)))


def _digits(rng: np.random.Generator) -> Iterator[Signal]:
    """A number that somebody or a machine dials, and a pause."""
    by_hand = rng.random() < 0.5
    for _ in range(rng.integers(1, 12)):
        yield _tone(_DIGITS[rng.integers(len(_DIGITS))], rng.uniform(0.1, 0.4) if by_hand else 0.08)
        yield _silence(rng.uniform(0.1, 0.6) if by_hand else 0.08)
    yield _silence(rng.uniform(0.5, 4))


def _chords(rng: np.random.Generator) -> Iterator[Signal]:
    """One key held down, as for an answering machine."""
    yield _tone(_DIGITS[rng.integers(len(_DIGITS))], rng.uniform(0.5, 2.5))
    yield _silence(rng.uniform(0.3, 2))


def _information(rng: np.random.Generator) -> Iterator[Signal]:
    """Three rising tones, and the pause in which an announcement would be spoken."""
    for hz, length_s in _SIT[rng.integers(len(_SIT))]:
        yield _tone((hz,), length_s)
        yield _silence(0.03 * rng.integers(2))
    yield _silence(rng.uniform(1, 6))


def _information_and_reorder(rng: np.random.Generator) -> Iterator[Signal]:
    """The same, then fast busy."""
    yield from _information(rng)
    yield cadence(8 * RATE_HZ, (480, 620), (0.25, 0.25))


def _keyed(bits_hz: tuple[float, float], seconds: float, rng: np.random.Generator) -> Signal:
    """Random bits in two frequencies without a jump of phase: V.21 at 300 bit/s."""
    samples = round(seconds * RATE_HZ)
    bits = rng.integers(2, size=samples * 300 // RATE_HZ + 1)
    hz = np.asarray(bits_hz)[bits[np.arange(samples) * 300 // RATE_HZ]]
    return np.asarray(np.sin(2 * np.pi * np.cumsum(hz) / RATE_HZ))


def _page(carrier_hz: float, baud: int, seconds: float, rng: np.random.Generator) -> Signal:
    """Random symbols on a carrier, of eight phases and two sizes: how a fax page or a modem sounds."""
    time_s = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    count = int(seconds * baud) + 1
    symbols = rng.choice([0.6, 1.4], count) * np.exp(0.25j * np.pi * rng.integers(8, size=count))
    held = symbols[(time_s * baud).astype(int)]
    return np.asarray(np.real(held * np.exp(2j * np.pi * carrier_hz * time_s)))


def _answer(seconds: float, *, modem: bool) -> Signal:
    """2100 Hz: plain (CED), or with turns of phase and a swell, as modems answer (ANSam)."""
    time_s = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    tone = np.sin(2 * np.pi * 2100 * time_s)
    if not modem:
        return np.asarray(tone)
    turns = np.where((time_s // 0.45).astype(int) % 2, -1.0, 1.0)
    return np.asarray(turns * (1 + 0.2 * np.sin(2 * np.pi * 15 * time_s)) * tone)


def _fax(rng: np.random.Generator) -> Iterator[Signal]:
    """A fax that calls, is answered, and sends a page."""
    for _ in range(rng.integers(1, 4)):
        yield _tone((1100,), 0.5)
        yield _silence(3)
    yield _answer(rng.uniform(2.6, 4), modem=False)
    yield _silence(0.075)
    for length_s in rng.uniform(1, 2.5, 2):
        yield _keyed((1850, 1650), length_s, rng)
        yield _silence(rng.uniform(0.2, 1))
    yield _page(1700, 2400, rng.uniform(6, 20), rng)
    yield _silence(0.3)
    yield _keyed((1850, 1650), 1.5, rng)
    yield _silence(rng.uniform(1, 3))


def _modem(rng: np.random.Generator) -> Iterator[Signal]:
    """Two modems that shake hands, and their data."""
    yield _answer(rng.uniform(2.6, 4), modem=True)
    yield _keyed((1180, 980), rng.uniform(0.5, 1.5), rng)
    yield _keyed((1850, 1650), rng.uniform(0.5, 1.5), rng)
    training_s = rng.uniform(0.5, 2)
    yield _page(1200, 600, training_s, rng) + _page(2400, 600, training_s, rng)
    yield _page(1800, 3000, rng.uniform(5, 15), rng)
    yield _silence(rng.uniform(0.5, 2))


def _polling(rng: np.random.Generator) -> Iterator[Signal]:
    """A fax that called a person: its calling tone alone."""
    del rng
    yield _tone((1100,), 0.5)
    yield _silence(3)


def _chime(rng: np.random.Generator) -> Iterator[Signal]:
    """What a conference plays when somebody comes or goes: two or three soft tones."""
    for hz in rng.permutation([523.3, 659.3, 784.0])[: rng.integers(2, 4)]:
        length = round(0.25 * RATE_HZ)
        yield _sines(length, (hz, 2 * hz)) * np.exp(-np.arange(length) / (0.12 * RATE_HZ))
    yield _silence(rng.uniform(2, 9))


TONES: Final[Mapping[str, Mapping[str, Maker]]] = {
    "ringing": {
        "us": _always((440, 480), 2, 4),
        "europe": _always((425,), 1, 4),
        "uk": _always((400, 450), 0.4, 0.2, 0.4, 2),
        "france": _always((440,), 1.5, 3.5),
        "japan": _warble,
    },
    "busy": {
        "us": _always((480, 620), 0.5, 0.5),
        "us-reorder": _always((480, 620), 0.25, 0.25),
        "europe": _always((425,), 0.48, 0.48),
        "uk": _always((400,), 0.375, 0.375),
        "dial-us": _always((350, 440), 12, 1),
        "dial-europe": _always((425,), 0.2, 0.3, 0.7, 0.8),
    },
    "digits": {"dialled": _in_turn(_digits), "held": _in_turn(_chords)},
    "fax": {"fax": _in_turn(_fax), "modem": _in_turn(_modem), "calling": _in_turn(_polling)},
    "information": {"alone": _in_turn(_information), "reorder": _in_turn(_information_and_reorder)},
    "beeps": {
        "recording": _always((1400,), 0.2, 14.8),
        "waiting": _always((440,), 0.3, 9.7),
        "intrusion": _always((425,), 0.2, 0.2, 0.2, 1.4),
        "chime": _in_turn(_chime),
    },
}
"""Makers of each kind, by variant."""
