"""What a recorder of telephone calls hears while nobody speaks: silence, noise, tones, music, handling.

None of it holds a word, so that every word that is recognised in it is invented. All is made from a seed, without any
recording, and goes through a telephone line: 300-3400 Hz, 8 kHz, line noise, G.711 mu-law. The tones are
`evaluation.sets.signal_tones`', the music is `evaluation.sets.hold_music`'s; breath, rustling and slams are noise with
the spectrum and the course of their originals.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from evaluation.sets.hold_music import MUSIC
from evaluation.sets.signal_tones import TONES, Maker
from evaluation.sets.telephone import RATE_HZ, Signal, band_limit, db, line_noise, mu_law, rms, shape

SHORTEST_S = 10.0
LONGEST_S = 120.0
"""Of a piece."""
_USUAL_S = 60.0
# Line noise under a piece, in dB around that of the demo's calls (-62 dBFS); None: a digital line.
_LINE_NOISES_DB: Final = (None, -8.0, 0.0, 10.0)


@dataclass(frozen=True, slots=True)
class Piece:
    """A recording without speech: `samples` are at 8 kHz, one channel, within [-1, 1]."""

    name: str
    kind: str
    samples: NDArray[np.float32]

    @property
    def duration_s(self) -> float:
        """Seconds."""
        return len(self.samples) / RATE_HZ


def pieces(seconds: float = 3600.0, seed: int = 1) -> Iterator[Piece]:
    """Sounds without speech: equal time for every kind, and every variant of a kind where there is time for it.

    Args:
        seconds: how much in total.
        seed: other seeds make other sounds, of other lengths.

    Yields:
        Pieces of 10 to 120 s, kind after kind.

    Raises:
        ValueError: less than 10 s for each kind.
    """
    shortest_s = SHORTEST_S * len(KINDS)
    if seconds < shortest_s:
        message = f"{seconds:g} s are too few: {len(KINDS)} kinds need {shortest_s:g} s"
        raise ValueError(message)
    ends = np.round(np.linspace(0, seconds * RATE_HZ, len(KINDS) + 1)).astype(int)
    for kind, samples in zip(KINDS, np.diff(ends), strict=True):
        variants = list(_MAKERS[kind])
        for index, length in enumerate(_lengths(int(samples), len(variants), _rng(seed, kind))):
            yield make(kind, variants[index % len(variants)], length, index, seed)


def make(kind: str, variant: str, samples: int, index: int = 0, seed: int = 1) -> Piece:
    """One piece of a kind; another index or seed makes another one."""
    name = f"{kind}-{variant}-{index:02}"
    rng = _rng(seed, name)
    sound = _MAKERS[kind][variant](samples, rng)
    return Piece(name, kind, _through_line(sound, kind, rng).astype(np.float32))


def _rng(seed: int, name: str) -> np.random.Generator:
    return np.random.default_rng([seed, crc32(name.encode())])


def _lengths(samples: int, variants: int, rng: np.random.Generator) -> list[int]:
    """The lengths of the pieces of a kind, which make `samples` in all."""
    shortest = round(SHORTEST_S * RATE_HZ)
    count = max(1, min(max(variants, math.ceil(samples / (_USUAL_S * RATE_HZ))), samples // shortest))
    shares = rng.uniform(0.7, 1.3, count)
    ends = np.round(np.cumsum(shares) / shares.sum() * (samples - count * shortest)).astype(int)
    return [shortest + int(extra) for extra in np.diff(ends, prepend=0)]


def _through_line(sound: Signal, kind: str, rng: np.random.Generator) -> Signal:
    """A sound at a level of its kind, over the noise of a line. Hum comes in behind the line, and keeps its bass."""
    heard = sound if kind == "hum" else band_limit(sound)
    peak = float(np.max(np.abs(heard)))
    noise_db = None if kind in _QUIET_LINES else _LINE_NOISES_DB[rng.integers(len(_LINE_NOISES_DB))]
    if peak > 0:
        heard = heard * db(rng.uniform(*_PEAKS_DBFS[kind])) / peak
    if noise_db is not None:
        heard = heard + db(noise_db) * line_noise(len(heard), rng)
    return mu_law(heard)


# Noise


def _noise(samples: int, rng: np.random.Generator, slope: float = 0.0) -> Signal:
    """Gaussian noise with a mean power of 1; its amplitude falls with the frequency to the power of `slope`."""
    made = shape(rng.standard_normal(samples), lambda hz: np.maximum(hz, 50) ** -slope)
    return made / rms(made)


def _coloured(slope: float) -> Maker:
    """The maker of steady noise."""
    return lambda samples, rng: _noise(samples, rng, slope)


def _gate(samples: int, rng: np.random.Generator, shortest_s: float, longest_s: float) -> Signal:
    """0 and 1 by turns, each for a while."""
    ends_s = np.cumsum(rng.uniform(shortest_s, longest_s, int(samples / RATE_HZ / shortest_s) + 2))
    return np.asarray(np.searchsorted(ends_s, np.arange(samples) / RATE_HZ) % 2, dtype=np.float64)


def _silent(samples: int, rng: np.random.Generator) -> Signal:
    del rng
    return np.zeros(samples)


def _updated(samples: int, rng: np.random.Generator) -> Signal:
    """Comfort noise whose level the far end describes anew every 160 ms."""
    levels = 10 ** (rng.uniform(-3, 3, samples // 1280 + 1) / 20)
    return np.asarray(np.repeat(levels, 1280)[:samples] * _noise(samples, rng, 0.4))


def _gated(samples: int, rng: np.random.Generator) -> Signal:
    """Noise that a detector of voices lets through now and then, with nothing in between."""
    return np.asarray(_gate(samples, rng, 0.2, 3) * _noise(samples, rng, 0.4))


def _hum(mains_hz: float) -> Maker:
    """The maker of mains hum with harmonics, which swells a little."""

    def made(samples: int, rng: np.random.Generator) -> Signal:
        phase = 2 * np.pi * mains_hz * np.arange(samples) / RATE_HZ
        swell = 1 + 0.2 * np.sin(phase * rng.uniform(0.001, 0.01))
        sizes = {1: 1.0, 2: 0.7, 3: 0.6, 4: 0.3, 5: 0.4, 6: 0.2, 7: 0.3, 9: 0.2, 11: 0.1, 13: 0.1}
        partials = [size * rng.uniform(0.5, 1) * np.sin(nth * phase + rng.uniform(0, 6)) for nth, size in sizes.items()]
        return np.asarray(swell * np.sum(partials, axis=0))

    return made


# Short sounds, one after another


def _events(shortest_s: float, longest_s: float, event: Callable[[np.random.Generator], Signal]) -> Maker:
    """The maker of short sounds with pauses between them."""

    def make(samples: int, rng: np.random.Generator) -> Signal:
        made = np.zeros(samples)
        start = round(rng.uniform(0, min(longest_s, 2.0)) * RATE_HZ)
        while start < samples:
            sound = event(rng)[: samples - start]
            made[start : start + len(sound)] += sound
            start += len(sound) + round(rng.uniform(shortest_s, longest_s) * RATE_HZ)
        return made

    return make


def _click(rng: np.random.Generator) -> Signal:
    """A tick or a pop."""
    time_s = np.arange(round(0.02 * RATE_HZ)) / RATE_HZ
    ring = np.sin(2 * np.pi * rng.uniform(500, 2500) * time_s) * np.exp(-time_s / rng.uniform(0.0003, 0.003))
    return np.asarray(ring * rng.lognormal(0, 0.6))


def _crackle(samples: int, rng: np.random.Generator) -> Signal:
    """A bad contact: clicks upon clicks, for a while."""
    clicks = _events(0.0, 0.03, _click)(samples, rng)
    return np.asarray(clicks * (0.05 + _gate(samples, rng, 0.1, 2)))


def _breath(rng: np.random.Generator) -> Signal:
    """In through the nose and out through the mouth, close to the microphone."""
    parts = []
    for length_s, centre_hz in ((rng.uniform(0.7, 1.3), 1600), (rng.uniform(0.1, 0.3), 0), (rng.uniform(1, 2), 800)):
        samples = round(length_s * RATE_HZ)
        course = np.sin(np.pi * np.linspace(0, 1, samples) ** 0.7) ** 2
        parts.append(course * _resonant(samples, centre_hz * rng.uniform(0.8, 1.2), rng) if centre_hz else 0 * course)
    return np.concatenate(parts)


def _resonant(samples: int, centre_hz: float, rng: np.random.Generator) -> Signal:
    """Noise through a throat: two broad resonances."""
    return shape(
        _noise(samples, rng, 0.3),
        lambda hz: 1 / (1 + ((hz - centre_hz) / 300) ** 2) + 0.4 / (1 + ((hz - 2.4 * centre_hz) / 500) ** 2),
    )


def _rustle(rng: np.random.Generator) -> Signal:
    """Cloth or paper at the microphone: bursts of a few hundredths of a second."""
    samples = round(rng.uniform(0.3, 2.5) * RATE_HZ)
    moments = np.arange(0, samples + 320, 320)
    bursts = np.interp(np.arange(samples), moments, rng.lognormal(0, 1, len(moments)))
    return np.asarray(bursts * _noise(samples, rng, rng.uniform(0, 0.6)))


def _slam(rng: np.random.Generator) -> Signal:
    """A door: a thump, the rattle of its lock, and the room."""
    samples = round(rng.uniform(0.6, 1.2) * RATE_HZ)
    time_s = np.arange(samples) / RATE_HZ
    thump = np.sin(2 * np.pi * rng.uniform(80, 350) * time_s) * np.exp(-time_s / 0.06)
    room = 0.5 * _noise(samples, rng, 0.8) * np.exp(-time_s / rng.uniform(0.05, 0.25))
    made = thump + room
    for delay_s in rng.uniform(0.01, 0.2, 3):
        click, start = _click(rng), round(delay_s * RATE_HZ)
        made[start : start + len(click)] += 0.3 * click
    return np.asarray(made * rng.lognormal(0, 0.3))


def _step(rng: np.random.Generator) -> Signal:
    """A cup put down, a key struck, a step: short and dull."""
    samples = round(rng.uniform(0.05, 0.15) * RATE_HZ)
    decay = np.exp(-np.arange(samples) / (rng.uniform(0.005, 0.03) * RATE_HZ))
    return np.asarray(decay * _noise(samples, rng, rng.uniform(0.2, 1)) * rng.lognormal(0, 0.5))


_MAKERS: Final[Mapping[str, Mapping[str, Maker]]] = {
    "silence": {"digital": _silent},
    "comfort noise": {"steady": _coloured(0.4), "updated": _updated, "gated": _gated},
    "hum": {"50hz": _hum(50), "60hz": _hum(60)},
    "line noise": {
        "white": _coloured(0),
        "pink": _coloured(0.5),
        "clicks": _events(0.05, 2, _click),
        "crackle": _crackle,
    },
    **TONES,
    **MUSIC,
    "breath": {"breath": _events(0.3, 1.5, _breath)},
    "rustling": {"rustling": _events(0.1, 3, _rustle)},
    "slams": {"doors": _events(2, 8, _slam), "steps": _events(0.2, 1, _step)},
}

KINDS: Final = tuple(_MAKERS)
"""What there is, in the order in which it is made."""

_QUIET_LINES: Final = frozenset({"silence", "comfort noise"})
_PEAKS_DBFS: Final[Mapping[str, tuple[float, float]]] = {
    **dict.fromkeys(KINDS, (-25.0, -6.0)),
    "comfort noise": (-55.0, -40.0),
    "hum": (-45.0, -15.0),
    "line noise": (-45.0, -12.0),
    **dict.fromkeys(MUSIC, (-20.0, -3.0)),
    "breath": (-40.0, -15.0),
    "slams": (-15.0, -3.0),
}
"""The loudest sample of a piece lies in this range; for noise, that is some 13 dB over its mean power."""
