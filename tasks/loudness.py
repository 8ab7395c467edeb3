"""Loudness (EBU R 128) and true peak (ITU-R BS.1770) of a channel, block by block.

The filters are pyloudnorm's; its meter wants the whole sound in memory, and takes a millisecond for each second.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from tasks.records import Samples
from tasks.tracks import MODEL_SAMPLING_RATE, Track

# BS.1770-4: gating blocks of 0.4 s, overlapping by three quarters.
STEP = MODEL_SAMPLING_RATE // 10
STEPS_PER_BLOCK = 4
ABSOLUTE_GATE_LUFS = -70.0
RELATIVE_GATE_LU = -10.0
OFFSET_LU = -0.691
# In digital silence the filters' memory fades into numbers so small that processors count in them ten times slower;
# a constant far under every level (-200 dBFS) keeps it from there.
KEEP_ALIVE = 1e-10

# BS.1770-4, annex 2, asks for four-fold oversampling to find the true peak.
OVERSAMPLING = 4
# The sound is looked at in pieces of this length, filtered with so many samples of their neighbours; the filter has 21.
PIECE = 1600
MARGIN = 32

Powers = NDArray[np.float64]


class LoudnessMeter:
    """Takes one channel at 16 kHz, block by block, and holds its K-weighted energy for every tenth of a second."""

    def __init__(self) -> None:
        self._state = np.zeros((2, 2))
        self._energies: list[Powers] = []
        self._rest = np.zeros(0)

    def add(self, block: Samples) -> None:
        """Take the next `[sample]`; there may be none."""
        from scipy.signal import sosfilt

        if not block.size:
            return
        weighted, self._state = sosfilt(_k_weighting(), block + KEEP_ALIVE, zi=self._state)
        held = np.concatenate([self._rest, weighted]) if self._rest.size else weighted
        whole = len(held) // STEP * STEP
        self._rest = held[whole:]
        steps = held[:whole].reshape(-1, STEP)
        self._energies.append(np.einsum("ij,ij->i", steps, steps) / STEP)

    def block_powers(self) -> Powers:
        """The mean square of every gating block; none where the sound is shorter than one."""
        energies = np.concatenate(self._energies) if self._energies else np.zeros(0)
        if len(energies) < STEPS_PER_BLOCK:
            return np.zeros(0)
        return np.convolve(energies, np.full(STEPS_PER_BLOCK, 1 / STEPS_PER_BLOCK), mode="valid")


def integrated_loudness(channels: Sequence[Powers]) -> float | None:
    """Integrated loudness in LUFS of channels that sound together, of which the powers of the gating blocks are given.

    None when the sound is shorter than one gating block (0.4 s) or never passes the absolute gate of -70 LUFS.
    """
    powers = np.sum(channels, axis=0)
    loud = powers[powers > _power(ABSOLUTE_GATE_LUFS)]
    if not loud.size:
        return None
    gate_lufs = _lufs(float(np.mean(loud))) + RELATIVE_GATE_LU
    return _lufs(float(np.mean(loud[loud > _power(gate_lufs)])))


def true_peak_dbtp(track: Track) -> float:
    """The highest level between the samples of one channel (ITU-R BS.1770-4, annex 2), in dBTP; -inf for silence.

    Between its samples a sound rises by no more than the filter's gain: only pieces that can hold a higher peak than
    the highest so far are filtered.
    """
    peak = 0.0
    for start in range(0, track.samples, PIECE * 600):
        lead = min(start, MARGIN)
        block = track.read(start - lead, start + PIECE * 600 + MARGIN)
        inner = min(PIECE * 600, track.samples - start)
        peak = max(peak, _block_peak(block, lead, inner, peak))
    return 20 * math.log10(peak) if peak > 0 else -math.inf


def _block_peak(block: Samples, lead: int, inner: int, least: float) -> float:
    """The highest oversampled magnitude among `inner` samples after the first `lead`, or `least` if that is higher."""
    pieces = -(-inner // PIECE)
    padded = np.zeros(pieces * PIECE + 2 * MARGIN, dtype=np.float32)
    padded[MARGIN - lead : MARGIN - lead + len(block)] = block
    magnitude = np.abs(padded)
    own = magnitude[MARGIN:-MARGIN].reshape(pieces, PIECE).max(axis=1)
    around = np.concatenate([[magnitude[:MARGIN].max()], own, [magnitude[-MARGIN:].max()]])
    bounds = _most_gain() * np.maximum(own, np.maximum(around[:-2], around[2:]))
    highest = least
    # The most promising piece first: after it, few are left that can hold a higher peak.
    for index in np.argsort(bounds)[::-1]:
        if bounds[index] <= highest:
            break
        highest = max(highest, _piece_peak(padded[index * PIECE : (index + 1) * PIECE + 2 * MARGIN]))
    return highest


def _piece_peak(piece: Samples) -> float:
    from scipy.signal import resample_poly

    oversampled = resample_poly(piece, OVERSAMPLING, 1, window=_interpolator())
    return float(np.max(np.abs(oversampled[MARGIN * OVERSAMPLING : -MARGIN * OVERSAMPLING])))


@lru_cache(maxsize=1)
def _k_weighting() -> NDArray[np.float64]:
    """The K-weighting of BS.1770-4 at 16 kHz as second-order sections."""
    from pyloudnorm.iirfilter import IIRfilter

    shelf = IIRfilter(4.0, 1 / math.sqrt(2), 1500.0, MODEL_SAMPLING_RATE, "high_shelf")
    high_pass = IIRfilter(0.0, 0.5, 38.0, MODEL_SAMPLING_RATE, "high_pass")
    return np.array([np.concatenate([found.b, found.a]) / found.a[0] for found in (shelf, high_pass)])


@lru_cache(maxsize=1)
def _interpolator() -> NDArray[np.float32]:
    from scipy.signal import firwin

    half = 10 * OVERSAMPLING
    return np.asarray(firwin(2 * half + 1, 1 / OVERSAMPLING, window=("kaiser", 5.0)), dtype=np.float32)


@lru_cache(maxsize=1)
def _most_gain() -> float:
    """How much higher than its samples a sound can be between them, after the interpolator."""
    taps = OVERSAMPLING * np.abs(_interpolator().astype(np.float64))
    return float(max(np.sum(taps[phase::OVERSAMPLING]) for phase in range(OVERSAMPLING))) * (1 + 1e-5)


def _power(lufs: float) -> float:
    return float(10 ** ((lufs - OFFSET_LU) / 10))


def _lufs(power: float) -> float:
    return OFFSET_LU + 10 * math.log10(power)
