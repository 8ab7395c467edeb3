"""Synthetic music for calls on hold: some of it plain, some of it as close to a voice as music without words comes.

Keys, tempi, chords and tunes are drawn at random. A tune walks over the scale and meets the chord on strong beats, so
that it is music and not a row of tones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from evaluation.sets.instruments import Instrument, Note, choir, lead, piano, pluck, strings, talk_box, vowel, wah
from evaluation.sets.signal_tones import Maker
from evaluation.sets.telephone import RATE_HZ, Signal

_SCALE: Final = (0, 2, 4, 5, 7, 9, 11)
# Roots of four chords, as steps of the scale.
_PROGRESSIONS: Final = ((0, 4, 5, 3), (0, 5, 3, 4), (5, 3, 0, 4), (0, 3, 1, 4), (1, 4, 0, 5))
_BEATS = 4
# Lengths of notes, in beats.
_CALM: Final = (0.5, 1, 1, 2)
_LIVELY: Final = (0.5, 0.5, 1, 1.5, 2)
_QUICK: Final = (0.25, 0.25, 0.5, 0.5, 1)


@dataclass(frozen=True, slots=True)
class Song:
    """What all instruments of a piece agree on; `key` is a MIDI number, `roots` are steps of the scale."""

    key: int
    beat_s: float
    roots: tuple[int, ...]

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Song:
        """Any song."""
        roots = _PROGRESSIONS[rng.integers(len(_PROGRESSIONS))]
        return cls(int(rng.integers(48, 60)), 60 / rng.uniform(72, 126), roots)

    @property
    def bar_s(self) -> float:
        """Seconds of a bar."""
        return _BEATS * self.beat_s

    def bars(self, seconds: float) -> Iterator[tuple[float, int]]:
        """Where each bar begins (seconds), and the root of its chord."""
        for bar in range(int(seconds / self.bar_s) + 1):
            yield bar * self.bar_s, self.roots[bar % len(self.roots)]

    def hz(self, step: int, octave: int = 0) -> float:
        """The pitch of a step of the scale."""
        midi = self.key + 12 * (octave + step // 7) + _SCALE[step % 7]
        return float(440 * 2 ** ((midi - 69) / 12))


def _play(samples: int, notes: Iterator[Note], instrument: Instrument, rng: np.random.Generator) -> Signal:
    """Mix notes at their times."""
    made = np.zeros(samples)
    for note in notes:
        start = round(note.start_s * RATE_HZ)
        sound = instrument(note, rng)[: max(samples - start, 0)]
        made[start : start + len(sound)] += sound
    return made


# What is played


def _chords(song: Song, seconds: float) -> Iterator[Note]:
    """A triad for each bar."""
    for start_s, root in song.bars(seconds):
        for third in (0, 2, 4):
            yield Note(start_s, song.bar_s, song.hz(root + third))


def _broken(song: Song, seconds: float) -> Iterator[Note]:
    """The same in eighths, up and down."""
    for start_s, root in song.bars(seconds):
        for eighth, step in enumerate((0, 2, 4, 7, 9, 7, 4, 2)):
            yield Note(start_s + eighth * song.beat_s / 2, song.beat_s, song.hz(root + step))


def _roots(song: Song, seconds: float) -> Iterator[Note]:
    """A bass: roots and fifths."""
    for start_s, root in song.bars(seconds):
        for beat, step in ((0, 0), (1.5, 0), (2, 4), (3, 0)):
            yield Note(start_s + beat * song.beat_s, 0.9 * song.beat_s, song.hz(root + step, -1))


def _tune(song: Song, seconds: float, rng: np.random.Generator, beats: Sequence[float], octave: int) -> Iterator[Note]:
    """A walk over the scale; on strong beats it goes to the next tone of the chord, and now and then it rests."""
    step, start_s = 7, 0.0
    while start_s < seconds:
        length_s = float(rng.choice(np.asarray(beats))) * song.beat_s
        bar, inside_s = divmod(start_s, song.bar_s)
        step = int(np.clip(step + rng.choice([-2, -1, -1, 1, 1, 2]), 3, 14))
        if inside_s < song.beat_s / 2:
            step = _of_chord(step, song.roots[int(bar) % len(song.roots)])
        if rng.random() > 0.12:
            yield Note(start_s, length_s, song.hz(step, octave))
        start_s += length_s


def _of_chord(step: int, root: int) -> int:
    """The tone of a chord that is nearest to a step of the scale."""
    return min((one for one in range(3, 15) if (one - root) % 7 in {0, 2, 4}), key=lambda one: abs(one - step))


def _drums(song: Song, samples: int, rng: np.random.Generator) -> Signal:
    """Kick, snare and hi-hat, four beats to the bar."""
    made = np.zeros(samples)
    time_s = np.arange(round(0.25 * RATE_HZ)) / RATE_HZ
    kick = 1.5 * np.sin(2 * np.pi * 60 * time_s + 25 * (1 - np.exp(-time_s / 0.03))) * np.exp(-time_s / 0.08)
    for eighth in range(int(samples / RATE_HZ / song.beat_s * 2) + 1):
        noise = rng.standard_normal(len(time_s))
        hit = 0.15 * np.diff(noise, prepend=0.0) * np.exp(-time_s / 0.02)
        if eighth % 8 in {0, 5}:
            hit = hit + kick
        if eighth % 4 == 2:
            hit = hit + 0.6 * noise * np.exp(-time_s / 0.06)
        start = round(eighth * song.beat_s / 2 * RATE_HZ)
        made[start : start + len(hit)] += hit[: max(samples - start, 0)]
    return made


# Pieces


def _solo(instrument: Instrument, part: Callable[[Song, float], Iterator[Note]]) -> Maker:
    """The maker of one instrument that plays chords."""

    def make(samples: int, rng: np.random.Generator) -> Signal:
        return _play(samples, part(Song.draw(rng), samples / RATE_HZ), instrument, rng)

    return make


def _melody(
    instrument: Instrument, beats: Sequence[float], backing: Instrument | None = None, octave: int = 0
) -> Maker:
    """The maker of a tune, over quiet chords where there is a backing."""

    def make(samples: int, rng: np.random.Generator) -> Signal:
        song, seconds = Song.draw(rng), samples / RATE_HZ
        made = _unit(_play(samples, _tune(song, seconds, rng, beats, octave), instrument, rng))
        if backing is not None:
            made = made + 0.4 * _unit(_play(samples, _chords(song, seconds), backing, rng))
        return made

    return make


def _unit(signal: Signal) -> Signal:
    """A signal with a mean power of 1, if it has any."""
    return np.asarray(signal / max(float(np.sqrt(np.mean(signal**2))), 1e-9))


def _compressed(signal: Signal) -> Signal:
    """As a broadcaster sends it: peaks are pressed down."""
    return np.asarray(np.tanh(0.8 * signal))


def _rhythm(samples: int, rng: np.random.Generator) -> Signal:
    """Drums and bass."""
    song = Song.draw(rng)
    bass = _play(samples, _roots(song, samples / RATE_HZ), strings, rng)
    return _compressed(_unit(_drums(song, samples, rng)) + 0.8 * _unit(bass))


def _band(samples: int, rng: np.random.Generator) -> Signal:
    """Drums, bass, broken chords and a tune."""
    song, seconds = Song.draw(rng), samples / RATE_HZ
    bass = _unit(_play(samples, _roots(song, seconds), pluck, rng))
    chords = _unit(_play(samples, _broken(song, seconds), pluck, rng))
    tune = _unit(_play(samples, _tune(song, seconds, rng, _LIVELY, 0), lead, rng))
    return _compressed(0.5 * _unit(_drums(song, samples, rng)) + 0.5 * bass + 0.5 * chords + tune)


def _choppy(samples: int, rng: np.random.Generator) -> Signal:
    """The same through a speech codec with voice detection: driven too hard, cut into pieces of syllables' length."""
    ends = np.cumsum(rng.uniform(0.06, 0.5, samples // 400 + 2))
    gate = np.searchsorted(ends, np.arange(samples) / RATE_HZ) % 2
    smooth = np.convolve(gate, np.ones(80) / 80, "same")[:samples]
    return np.asarray(np.tanh(3 * _band(samples, rng)) * smooth)


MUSIC: Final[Mapping[str, Mapping[str, Maker]]] = {
    "music": {
        "piano": _melody(piano, _CALM, piano),
        "arpeggio": _solo(pluck, _broken),
        "strings": _solo(strings, _chords),
        "lead": _melody(lead, _LIVELY, strings),
        "rhythm": _rhythm,
        "band": _band,
        "choppy": _choppy,
    },
    "vocal music": {
        "choir": _solo(choir, _chords),
        "vocalise": _melody(vowel, _QUICK, octave=-1),
        "wah": _melody(wah, _CALM),
        "talk-box": _melody(talk_box, _LIVELY, octave=-2),
    },
}
"""Makers of both kinds, by variant; `vocal music` has the sound of voices, and no words."""
